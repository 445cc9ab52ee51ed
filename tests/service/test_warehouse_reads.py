"""Records and lists of the warehouse, read over REST."""

import asyncpg
import httpx2
import pytest

from nms.common.settings import Settings
from tests.service.warehouse import connected, entity, make_entities, serving
from tests.service.web_client import problem_of

POSTS = entity(
    "posts",
    {
        "id": "bigint",
        "userId": {"type": "bigint", "index": True},
        "title": {"type": "text", "index": True, "search": True},
        "body": {"type": "text", "search": True},
        "meta": "json",
    },
    children={"comments": {"entity": "comments", "field": "postId"}},
)
COMMENTS = entity("comments", {"id": "bigint", "postId": {"type": "bigint", "index": True}, "text": "text"})
PARTS = entity("parts", {"shop": "text", "number": "integer", "name": "text"}, key=["shop", "number"])


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


async def put_posts(connection: asyncpg.Connection, count: int) -> None:
    await connection.execute(
        'insert into entity.posts (id, "userId", title, body, meta) '
        "select n, n % 3, case when n % 4 > 0 then 'title ' || n % 5 end, 'body of ' || n, jsonb_build_object('n', n)"
        " from generate_series(1, $1::bigint) as n",
        count,
    )


def ids(answer: httpx2.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["items"]]


async def test_a_record_is_its_fields_in_their_order(settings: Settings) -> None:
    await make_entities(POSTS, COMMENTS)
    async with connected(settings) as person, serving(settings) as client:
        await put_posts(person, 1)
        answer = await client.get("/posts/1")
        assert answer.text == '{"id":1,"userId":1,"title":"title 1","body":"body of 1","meta":{"n": 1}}'
        assert answer.headers["etag"] == '"1"'
        assert (await client.get("/posts/1/")).text == answer.text
        head = await client.head("/posts/1")
        assert (head.content, head.headers["content-length"]) == (b"", str(len(answer.content)))
        some = await client.get("/posts/1", params={"fields": "title,id", "lineage": "1"})
        told = some.json()
        assert list(told) == ["title", "id", "_lineage"]
        assert {"source": "local", "external_id": None, "sequence": 1}.items() <= told["_lineage"].items()
        assert told["_lineage"].keys() >= {"created_at", "updated_at"}


async def test_a_record_that_is_not_there_is_not_found(settings: Settings) -> None:
    await make_entities(POSTS, COMMENTS)
    async with serving(settings) as client:
        for path in ("/posts/1", "/posts/1/comments", "/posts/1/nothing", "/nothing", "/nothing/1", "/posts/1/2/3"):
            problem_of(await client.get(path), 404, "not-found")
        for path in ("/posts/x", "/posts/1,2", "/posts/9223372036854775808", "/posts/%FF"):
            assert problem_of(await client.get(path), 422, "malformed")["errors"][0]["in"] == "path"


async def test_a_key_of_two_fields_stands_in_the_path(settings: Settings) -> None:
    await make_entities(PARTS)
    async with connected(settings) as person, serving(settings) as client:
        await person.execute("insert into entity.parts values ('a/b,c', 7, 'x'), ('export', 1, 'y')")
        assert (await client.get("/parts/a%2Fb%2Cc,7")).json()["name"] == "x"
        assert (await client.get("/parts/%65xport,1")).json()["name"] == "y"


async def test_lists_are_filtered_by_parameters_and_by_an_expression(settings: Settings) -> None:
    await make_entities(POSTS, COMMENTS)
    async with connected(settings) as person, serving(settings) as client:
        await put_posts(person, 12)
        for query, found in {
            "": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
            "title=title 1": [1, 6, 11],
            "userId=1&id.gt=4": [7, 10],
            "id.in=3,4,99": [3, 4],
            "id.not.in=1,2,3,4,5,6,7,8,9": [10, 11, 12],
            "title.is=null": [4, 8, 12],
            "title.neq=title 1": [2, 3, 4, 5, 7, 8, 9, 10, 12],
            "title.like=%253": [3],
            "meta.n=5": [5],
            "meta.n.lte=2": [1, 2],
            "body.ilike=BODY OF 1_": [10, 11, 12],
            "filter=id lt 3 or not (userId in (0, 1) or title is null)": [1, 2, 5, 11],
            "q=body 3": [3],
            "offset=10": [11, 12],
        }.items():
            assert ids(await client.get(f"/posts?{query}")) == found, query


async def test_children_are_the_records_that_hold_the_key(settings: Settings) -> None:
    await make_entities(POSTS, COMMENTS)
    async with connected(settings) as person, serving(settings) as client:
        await put_posts(person, 3)
        await person.execute("insert into entity.comments select n, n % 2 + 1, 'c' from generate_series(1, 6) as n")
        assert ids(await client.get("/posts/2/comments")) == [1, 3, 5]
        assert ids(await client.get("/posts/2/comments/?sort=-id&limit=2&id.lt=5")) == [3, 1]
        assert ids(await client.get("/posts/3/comments")) == []
        assert ids(await client.get("/comments?postId=1")) == [2, 4, 6]


async def test_faults_are_told_all_at_once_with_their_place(settings: Settings) -> None:
    await make_entities(POSTS, COMMENTS)
    async with serving(settings) as client:
        query = "foo=1&sort=title,body&limit=1001&userId=x&filter=title eq 'a' and userID eq 1&count=all&fields=id,id"
        told = problem_of(await client.get(f"/posts?{query}"), 422, "malformed")["errors"]
        assert all(one["in"] == "query" for one in told)
        details = {one["pointer"]: one["detail"] for one in told}
        assert details.keys() == {"/foo", "/sort", "/limit", "/userId", "/filter", "/count", "/fields"}
        assert details["/filter"].startswith("at character 17: `userID` is no field of `posts`")
        assert details["/sort"].startswith("at character 6: `body` has no index")
        assert details["/userId"] == "`userId` is bigint: this is not a whole number"


async def test_a_list_is_not_modified_until_something_changes(settings: Settings) -> None:
    await make_entities(POSTS, COMMENTS)
    async with connected(settings) as person, serving(settings) as client:
        await put_posts(person, 3)
        first = await client.get("/posts?limit=2")
        tag = first.headers["etag"]
        again = await client.get("/posts?limit=2", headers={"If-None-Match": f'"x", W/{tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        for statement in (
            "update entity.posts set title = 'new' where id = 3",
            "delete from entity.posts where id = 3",
            "truncate entity.posts",
        ):
            await person.execute(statement)
            changed = await client.get("/posts?limit=2", headers={"If-None-Match": tag})
            assert changed.status_code == 200
            assert changed.headers["etag"] != tag
            tag = changed.headers["etag"]


async def test_what_a_late_commit_brings_is_never_hidden_by_a_tag(settings: Settings) -> None:
    await make_entities(POSTS, COMMENTS)
    async with connected(settings) as late, connected(settings) as person, serving(settings) as client:
        transaction = late.transaction()
        await transaction.start()
        await late.execute("insert into entity.posts (id) values (1)")
        await person.execute("insert into entity.posts (id) values (2)")
        before = await client.get("/posts")
        assert ids(before) == [2]
        # The newest change is seen, and an older one is to come.
        assert "etag" not in before.headers
        await transaction.commit()
        after = await client.get("/posts")
        assert ids(after) == [1, 2]
        assert "etag" in after.headers


async def test_who_may_not_read_an_entity_sees_nothing_of_it(settings: Settings) -> None:
    await make_entities(POSTS, COMMENTS)
    async with connected(settings) as person:
        await put_posts(person, 1)
        async with serving(settings, "entities:read:posts") as client:
            assert (await client.get("/posts/1")).status_code == 200
            nothing = problem_of(await client.get("/nothing"), 404, "not-found")
            for path in ("/comments", "/comments/1", "/comments?foo=1", "/posts/1/comments", "/comments/x"):
                hidden = problem_of(await client.get(path), 404, "not-found")
                assert {**hidden, "request_id": ""} == {**nothing, "request_id": ""}
        async with serving(settings) as client:
            client.headers.pop("authorization")
            for path in ("/posts", "/nothing"):
                problem_of(await client.get(path), 401, "unauthenticated")

"""Records and lists of the warehouse, read over REST."""

import asyncio
from typing import Any

import asyncpg
import httpx2
import pytest

from nms.common.db.dsn import DSNType
from nms.common.db.readers import Readers
from nms.common.problem import Problem
from nms.common.settings import Settings
from tests.docs.openapi import lacking_answers, lacking_examples, lacking_words
from tests.house.tree import refuse
from tests.service.warehouse import connected, entity, make_entities, serving
from tests.service.web_client import problem_of
from tests.waiting import eventually

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
METHODS = {"get", "post", "put", "patch", "delete"}
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
        assert answer.headers["etag"].startswith('"1-')
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
        for key in ("x", "1,2", "9223372036854775808", "%FF", "1%00"):
            problem_of(await client.get(f"/posts/{key}"), 404, "not-found")


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


@pytest.mark.parametrize("sort", ["title", "-title", "title,-userId", "-title,userId"])
async def test_pages_go_on_and_back_where_values_are_missing(settings: Settings, sort: str) -> None:
    await make_entities(POSTS, COMMENTS)
    async with connected(settings) as person, serving(settings) as client:
        await put_posts(person, 12)
        whole = ids(await client.get(f"/posts?sort={sort}"))
        found, way, cursor = [], "next", ""
        while True:
            answer = await client.get(f"/posts?sort={sort}&limit=1{cursor}")
            found += ids(answer)
            told = answer.json()[way]
            if told is None and way == "prev":
                break
            way, told = ("prev", answer.json()["prev"]) if told is None else (way, told)
            cursor = f"&cursor={told}"
        assert found == [*whole, *whole[-2::-1]]


async def test_a_line_break_in_a_record_is_not_where_it_ends(settings: Settings) -> None:
    await make_entities(POSTS, COMMENTS)
    async with connected(settings) as person, serving(settings) as client:
        for number in (1, 2, 3):
            await person.execute(
                "insert into entity.posts (id, title, body, meta) values ($1, $2, $2, $3)",
                number,
                "a,\nb\r\n",
                '{"a,\\nb": "},\\n{"}',
            )
        for limit in (1, 2, 3, 101):
            answer = await client.get(f"/posts?limit={limit}")
            walked = [*answer.json()["items"]]
            while "next" in answer.links:
                answer = await client.get("/posts" + answer.links["next"]["url"])
                walked += answer.json()["items"]
            assert [one["id"] for one in walked] == [1, 2, 3]
            assert all(one["title"] == one["body"] == "a,\nb\r\n" for one in walked)
            if limit < 3:
                back = await client.get("/posts" + answer.links["prev"]["url"])
                assert ids(back) == [1, 2][-limit:]


async def test_an_expression_of_alternatives_is_one_condition_among_others(settings: Settings) -> None:
    await make_entities(POSTS, COMMENTS)
    either = {"filter": "id lt 5 or not (not (id gt 8))", "limit": "3"}
    async with connected(settings) as person, serving(settings) as client:
        await put_posts(person, 12)
        await person.execute(
            "insert into entity.comments (id, \"postId\", text) select n, n % 2, '' from generate_series(1, 12) n"
        )
        first = await client.get("/posts", params=either)
        second = await client.get("/posts", params={**either, "cursor": first.json()["next"]})
        third = await client.get("/posts", params={**either, "cursor": second.json()["next"]})
        assert (ids(first), ids(second), ids(third)) == ([1, 2, 3], [4, 9, 10], [11, 12])
        assert third.json()["next"] is None
        assert ids(await client.get("/posts/1/comments", params=either)) == [1, 3, 9]
        assert ids(await client.get("/posts", params={**either, "q": "body"})) == [1, 2, 3]
        assert (await client.get("/posts/1/comments", params={**either, "count": "exact"})).json()["count"] == 4
        assert ids(await client.get("/posts", params={**either, "q": "nothing"})) == []


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
        told = problem_of(await client.get(f"/posts?{query}&lineage=true"), 422, "malformed")["errors"]
        assert all(one["in"] == "query" for one in told)
        details = {one["pointer"]: one["detail"] for one in told}
        assert details.keys() == {"/foo", "/sort", "/limit", "/userId", "/filter", "/count", "/fields", "/lineage"}
        assert details["/filter"].startswith("at character 17: `userID` is no field of `posts`")
        assert details["/sort"].startswith("at character 6: `body` has no index")
        assert details["/userId"] == "`userId` is bigint: this is not a whole number"


async def test_a_walk_goes_on_behind_texts_that_an_index_can_only_hold_packed(settings: Settings) -> None:
    await make_entities(POSTS, COMMENTS)
    async with connected(settings) as person, serving(settings) as client:
        await person.execute(
            "insert into entity.posts (id, title) values (1, repeat('a', 100000)),"
            " (2, (select string_agg(md5(n::text), '') from generate_series(1, 75) as n)), (3, 'z')"
        )
        path, walked = "/posts?sort=title&limit=1", list[int]()
        while path:
            answer = await client.get(path)
            walked += ids(answer)
            path = "/posts" + answer.links["next"]["url"] if "next" in answer.links else ""
            assert len(answer.headers["link"]) < 16_000
        assert sorted(walked) == [1, 2, 3]


async def test_a_list_is_not_modified_until_something_changes(settings: Settings) -> None:
    await make_entities(POSTS, COMMENTS)
    async with connected(settings) as person, serving(settings) as client:
        await put_posts(person, 3)
        first = await client.get("/posts?limit=2")
        tag = first.headers["etag"]
        again = await client.get("/posts?limit=2", headers={"If-None-Match": f'"x", W/{tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert "content-length" not in again.headers
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


async def test_what_others_learn_while_a_page_is_read_gives_it_no_tag(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late commit may stand between the page and another request's look how far everything is settled."""
    await make_entities(POSTS, COMMENTS)
    is_read, go_on = asyncio.Event(), asyncio.Event()
    fetch_row = Readers.fetch_row

    async def held(readers: Readers, text: str, *values: Any) -> Any:
        row = await fetch_row(readers, text, *values)
        if not is_read.is_set():
            is_read.set()
            await go_on.wait()
        return row

    monkeypatch.setattr(Readers, "fetch_row", held)
    async with connected(settings) as late, connected(settings) as person, serving(settings) as client:
        async with late.transaction():
            await late.execute("insert into entity.posts (id) values (1)")
            await person.execute("insert into entity.posts (id) values (2)")
            early = asyncio.create_task(client.get("/posts"))
            await is_read.wait()
        later = await client.get("/posts")
        go_on.set()
        assert ids(later) == [1, 2]
        assert ids(await early) == [1, 2] or (await early).headers.get("etag") != later.headers["etag"]


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


async def test_the_reference_tells_the_entities_that_are_built(settings: Settings) -> None:
    await make_entities(POSTS, COMMENTS)
    async with serving(settings) as client:
        document = (await client.get("/openapi.json")).json()
        paths = {path for path in document["paths"] if path.startswith(("/posts", "/comments"))}
        assert paths == {"/posts", "/posts/{key}", "/posts/{key}/comments", "/comments", "/comments/{key}"}
        heads = [document["paths"][path].pop("head") for path in paths]
        operations = [one for path in paths for one in document["paths"][path].values()]
        shown = [*heads, *operations]
        refuse(gap for one in shown for gap in (*lacking_words(one), *lacking_examples(one, document)))
        refuse(gap for one in operations for gap in lacking_answers(one) if gap != "no answer 403")
        sent = [each for one in shown for each in one["parameters"] if each["in"] == "header"]
        assert all(each["schema"]["examples"] for each in sent)
        answers = [one["responses"] for one in heads]
        assert not [status for each in answers for status in each if "content" in each[status] and status.isdigit()]
        assert {method for path in paths for method in document["paths"][path]} == METHODS
        assert {one["operationId"] for one in operations} >= {"posts.list", "posts.get", "posts.patch"}
        await make_entities(PARTS, revision=2)

        async def told() -> bool:
            return "/parts" in (await client.get("/openapi.json")).json()["paths"]

        await eventually(told)


async def test_a_list_that_would_read_too_much_is_refused_before_it_is_read(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_LARGEST_COST", "1000")
    await make_entities(POSTS, COMMENTS)
    async with connected(settings) as person, serving(settings) as client:
        await put_posts(person, 30_000)
        await person.execute("analyze entity.posts")
        for query in (
            "body=nothing",
            "filter=not (body like 'x%')&sort=title&offset=10000",
            "count=exact",
        ):
            told = problem_of(await client.get(f"/posts?{query}"), 422, "list-too-costly")
            assert told["cost"] > told["limit"] == 1000
        for query in ("", "userId=1&limit=10", "title=title 1&limit=10", "count=estimated"):
            assert (await client.get(f"/posts?{query}")).status_code == 200


async def test_a_read_ends_when_its_time_is_over(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_READ_SECONDS", "0.2")
    await make_entities(POSTS, COMMENTS)
    async with connected(settings) as person, serving(settings) as client, person.transaction():
        await person.execute("lock table entity.posts")
        for path in ("/posts", "/posts/1"):
            answer = await client.get(path)
            assert problem_of(answer, 503, "read-too-long")["limit"] == 0.2
            assert "retry-after" in answer.headers


async def test_a_page_that_is_too_large_is_refused(settings: Settings) -> None:
    await make_entities(POSTS, COMMENTS)
    async with connected(settings) as person, serving(settings) as client:
        await person.execute(
            "insert into entity.posts (id, body) select n, repeat('x', 9000000) from generate_series(1, 2) n"
        )
        assert problem_of(await client.get("/posts"), 422, "page-too-large")["size"] > 18_000_000
        assert len((await client.get("/posts?limit=1")).content) > 9_000_000
        assert (await client.get("/posts?fields=id")).status_code == 200


async def test_a_page_is_weighed_before_it_is_glued(settings: Settings) -> None:
    await make_entities(POSTS, COMMENTS)
    async with connected(settings) as person, serving(settings) as client:
        await person.execute("insert into entity.posts (id, body) select n, 'x' from generate_series(1, 204) as n")
        # A record of 20 MB is the one that shows only that there are more, behind a page and in front of it.
        for heavy, path in ((102, "/posts?limit=101"), (103, "/posts?limit=101&sort=-id")):
            await person.execute("update entity.posts set body = repeat('x', 20000000) where id = $1", heavy)
            page = await client.get(path)
            assert len(ids(page)) == 101
            behind = await client.get("/posts", params={"limit": 1, "id": heavy})
            assert ids(behind) == [heavy]
            problem_of(await client.get("/posts" + page.links["next"]["url"]), 422, "page-too-large")
            await person.execute("update entity.posts set body = 'x' where id = $1", heavy)
        assert ids(await client.get("/posts?limit=1000")) == list(range(1, 205))
        # More than PostgreSQL could glue at all: what is weighed is not read.
        await person.execute("alter table entity.posts disable trigger user")
        await person.execute(
            "insert into entity.posts (id, _sequence, _json)"
            " select n, 1000 + n, (select repeat('x', 9000000)) from generate_series(301, 430) as n"
        )
        refused = problem_of(await client.get("/posts?limit=1000"), 422, "page-too-large")
        assert refused["size"] > 1_000_000_000


async def test_a_reader_cannot_write_whatever_it_asks(settings: Settings) -> None:
    await make_entities(POSTS, COMMENTS)
    async with serving(settings):
        readers = Readers(DSNType.DWH, 5.0)
        with pytest.raises(Problem) as refused:
            await readers.fetch_row("insert into entity.posts (id) values (1)")
        await readers.close()
    assert isinstance(refused.value.__cause__, asyncpg.ReadOnlySQLTransactionError)

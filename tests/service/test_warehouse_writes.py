"""Records written over REST: created, replaced, patched, deleted; under conditions, once, in their own form."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from nms.common.settings import Settings
from nms.warehouse import records
from tests.service.warehouse import connected, entity, make_entities, serving
from tests.service.web_client import problem_of

WIDGETS = entity(
    "widgets",
    {
        "id": "bigint", "name": {"type": "text", "required": True, "index": True}, "on": "boolean", "price": "numeric",
        "exact": {"type": "numeric", "precision": 6, "scale": 2}, "weight": "double", "light": "real", "day": "date",
        "at": "timestamp", "clock": "time", "ref": "uuid", "meta": "json", "small": "smallint", "whole": "integer",
    },
)  # fmt: skip
NOTES = entity("notes", {"id": "uuid", "text": "text"})
PLACES = entity("places", {"shop": "text", "number": "integer", "title": "text"}, key=["shop", "number"])
PAIRS = entity("pairs", {"one": "text", "two": "text"}, key=["one", "two"])
ODD = entity("order", {"id": "bigint", "select": "text", "order": "text", "userId": "text"})
FIXED = entity("fixed", {"id": "bigint"}, writable=False)
FULL: dict[str, Any] = {
    "id": 7, "name": "seven", "on": True, "price": "@12345678901234567890.10", "exact": "@1.50", "weight": "@1e-3",
    "light": "@0.5", "day": "2026-11-22", "at": "2026-11-22T10:00:00.25+02:00", "clock": "08:30:00",
    "ref": "3F2F0D9E-6a0b-4f6c-8a0e-0c8c9d6f7a10", "meta": {"a": [1, None, {"b": "é"}]}, "small": -32768, "whole": 2,
}  # fmt: skip


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    await make_entities(WIDGETS, NOTES, PLACES, PAIRS, FIXED, ODD)
    async with serving(settings) as client:
        yield client


def text_of(record: dict[str, Any]) -> str:
    """A record as JSON; texts that begin with `@` are numbers as they are to be written."""
    members = (f"{json.dumps(name)}:{one[1:] if str(one).startswith('@') else json.dumps(one)}"
               for name, one in record.items())  # fmt: skip
    return "{" + ",".join(members) + "}"


async def send(
    client: httpx2.AsyncClient, method: str, path: str, body: str | dict[str, Any], **headers: str
) -> httpx2.Response:
    text = text_of(body) if isinstance(body, dict) else body
    sent = {"Content-Type": "application/json", **{name.replace("_", "-"): one for name, one in headers.items()}}
    return await client.request(method, path, content=text.encode(), headers=sent)


async def stored(settings: Settings, table: str = "widgets") -> list[str]:
    async with connected(settings) as person:
        return [row[0] for row in await person.fetch(f'select _json from entity."{table}" order by _sequence')]


async def test_a_created_record_is_there_with_every_digit(client: httpx2.AsyncClient, settings: Settings) -> None:
    answer = await send(client, "POST", "/widgets", FULL)
    assert (answer.status_code, answer.headers["location"]) == (201, "/widgets/7")
    assert answer.headers["content-type"] == "application/json"
    assert [answer.text] == await stored(settings)
    told = json.loads(answer.text, parse_float=str)
    assert (told["price"], told["exact"]) == ("12345678901234567890.10", "1.50")
    assert told["ref"] == FULL["ref"].lower()
    assert told["at"].startswith("2026-11-22T08:00:00.25")
    assert told["meta"] == FULL["meta"]
    assert list(told) == list(WIDGETS.fields)
    problem_of(await send(client, "POST", "/widgets/", FULL), 409, "record-exists")


async def test_keys_that_can_be_made_may_be_left_out(client: httpx2.AsyncClient, settings: Settings) -> None:
    assert [(await send(client, "POST", "/widgets", {"name": "a"})).headers["location"] for _ in range(2)] == [
        "/widgets/1",
        "/widgets/2",
    ]
    async with connected(settings) as person:
        await person.execute("insert into entity.widgets (id, name) select n, 'b' from generate_series(3, 50) as n")
    assert (await send(client, "POST", "/widgets", {"name": "a", "id": None})).json()["id"] == 51
    made = await asyncio.gather(*(send(client, "POST", "/widgets", {"name": "c"}) for _ in range(8)))
    assert {one.json()["id"] for one in made} == set(range(52, 60))
    async with connected(settings) as person:
        taken = [await person.fetchval("select warehouse.take_key('widgets')") for _ in range(3)]
        # Whoever finds a key taken sets nobody back who has a number already.
        await person.execute("select warehouse.skip_keys('widgets', 'id')")
    assert (await send(client, "POST", "/widgets", {"name": "d"})).json()["id"] == taken[-1] + 1
    note = await send(client, "POST", "/notes", {"text": "x"})
    assert note.headers["location"] == f"/notes/{note.json()['id']}"
    missing = problem_of(await send(client, "POST", "/places", {"shop": "a"}), 422, "malformed")
    assert missing["errors"] == [{"pointer": "/number", "detail": "this is required"}]
    assert (await send(client, "PUT", f"/widgets/{2**63 - 1}", {"name": "last"})).status_code == 201
    async with connected(settings) as person:
        await person.execute("select setval('warehouse.\"widgets.key\"', $1)", 2**63 - 2)
    problem_of(await send(client, "POST", "/widgets", {"name": "none left"}), 409, "keys-used-up")


FAULTS: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"name": 1, "on": "yes", "nothing": 1, "_source": "x", "a/b~c": 1},
     {"/name": "this is a text", "/on": "this is `true` or `false`", "/nothing": "there is no such field",
      "/_source": "what begins with `_` is the warehouse's own", "/a~1b~0c": "there is no such field"}),
    ({"name": "a\0b", "small": 32768, "whole": "@1.5", "day": "2026-02-30", "at": "2026-11-22T10:00:00", "clock": "8"},
     {"/name": "a text holds no character zero",
      "/small": "this is out of the range of smallint", "/whole": "this is a number without a fraction",
      "/day": "day is out of range for month", "/at": "write a time as 2026-12-31T23:59:59Z, with its zone",
      "/clock": "write a time as 23:59:59.999999"}),
    ({"exact": "@1.234", "ref": "x", "weight": "@1e309", "light": "@1e39", "meta": {"a": "\0"}, "price": "@1e2000"},
     {"/name": "this is required", "/exact": "this has at most 2 digits behind the point",
      "/ref": "this is not a UUID",
      "/weight": "this is out of the range of double", "/light": "this is out of the range of real",
      "/meta": "a text holds no character zero",
      "/price": "this is not a number"}),
    ({"name": None, "exact": "@12345.6", "small": "@1e999999999999", "id": "7"},
     {"/name": "this is required", "/exact": "this has at most 4 digits before the point",
      "/small": "this is not a number", "/id": "this is a number"}),
]  # fmt: skip


UNREADABLE = (
    *("", "{", "[]", "null", '{"name":"a","name":"b"}', '{"name":NaN}', "[" * 200, '{"name":"\\ud800"}'),
    '{"name":"a"} {}',
)


async def test_all_faults_are_told_at_once(client: httpx2.AsyncClient, settings: Settings) -> None:
    for record, told in FAULTS:
        for method, path in (("POST", "/widgets"), ("PUT", "/widgets/7")):
            problem = problem_of(await send(client, method, path, record), 422, "malformed")
            assert {one["pointer"]: one["detail"] for one in problem["errors"]} == told
    many = problem_of(await send(client, "POST", "/widgets", {f"x{n}": 1 for n in range(2_000)}), 422, "malformed")
    assert (many["detail"], len(many["errors"])) == ("The record has 2001 faults; the first 100 are told.", 100)
    assert await stored(settings) == []


async def test_what_is_no_record_is_refused(client: httpx2.AsyncClient) -> None:
    for method, path in (("POST", "/widgets"), ("PUT", "/widgets/7")):
        for body in UNREADABLE:
            problem_of(await send(client, method, path, body), 422, "malformed")
        json_ = {"Content-Type": "application/json; charset=utf-8"}
        problem_of(await client.request(method, path, content=b'{"name":"\xff"}', headers=json_), 400, "bad-request")
        problem_of(await send(client, method, path, {"name": "a" * (1 << 20)}), 413, "content-too-large")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    problem_of(await client.post("/widgets", content=b"name=a", headers=form), 415, "media-type-refused")
    patch = {"Content-Type": "application/merge-patch+json"}
    problem_of(await client.post("/widgets", content=b"{}", headers=patch), 415, "media-type-refused")
    problem_of(await client.patch("/widgets/1", content=b"{}", headers=patch), 404, "not-found")
    # An index packs texts: only what does not repeat is too long for it.
    letters = "".join(chr(0x4E00 + (n * n * 7919) % 20_000) for n in range(3_000))
    problem = problem_of(await send(client, "POST", "/widgets", {"name": letters}), 422, "malformed")
    assert [one["pointer"] for one in problem["errors"]] == ["/name"]


async def test_put_replaces_the_whole_record_and_creates_one(client: httpx2.AsyncClient, settings: Settings) -> None:
    assert (await send(client, "PUT", "/widgets/7", FULL)).status_code == 201
    answer = await send(client, "PUT", "/widgets/7", {"name": "less"})
    assert (answer.status_code, answer.json()["name"], answer.json()["meta"]) == (200, "less", None)
    problem = problem_of(await send(client, "PUT", "/widgets/7", {"id": 8, "name": "x"}), 422, "malformed")
    assert problem["errors"] == [{"pointer": "/id", "detail": "the path names another record"}]
    again = await send(client, "PUT", "/widgets/7/", {"name": "less"})
    assert again.headers["etag"] == answer.headers["etag"], "what changes nothing is no change"
    exact = await send(client, "PUT", "/widgets/7", {"name": "less", "price": "@1.50"})
    assert '"price":1.50' in exact.text
    assert '"price":1.500' in (await send(client, "PUT", "/widgets/7", {"name": "less", "price": "@1.500"})).text
    assert len(await stored(settings)) == 1


async def test_a_patch_changes_what_it_names(client: httpx2.AsyncClient) -> None:
    await send(client, "PUT", "/widgets/7", FULL)
    patch = {"price": None, "meta": {"a": None, "c": {"d": "@1.10", "e": None}}, "id": 7}
    text = text_of(patch).replace('"@1.10"', "1.10")
    answer = await send(client, "PATCH", "/widgets/7", text, Content_Type="application/merge-patch+json")
    assert answer.status_code == 200
    assert answer.json() == {**answer.json(), "price": None, "name": "seven", "meta": {"c": {"d": 1.10}}}
    assert "1.10" in answer.text
    for body, pointer in (({"name": None}, "/name"), ({"id": 8}, "/id"), ({"what": 1}, "/what")):
        problem = problem_of(await send(client, "PATCH", "/widgets/7", body), 422, "malformed")
        assert [one["pointer"] for one in problem["errors"]] == [pointer]
    assert (await send(client, "PATCH", "/widgets/7", "{}")).text == answer.text
    problem_of(await send(client, "PATCH", "/widgets/8", {"name": "x"}), 404, "not-found")


async def test_patches_of_different_fields_at_once_are_all_kept(client: httpx2.AsyncClient) -> None:
    await send(client, "PUT", "/widgets/7", {"name": "a", "meta": {}})
    await asyncio.gather(*(send(client, "PATCH", "/widgets/7", {"meta": {f"m{n}": n}}) for n in range(10)))
    answer = await send(client, "PATCH", "/widgets/7", "{}")
    assert answer.json()["meta"] == {f"m{n}": n for n in range(10)}


async def test_a_deleted_record_is_gone_and_told(client: httpx2.AsyncClient, settings: Settings) -> None:
    await send(client, "PUT", "/places/a%2Fb%2C%20%C3%A9,3", {"title": "x"})
    answer = await client.delete("/places/a%2Fb%2C%20%C3%A9,3")
    assert (answer.status_code, answer.content) == (204, b"")
    problem_of(await client.delete("/places/a%2Fb%2C%20%C3%A9,3"), 404, "not-found")
    async with connected(settings) as person:
        row = await person.fetchrow("select entity, key, source from warehouse.tombstone")
    assert row is not None
    assert tuple(row) == ("places", "a%2Fb%2C%20%C3%A9,3", "local")

    for key in ("x", "1,2", "1/2", "9223372036854775808", "", "1.0", "%31%00", "%ff"):
        for method in ("PUT", "PATCH", "DELETE"):
            answer = await send(client, method, f"/widgets/{key}", {"name": "x"})
            nowhere = key in ("", "1/2")
            problem_of(answer, 404 if nowhere else 422, "not-found" if nowhere else "malformed")


async def test_writes_hold_their_conditions(client: httpx2.AsyncClient) -> None:
    problem_of(await send(client, "PUT", "/widgets/7", {"name": "a"}, If_Match="*"), 412, "precondition-failed")
    first = await send(client, "PUT", "/widgets/7", {"name": "a"}, If_None_Match="*")
    assert first.status_code == 201
    problem_of(await send(client, "PUT", "/widgets/7", {"name": "b"}, If_None_Match="*"), 412, "precondition-failed")
    etag = first.headers["etag"]
    second = await send(client, "PATCH", "/widgets/7", {"name": "b"}, If_Match=f'"0", {etag}')
    assert second.status_code == 200
    for method in ("PUT", "PATCH", "DELETE"):
        for stale in (etag, f"W/{second.headers['etag']}", "nonsense", ""):
            problem = problem_of(
                await send(client, method, "/widgets/7", {"name": "c"}, If_Match=stale), 412, "precondition-failed"
            )
            assert problem["etag"] == second.headers["etag"]
    problem_of(await send(client, "PATCH", "/widgets/8", {"name": "c"}, If_Match=etag), 412, "precondition-failed")
    assert (await send(client, "DELETE", "/widgets/7", "", If_Match=second.headers["etag"])).status_code == 204
    etag = (await send(client, "PUT", "/widgets/7", {"name": "a"})).headers["etag"]
    answers = await asyncio.gather(
        *(send(client, "PATCH", "/widgets/7", {"name": f"n{n}"}, If_Match=etag) for n in range(6))
    )
    assert sorted(one.status_code for one in answers) == [200, 412, 412, 412, 412, 412]


async def test_the_same_request_again_has_its_answer_again(client: httpx2.AsyncClient, settings: Settings) -> None:
    first = await send(client, "POST", "/widgets", {"name": "a"}, Idempotency_Key="k-1")
    again = await send(client, "POST", "/widgets", {"name": "a"}, Idempotency_Key="k-1")
    assert (again.status_code, again.text) == (201, first.text)
    for name in ("etag", "location"):
        assert again.headers[name] == first.headers[name]
    assert (again.headers["idempotent-replayed"], first.headers.get("idempotent-replayed")) == ("true", None)
    assert len(await stored(settings)) == 1
    other = await send(client, "POST", "/widgets", {"name": "b"}, Idempotency_Key="k-1")
    problem_of(other, 409, "idempotency-key-reused")
    problem_of(await send(client, "DELETE", "/widgets/1", "", Idempotency_Key="k-1"), 409, "idempotency-key-reused")
    for _ in range(2):
        assert (await send(client, "DELETE", "/widgets/1", "", Idempotency_Key="k-2")).status_code == 204
    problem_of(await send(client, "POST", "/widgets", {"name": "b"}, Idempotency_Key="k" * 256), 422, "malformed")
    async with serving(settings, subject="bob") as bob:
        assert (await send(bob, "POST", "/widgets", {"name": "c"}, Idempotency_Key="k-1")).status_code == 201
    await send(client, "DELETE", "/widgets/2", "")
    answers = await asyncio.gather(
        *(send(client, "POST", "/widgets", {"name": "a"}, Idempotency_Key="at-once") for _ in range(6))
    )
    assert {one.text for one in answers} == set(await stored(settings))
    assert len(await stored(settings)) == 1


async def test_a_key_sent_with_another_record_is_refused_though_its_path_decodes_alike(
    client: httpx2.AsyncClient, settings: Settings
) -> None:
    paths = ("/pairs/a%2Cb,c", "/pairs/a,b%2Cc")
    for path in paths:
        assert (await send(client, "PUT", path, {})).status_code == 201
    assert (await send(client, "DELETE", paths[0], "", Idempotency_Key="k")).status_code == 204
    problem_of(await send(client, "DELETE", paths[1], "", Idempotency_Key="k"), 409, "idempotency-key-reused")


async def test_what_was_refused_may_be_tried_again_under_its_key_and_a_key_is_free_after_a_day(
    client: httpx2.AsyncClient, settings: Settings
) -> None:
    problem_of(await send(client, "PATCH", "/widgets/7", {"name": "b"}, Idempotency_Key="k"), 404, "not-found")
    await send(client, "PUT", "/widgets/7", {"name": "a"})
    assert (await send(client, "PATCH", "/widgets/7", {"name": "b"}, Idempotency_Key="k")).json()["name"] == "b"
    for key in ("k-1", "k-2"):
        await send(client, "POST", "/widgets", {"name": "a"}, Idempotency_Key=key)
    async with connected(settings) as person:
        await person.execute("update common.idempotency set created_at = now() - interval '24 h 1 s'")
        assert (await send(client, "POST", "/widgets", {"name": "b"}, Idempotency_Key="k-1")).json()["name"] == "b"
        assert [row[0] for row in await person.fetch("select key from common.idempotency")] == ["k-1"]


async def test_records_of_an_entity_that_is_not_writable_and_those_that_others_hold_are_not_written(
    client: httpx2.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method, path in (("POST", "/fixed"), ("PUT", "/fixed/1"), ("PATCH", "/fixed/1"), ("DELETE", "/fixed/1")):
        answer = await send(client, method, path, "{}")
        problem_of(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == "GET, HEAD"
    await send(client, "PUT", "/widgets/7", {"name": "a"})
    monkeypatch.setattr(records, "LOCK_SECONDS", 0.1)
    async with connected(settings) as person, person.transaction():
        await person.execute("update entity.widgets set name = 'held'")
        problem_of(await send(client, "PATCH", "/widgets/7", {"name": "b"}), 503, "lock-timeout")


async def test_a_local_write_has_a_lineage_and_leaves_a_record_to_its_source(
    client: httpx2.AsyncClient, settings: Settings
) -> None:
    async with connected(settings) as person:
        await person.execute(
            "insert into entity.widgets (id, name, _source, _external_id, _raw) values (7, 'a', 'crm', 'c-7', '{}')"
        )
        same = await send(client, "PATCH", "/widgets/7?lineage=1", {"name": "a"})
        assert same.json()["_lineage"]["source"] == "crm", "what changes nothing is nobody's write"
        told = (await send(client, "PATCH", "/widgets/7?lineage=1", {"name": "b"})).json()["_lineage"]
        assert (told["source"], told["external_id"]) == ("crm", "c-7")
        assert told["sequence"] > same.json()["_lineage"]["sequence"]
        assert told.keys() == {"source", "external_id", "sequence", "created_at", "updated_at"}
        assert await person.fetchval("select _raw from entity.widgets") is None
    problem_of(await send(client, "PATCH", "/widgets/7?lineage=yes", {"name": "b"}), 422, "malformed")


async def test_hostile_values_change_no_statement(client: httpx2.AsyncClient, settings: Settings) -> None:
    text = "'; drop table entity.widgets; -- \" $1 :x %s \\"
    await send(client, "POST", "/widgets", {"id": 1, "name": text, "meta": {text: text}})
    await send(client, "PATCH", "/widgets/1", {"meta": {text: None, text * 2: text}})
    found = json.loads((await stored(settings))[0])
    assert (found["name"], found["meta"]) == (text, {text * 2: text})
    odd = {"id": 1, "select": text, "order": "desc", "userId": text}
    assert (await send(client, "PUT", "/order/1", odd)).json() == odd
    assert (await send(client, "PATCH", "/order/1", {"select": None})).json() == {**odd, "select": None}

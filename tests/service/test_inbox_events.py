"""What came, looked at: lists in pages, one event with its body, and no secret."""

import hmac
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx2
import pytest

from nms.common.settings import Settings
from nms.common.token import mint_token
from nms.inbox.days import DayRepository
from nms.inbox.relay import RelayRepository
from nms.inbox.repository import InboxRepository, queries
from tests.service.inbox import SECRET, SHOP, declare, receiving, send, signed
from tests.service.web_client import problem_of
from tests.waiting import eventually


@pytest.fixture
async def inbox(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare(SHOP, {**SHOP, "name": "other"})
    async with receiving(settings) as client:
        yield client


async def read(client: httpx2.AsyncClient, settings: Settings, path: str) -> httpx2.Response:
    token = mint_token(settings, ["events:read"], subject="ada")
    return await client.get(path, headers={"Authorization": f"Bearer {token}"})


async def test_events_are_listed_in_pages_the_newest_first(inbox: httpx2.AsyncClient, settings: Settings) -> None:
    sent = [(await send(inbox, b"{}", f"n{n}")).json()["id"] for n in range(5)]
    other = (await send(inbox, b"{}", "one", "/in/other")).json()["id"]
    shown: list[str] = []
    path = "/events?limit=2&endpoint=shop&type=push"
    cursor: str | None = ""
    while cursor is not None:
        page = (await read(inbox, settings, path + (f"&cursor={cursor}" if cursor else ""))).json()
        shown += [one["id"] for one in page["items"]]
        cursor = page["next"]
    assert shown == sent[::-1]
    assert {one["id"] for one in (await read(inbox, settings, "/events")).json()["items"]} == {*sent, other}
    assert (await read(inbox, settings, "/events?since=2999-01-01T00:00:00Z")).json()["items"] == []
    assert (await read(inbox, settings, "/events?endpoint=nowhere")).json()["items"] == []
    problem_of(await read(inbox, settings, "/events?since=yesterday"), 422, "malformed")


async def test_an_event_is_shown_with_its_body_and_without_secrets(
    inbox: httpx2.AsyncClient, settings: Settings
) -> None:
    for body, encoding, shown in ((b'{"a": 1.0}', "text", '{"a": 1.0}'), (b"\xff\x00", "base64", "/wA=")):
        headers = {**signed(body, encoding), "Authorization": "Basic c2VjcmV0"}
        made = (await inbox.post("/in/shop", content=body, headers=headers)).json()["id"]
        found = (await read(inbox, settings, f"/events/{made}")).json()
        assert (found["encoding"], found["body"], found["bytes"]) == (encoding, shown, len(body))
        told = dict(found["headers"])
        assert (told["x-github-event"], told["authorization"]) == ("push", "(hidden)")
    kept = await (await InboxRepository.open()).connection.fetch("select headers from inbox.event")
    assert len(kept) == 2
    assert not any(b"c2VjcmV0" in row["headers"] for row in kept), "a secret is stored"
    problem_of(await read(inbox, settings, f"/events/{uuid4()}"), 404, "not-found")
    problem_of(await inbox.get("/events"), 401, "unauthenticated")


async def listed(client: httpx2.AsyncClient, settings: Settings, **asked: str) -> list[str]:
    answer = await read(client, settings, f"/events?{urlencode(asked)}")
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["items"]]


async def test_events_are_chosen_by_time_and_by_the_id_that_the_provider_gave(
    inbox: httpx2.AsyncClient, settings: Settings
) -> None:
    sent = [(await send(inbox, b"{}", f"n{n}")).json()["id"] for n in range(4)]
    times = [(await read(inbox, settings, f"/events/{one}")).json()["received_at"] for one in sent]
    chosen = {"since": times[1], "until": times[3]}
    assert await listed(inbox, settings, **chosen) == sent[2:0:-1]
    assert await listed(inbox, settings, **chosen, type="push", endpoint="shop") == sent[2:0:-1]
    assert await listed(inbox, settings, **chosen, type="pull") == []
    assert await listed(inbox, settings, delivery="n2") == [sent[2]]
    assert await listed(inbox, settings, delivery="n2", type="push", endpoint="shop", **chosen) == [sent[2]]
    for other in ({"delivery": "n9"}, {"delivery": "n0", **chosen}, {"delivery": "n2", "endpoint": "other"}):
        assert await listed(inbox, settings, **other) == []
    # What was received long before and got its number late is found by its time.
    connection = (await InboxRepository.open()).connection
    await connection.execute(
        "update inbox.event set received_at = received_at - interval '50 s' where id = $1", sent[3]
    )
    assert await listed(inbox, settings, until=times[0]) == [sent[3]]


async def test_an_event_is_found_by_its_id_wherever_the_endpoint_has_it(
    inbox: httpx2.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    bearer = {"kind": "endpoint", "scheme": {"type": "bearer", "secrets": ["env://TOKEN"]}}
    await declare(
        {"kind": "endpoint", "name": "shopify", "scheme": {"type": "shopify", "secrets": ["env://SHOP_HOOK"]}},
        {**bearer, "name": "crm", "id": {"path": "id"}},
        {**bearer, "name": "cloud", "format": "cloudevents"},
    )
    body = b'{"id": "e1", "specversion": "1.0", "source": "/crm", "type": "made"}'
    proof = b64encode(hmac.digest(SECRET.encode(), body, "sha256")).decode()
    shopify = {"X-Shopify-Hmac-Sha256": proof, "X-Shopify-Event-Id": "e1"}
    login = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/cloudevents+json"}
    made = {}

    async def taken(name: str, headers: dict[str, str]) -> bool:
        answer = await inbox.post(f"/in/{name}", content=body, headers=headers)
        made[headers.get("X-Shopify-Topic", name)] = answer.json().get("id")
        return answer.status_code == 202

    for topic in ("orders/create", "orders/paid"):
        await eventually(partial(taken, "shopify", {**shopify, "X-Shopify-Topic": topic}))
    for name in ("crm", "cloud"):
        assert await taken(name, login)
    for topic in ("orders/create", "orders/paid"):
        assert await listed(inbox, settings, delivery=f"e1 {topic}") == [made[topic]]
    assert await listed(inbox, settings, delivery="e1") == [made["crm"]]
    assert await listed(inbox, settings, delivery="/crm e1") == [made["cloud"]]
    assert await listed(inbox, settings, delivery="e2") == []


async def test_events_show_whether_rabbitmq_has_them(inbox: httpx2.AsyncClient, settings: Settings) -> None:
    sent = [(await send(inbox, b"{}", f"n{n}")).json()["id"] for n in range(3)]
    repository = await RelayRepository.open()
    first = (await read(inbox, settings, f"/events/{sent[0]}")).json()
    await repository.move_relay(first["number"])
    assert first["status"] == "stored"
    for status, kept in (("stored", sent[::-1]), ("waiting", []), ("sent", [])):
        assert (await listed(inbox, settings, status=status), status) == (kept, status)
    app: Any = inbox._transport.app  # type: ignore[attr-defined]
    app.state.settings = settings.model_copy(update={"amqp_dsn": "amqp://127.0.0.1:1"})
    for status, kept in (("stored", []), ("waiting", sent[:0:-1]), ("sent", sent[:1])):
        assert (await listed(inbox, settings, status=status), status) == (kept, status)
    items = (await read(inbox, settings, "/events")).json()["items"]
    assert [one["status"] for one in items] == ["waiting", "waiting", "sent"]
    assert (await read(inbox, settings, f"/events/{sent[0]}")).json()["status"] == "sent"
    scopes = ["events:read", "events:write"]
    headers = {"Authorization": f"Bearer {mint_token(settings, scopes, subject='ada')}"}
    for status, count in (("stored", 0), ("waiting", 2), ("sent", 1)):
        order = {"endpoint": "shop", "status": status, "dry_run": True}
        assert (await inbox.post("/replays", json=order, headers=headers)).json()["count"] == count


MANY = 20_000
FILL = """
with e as (
    insert into inbox.event (id, endpoint, type, key, content_type, headers, body, received_at)
    select gen_random_uuid(), case n % 100 when 7 then 'rare' else 'shop' end,
        case when n < 300 then 'old' else 'push' end, sha256(n::text::bytea), '', repeat('h', 100)::bytea,
        repeat('b', 200)::bytea,
        now() - interval '2 days' + n * (interval '2 days' / $1::integer)
    from generate_series(0, $1::integer - 1) as n
    returning *
)
insert into inbox.receipt (endpoint, key, event_id, digest, received_at)
select endpoint, key, id, key, received_at from e
"""


@pytest.fixture
async def many(settings: Settings) -> RelayRepository:
    repository = await RelayRepository.open()
    await repository.connection.execute(FILL, MANY)
    await (await DayRepository.open()).make_days(0)
    await repository.connection.execute("vacuum analyze inbox.event, inbox.receipt")
    return repository


async def test_a_page_and_a_step_of_a_replay_read_little_of_many_events(many: RelayRepository) -> None:
    repository = many
    middle = await repository.connection.fetchval("select now() - interval '1 day'")
    number = await repository.connection.fetchval("select last_value / 2 from inbox.event_number")
    await repository.move_relay(number)
    asked: list[dict[str, Any]] = [
        {},
        {"endpoint": "shop"},
        {"endpoint": "rare"},
        {"type": "old"},
        {"endpoint": "shop", "type": "old"},
        {"until": middle},
        {"since": middle, "endpoint": "rare"},
        {"until": middle, "type": "push", "endpoint": "shop"},
        {"status": "sent"},
        {"status": "waiting", "type": "old"},
        {"before": number},
        {"keys": [b"none"]},
    ]
    for one in asked:
        for plan in PLANS:
            read = await blocks_read(repository, one, plan)
            assert read < MOST_BLOCKS, f"{one} with {plan} read {read} blocks"
    sql = "select * from inbox.find_events($1, $2, $3, $4, $5, $6, $7, 100)"
    some = await repository.connection.fetchval(
        "select array_agg(id)::text from (select id from inbox.event limit 20) e"
    )
    steps: list[tuple[Any, ...]] = [
        ("shop", None, None, None, None, 0, MANY),
        ("shop", None, None, None, None, number, MANY),
        ("rare", None, None, None, None, number, MANY),
        ("rare", None, None, middle, None, 0, MANY),
        ("shop", "old", None, None, middle, 0, MANY),
        ("shop", None, some, None, None, 0, MANY),
    ]
    for values in steps:
        for plan in PLANS:
            read = await blocks_of(repository, sql, values, plan)
            assert read < MOST_BLOCKS, f"a step of {values} with {plan} read {read} blocks"


async def test_a_page_and_a_batch_of_all_endpoints_read_no_more_where_there_are_many(many: RelayRepository) -> None:
    await many.connection.execute("update inbox.event set endpoint = 'e' || number % 300")
    await many.connection.execute(
        "update inbox.receipt r set endpoint = e.endpoint from inbox.event e where e.id = r.event_id"
    )
    await many.connection.execute("vacuum analyze inbox.event")
    batch = queries.list_unsent.sql
    for plan in PLANS:
        read = await blocks_read(many, {}, plan)
        assert read < MOST_BLOCKS, f"a page with {plan} read {read} blocks"
        for after in (0, MANY // 2):
            read = await blocks_of(many, batch, (after, MANY, 100, MANY * 1000), plan)
            assert read < MOST_BLOCKS, f"a batch with {plan} read {read} blocks"


async def test_a_reader_of_a_new_endpoint_passes_over_nothing_of_the_one_that_was_there_alone(
    many: RelayRepository,
) -> None:
    connection = many.connection
    await connection.execute("update inbox.event set endpoint = 'shop'")
    await connection.execute("vacuum analyze inbox.event")
    await connection.execute("update inbox.event set endpoint = 'new' where number = $1", MANY)
    sql = "select * from inbox.read_events('{new}', $1, $2, 100)"
    for plan in PLANS:
        read = await blocks_of(many, sql, (0, MANY), plan)
        assert read < MOST_BLOCKS, f"{plan} read {read} blocks"


PLANS = ("force_custom_plan", "force_generic_plan")
MOST_BLOCKS = 500
"""Of a page of a hundred; the events have more than twice this, and each that is passed over costs another look."""


async def blocks_read(repository: InboxRepository, asked: dict[str, Any], plan: str) -> int:
    statement = queries.list_events
    given = {"size": 101, **asked}
    return await blocks_of(repository, statement.sql, [given.get(name) for name in statement.parameters], plan)


async def blocks_of(repository: InboxRepository, sql: str, values: Sequence[Any], plan: str) -> int:
    async with repository.transaction() as tx:
        await tx.connection.execute(f"set local plan_cache_mode = {plan}")
        await tx.connection.execute(f"prepare page as {sql}")
        listed = ", ".join(map(literal, values))
        told = await tx.connection.fetchval(f"explain (analyze, buffers, format json) execute page ({listed})")
        await tx.connection.execute("deallocate page")
    top = told[0]["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


def literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"array[{', '.join(map(literal, value))}]::bytea[]"
    return f"'\\x{value.hex()}'" if isinstance(value, bytes) else f"'{value}'"

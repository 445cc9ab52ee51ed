"""The inbox as a source: what endpoints received arrives in tables, in order and once in effect."""

import json
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import count
from typing import Any

import httpx2
import pytest

from nms.common.change import Change, Column, Shape
from nms.common.document import InboxSystem
from nms.common.flow import DatasetSpec, FeedSpec
from nms.common.problem import Malformed
from nms.common.settings import Settings
from nms.connectors.inbox import connector, source
from nms.connectors.inbox.reading import Event, Reader
from nms.connectors.postgres import target
from nms.inbox.repository import InboxRepository
from tests.conftest import MakeDatabase
from tests.service.inbox import SECRET, SHOP, receiving, send
from tests.service.stage import Stage, pipeline
from tests.waiting import eventually

TABLES = """
create table public.customer (id bigint primary key, name text, total numeric, event uuid, kind text);
create table public.campaign (id bigint primary key, name text, customer_id bigint)
"""
CUSTOMERS = {
    "endpoint": "shop",
    "records": "customer",
    "key": ["id"],
    "deleted": "deleted",
    "derive": {"kind": "kinds[0]"},
}
FIELDS = {"id": "id", "name": "name", "total": "total", "kind": "kind", "$event.id": "event"}
ALL = "select c::text from (select id, name, total, kind from public.customer order by id) c"
OLD = """
insert into inbox.event (id, endpoint, type, key, content_type, headers, body, received_at)
values (gen_random_uuid(), 'shop', '', '', '', '', '', now() - interval '40 d');
select inbox.make_days(0);
select inbox.drop_day('30 d')
"""
_numbers = count(1)


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    made = await Stage.set(settings, await make_database(), await make_database())
    await made.at("target", TABLES)
    return made


@pytest.fixture
async def client(settings: Settings, stage: Stage) -> AsyncIterator[httpx2.AsyncClient]:
    await stage.apply(SHOP)
    async with receiving(settings) as made:
        yield made


def inbox(**resources: Any) -> dict[str, Any]:
    named = {name.replace("_", "-"): one for name, one in resources.items()}
    return {"kind": "system", "name": "hooks", "type": "inbox", "resources": named}


def into(*datasets: dict[str, Any], **parts: Any) -> dict[str, Any]:
    made = datasets or ({"source": "customers", "target": "public.customer", "fields": FIELDS},)
    return pipeline("in") | {"source": "hooks", "capture": "feed", "datasets": list(made)} | parts


async def post(client: httpx2.AsyncClient, *bodies: Any) -> list[str]:
    """Send events; gives their ids."""
    ids = []
    for body in bodies:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await send(client, raw, f"delivery-{next(_numbers)}")
        assert answer.status_code == 202, answer.text
        ids.append(answer.json()["id"])
    return ids


async def test_records_of_events_are_written_changed_and_deleted(stage: Stage, client: httpx2.AsyncClient) -> None:
    await stage.apply(*stage.systems(), inbox(customers=CUSTOMERS), into())
    async with stage.working():
        (first,) = await post(client, b'{"customer": {"id": 1, "name": "a", "total": 1.10, "kinds": ["x", "y"]}}')
        await stage.arrive(ALL, ["(1,a,1.10,x)"])
        assert [str(one) for one in await stage.at("target", "select event from customer")] == [first]
        await post(client, {"customer": {"id": 2, "name": "b"}}, {"customer": {"id": 1, "total": 2}}, {"other": 5})
        await stage.arrive(ALL, ["(1,a,2,x)", "(2,b,,)"])
        await post(client, {"customer": {"id": 1, "deleted": True}}, {"customer": [{"id": 3}, {"id": 2, "name": "c"}]})
        await stage.arrive(ALL, ["(2,c,,)", "(3,,,)"])

        async def counted() -> bool:
            return (await stage.get("in")).status.get("events") == {"customers": {"seen": 6, "met": 5}}

        await eventually(counted)
        assert "with a record" in (await stage.nms("pipelines", "in")).stdout


async def test_the_doctor_tells_for_which_pipeline_an_event_waits(stage: Stage, client: httpx2.AsyncClient) -> None:
    await stage.apply(*stage.systems(), inbox(customers=CUSTOMERS), into())
    async with stage.working():
        await post(client, {"customer": {"id": 1}})
        await stage.arrive("select id from customer", [1])

        async def kept() -> bool:
            return "number" in ((await stage.get("in")).position or {})

        await eventually(kept)
    await post(client, {"customer": {"id": 2}})
    connection = (await InboxRepository.open()).connection
    await connection.execute("update inbox.event set received_at = received_at - interval '1 hour'")
    *_, told = await stage.answer("doctor")
    (finding,) = [one for one in told["findings"] if one["code"] == "feed-standing"]
    assert finding["sentence"].startswith("An event waits for the pipeline in for 1:00:")


async def test_an_event_that_two_resources_find_something_in_changes_both_at_once_and_in_order(
    stage: Stage, client: httpx2.AsyncClient
) -> None:
    await stage.at("target", "alter table campaign add foreign key (customer_id) references customer")
    await stage.at("target", "create table public.arrived (id uuid primary key, kind text, body jsonb)")
    campaigns = {"endpoint": "shop", "records": "campaigns[]", "types": ["push"]}
    never = {"endpoint": "shop", "types": ["another"]}
    datasets: list[dict[str, Any]] = [
        {"source": "campaigns", "target": "public.campaign"},
        {"source": "customers", "target": "public.customer", "fields": {"id": "id", "name": "name"}},
        {"source": "never", "target": "public.item"},
    ]
    every = [{"source": "shop", "target": "public.arrived", "fields": {
        "$event.id": "id", "$event.header.x-github-event": "kind", "campaigns": "body"}}]  # fmt: skip
    hooks = inbox(customers={"endpoint": "shop", "records": "customer"}, campaigns=campaigns, never=never)
    await stage.apply(*stage.systems(), hooks, into(*datasets), into(*every) | {"name": "whole"})
    body = {"customer": {"id": 1, "name": "a"}, "campaigns": [{"id": 7, "name": "x", "customer_id": 1}, {"id": 8}]}
    async with stage.working():
        (first,) = await post(client, body)
        await stage.arrive("select id || coalesce(name, '-') from campaign order by id", ["7x", "8-"])
        assert await stage.at("target", "select count(distinct xmin::text) from (select xmin from customer union all "
                              "select xmin from campaign) t") == [1]  # fmt: skip
        await stage.arrive("select (id, kind, jsonb_array_length(body))::text from arrived", [f"({first},push,2)"])
        names = [f"n{number}" for number in range(30)]
        await post(client, *({"customer": {"id": 1, "name": name}} for name in names))
        await stage.arrive("select name from customer", names[-1:])


async def test_what_cannot_be_read_or_is_refused_is_held_and_replayed_once_mended(
    stage: Stage, client: httpx2.AsyncClient
) -> None:
    wrong = CUSTOMERS | {"records": "client"}
    await stage.at("target", "alter table customer add check (total < 100)")
    await stage.apply(*stage.systems(), inbox(customers=wrong), into())
    async with stage.working():
        ids = await post(client, {"client": {"name": "nokey"}}, b"no json", {"client": {"id": 5, "total": 500}},
                         {"client": {"id": 6}})  # fmt: skip
        await stage.arrive(ALL, ["(6,,,)"])

        async def held() -> list[tuple[str, str]]:
            rows = await stage.answer("quarantine", "list", "in")
            return sorted((one["key"], one["problem"]["code"]) for one in rows if one["state"] == "held")

        wanted = sorted([(ids[0], "message-lacks-key"), (ids[1], "message-not-json"), ("5", "target-refused")])
        assert await held() == wanted
        await stage.at("target", "alter table customer drop constraint customer_total_check")
        mended = CUSTOMERS | {"records": "client", "derive": {"id": "id || `9`"}}
        await stage.apply(inbox(customers=mended))
        await stage.nms("quarantine", "replay", "in", "--all")
        await stage.arrive(ALL, ["(5,,500,)", "(6,,,)", "(9,nokey,,)"])
        assert [str(one) for one in await stage.at("target", "select event from customer where id = 9")] == ids[:1]
        assert await held() == [(ids[1], "message-not-json")]


async def test_a_pipeline_begins_with_what_is_kept_or_with_what_comes(
    stage: Stage, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "KEEP_SECONDS", 0.1)
    await stage.at("target", "create table public.later (id bigint primary key, name text)")
    await post(client, {"customer": {"id": 1}}, {"customer": {"id": 2}})
    later = {"source": "customers", "target": "public.later"}
    await stage.apply(
        *stage.systems(), inbox(customers=CUSTOMERS), into(), into(later, initial="none") | {"name": "later"}
    )
    async with stage.working():
        await stage.arrive(ALL, ["(1,,,)", "(2,,,)"])
        await stage.reach("streaming", name="later")
        await post(client, {"customer": {"id": 3}})
        await stage.arrive("select id from later", [3])
        # What is of no pipeline moves the place, too.
        await post(client, {"nothing": 1})
        await eventually(lambda: stands_at(stage, 4))
        assert (await stage.get("in")).status["delay_ms"] >= 0


@pytest.mark.parametrize(
    ("turn", "code"),
    [
        ("delete from inbox.event where number = 2", "inbox-restored"),
        ("select setval('inbox.event_number', 1)", "inbox-restored"),
        (OLD, "events-dropped"),
    ],
)
async def test_a_pipeline_halts_where_events_would_be_passed_by_and_a_resync_goes_on(
    stage: Stage, client: httpx2.AsyncClient, settings: Settings, turn: str, code: str
) -> None:
    await stage.apply(*stage.systems(), inbox(customers=CUSTOMERS), into())
    await post(client, {"customer": {"id": 1}}, {"customer": {"id": 2}})
    async with stage.working():
        await stage.arrive(ALL, ["(1,,,)", "(2,,,)"])
        await eventually(lambda: stands_at(stage, 2))
    assert settings.db_nms_dsn is not None
    await stage.at(settings.db_nms_dsn.get_secret_value(), turn)
    async with stage.working():
        halted = await stage.reach("halted", name="in")
        assert halted.problem is not None
        assert halted.problem["code"] == code
        await stage.nms("resync", "in", "--yes")
        await post(client, {"customer": {"id": 9}})
        await stage.arrive("select id from customer where id = 9", [9])


async def test_endpoints_that_are_missing_are_told_before_a_pipeline_starts(
    stage: Stage, client: httpx2.AsyncClient
) -> None:
    hooks = inbox(customers=CUSTOMERS | {"endpoint": "shoq"})
    with pytest.raises(Malformed) as caught:
        await stage.apply(*stage.systems(), hooks, into())
    (pointer,) = caught.value.pointers
    assert pointer.pointer.endswith("/datasets/0/source")
    assert "`customers` reads the endpoint `shoq`, and there is none; known endpoints: shop" in pointer.detail
    system = InboxSystem.model_validate(hooks)
    (finding,) = await connector.check(system, [DatasetSpec("customers", "c")], reads=True, writes=False)
    assert (finding.code, finding.pointer, finding.fatal) == ("endpoint-missing", "/datasets/0/source", True)
    await stage.apply(*stage.systems(), inbox(customers=CUSTOMERS), into())
    (told,) = await stage.answer("doctor", "in")
    assert told["fit"], told


async def test_a_batch_ends_behind_the_event_that_has_enough_changes_and_the_next_goes_on_there(
    stage: Stage, client: httpx2.AsyncClient
) -> None:
    bodies = [[{"id": 1}, {"id": 2}], [{"id": 3}, {"id": 4}], [], [{"id": 5}], [{"id": 6}]]
    await post(client, *bodies)
    spec = FeedSpec("p", 1, {"number": 0}, {"shop": Shape("shop", (Column("id", "bigint"),), (0,))})
    system = InboxSystem.model_validate(inbox())
    opened = await source.InboxSource.open(system, spec, source.Limits(batch_changes=3))
    reading = opened.batches()
    first, second = [await anext(reading) for _ in range(2)]
    assert opened.facts()["events"] == {"shop": {"seen": 5, "met": 4}}
    await opened.close()
    assert (first.changes, first.ends, first.position["number"], first.position["mark"]["number"]) == (
        4, [(2, 1), (2, 2)], 2, 2
    )  # fmt: skip
    assert (second.changes, second.ends, second.position["number"]) == (2, [(0, 3), (1, 4), (1, 5)], 5)
    again = await source.InboxSource.open(system, replace(spec, start=first.position))
    assert (await anext(again.batches())).ends == second.ends
    await again.close()


async def test_events_are_read_beside_the_event_loop(
    stage: Stage, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await post(client, {"id": 1})
    threads = []
    read = Reader.read

    def watched(made: Reader, event: Event) -> list[Change]:
        threads.append(threading.current_thread())
        return read(made, event)

    monkeypatch.setattr(Reader, "read", watched)
    spec = FeedSpec("p", 1, {"number": 0}, {"shop": Shape("shop", (Column("id", "bigint"),), (0,))})
    opened = await source.InboxSource.open(InboxSystem.model_validate(inbox()), spec)
    assert (await anext(opened.batches())).changes == 1
    await opened.close()
    assert threads
    assert threading.current_thread() not in threads


async def stands_at(stage: Stage, number: int) -> bool:
    """Whether the hub knows that the target has read up to this event."""
    [place] = await stage.at("target", "select (position ->> 'number')::bigint from nms.position where pipeline = 'in'")
    return bool(place == number and ((await stage.get("in")).position or {}).get("number") == number)


@pytest.mark.parametrize("limit", [target.EXACT_LIMIT, 0])
async def test_a_record_that_lacks_a_required_field_changes_its_row_and_is_held_where_there_is_none(
    stage: Stage, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(target, "EXACT_LIMIT", limit)
    things = {"source": "shop", "target": "public.thing"}
    await stage.at("target", "create table public.thing (id bigint primary key, name text not null, total numeric,"
                   " kind text not null default 'x')")  # fmt: skip
    await stage.apply(*stage.systems(), inbox(), into(things))
    async with stage.working():
        await post(
            client, {"id": 1, "name": "a"}, {"id": 2, "total": 1}, [{"id": 1, "total": 5}, {"id": 3, "name": "c"}]
        )
        await post(client, {"id": 1, "kind": "y"}, {"id": 1})
        await stage.arrive("select t::text from public.thing t order by id", ["(1,a,5,y)", "(3,c,,x)"])

        async def held() -> list[tuple[str, str]]:
            rows = await stage.answer("quarantine", "list", "in")
            return [(one["key"], one["problem"]["code"]) for one in rows]

        assert await held() == [("2", "target-refused")]
        await post(client, {"id": 4, "name": "d"})
        await stage.arrive("select count(*) from public.thing", [3])

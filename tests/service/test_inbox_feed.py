"""Events in the order in which they are passed on: nothing that is committed late is passed by."""

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest

from nms.common.settings import Settings
from nms.connectors.inbox.place import Mark, Place, judge
from nms.connectors.inbox.repository import FeedRepository
from nms.inbox.arrival import Arrival, new_event_id
from nms.inbox.days import DayRepository
from nms.inbox.models import EventFilter
from nms.inbox.repository import InboxRepository
from tests.waiting import eventually

BIG = 2**31
WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


def arrival(key: str, endpoint: str = "shop") -> Arrival:
    raw = key.encode()
    return Arrival(new_event_id(), endpoint, sha256(raw).digest(), sha256(raw).digest(), "push", "text/plain", b"", raw)


async def passed_on(repository: InboxRepository, after: int = 0, *endpoints: str) -> tuple[int, list[str]]:
    connection: Any = repository.connection
    upto = await connection.fetchval("select inbox.settled()")
    rows = await connection.fetch(
        "select * from inbox.read_events($1, $2, $3, 1000)", list(endpoints or ("shop",)), after, upto
    )
    return upto, [row["body"].decode() for row in rows]


async def test_a_place_holds_where_one_that_stores_was_put_to_sleep_before_it_left_its_mark(settings: Settings) -> None:
    feed, inbox = await FeedRepository.open(), await InboxRepository.open()
    await store("a")
    async with inbox.transaction() as slow:
        # `begin_storing` in two steps, with what others store between them.
        number = await slow.connection.fetchval("select last_value from inbox.event_number")
        await store("b")
        settled = await feed.settled()
        *_, last = await feed.list_events(["shop"], 0, settled, (100, 1 << 20))
        place = Place(0).passed(last.number, Mark(last.number, last.id, last.received_at))
        await slow.connection.execute("select pg_advisory_xact_lock_shared(1852666729, $1::bigint::integer)", number)
        assert (await feed.settled(), place.number) == (number, settled)
        judge(place, await feed.look(["shop"], place))


async def store(*keys: str) -> None:
    await (await InboxRepository.open()).store([arrival(key) for key in keys])


async def test_two_that_store_the_same_keys_in_another_order_never_wait_for_each_other(settings: Settings) -> None:
    repository = await InboxRepository.open()
    small, large = sorted((arrival("a"), arrival("b")), key=lambda one: one.key)
    async with repository.transaction() as first:
        await first.store([small])
        second = asyncio.create_task(repository.store([large, small]))

        async def is_waiting() -> bool:
            return bool(await repository.connection.fetchval(WAITING))

        await eventually(is_waiting)
        assert [one.kind for one in await first.store([large])] == ["new"]
    assert [one.kind for one in await second] == ["known", "known"]


@pytest.mark.parametrize("start", [0, BIG - 3, BIG * 5 + 7])
async def test_what_is_committed_late_is_waited_for_and_nothing_else_is(settings: Settings, start: int) -> None:
    repository = await InboxRepository.open()
    if start:
        await repository.connection.execute("select setval('inbox.event_number', $1)", start)
    await store("a", "b")
    reached, bodies = await passed_on(repository)
    assert bodies == ["a", "b"]
    async with repository.transaction() as late, repository.transaction() as strange:
        await strange.connection.execute("create table public.other (id int)")
        await late.store([arrival("c")])
        await store("d")
        assert await passed_on(repository, reached) == (reached, [])
    upto, bodies = await passed_on(repository, reached)
    assert (upto, bodies) == (reached + 2, ["c", "d"])


async def test_an_open_transaction_that_stores_nothing_holds_up_nothing(settings: Settings) -> None:
    repository = await InboxRepository.open()
    async with repository.transaction() as strange:
        await strange.connection.execute("create table public.other (id int)")
        await store("a")
        assert (await passed_on(repository))[1] == ["a"]


async def test_events_of_one_request_keep_their_order_and_only_wanted_endpoints_are_read(settings: Settings) -> None:
    repository = await InboxRepository.open()
    names = [f"n{n:02}" for n in range(40)]
    arrivals = [arrival(name, endpoint) for name in names for endpoint in ("shop", "other")]
    await repository.store(arrivals)
    assert (await passed_on(repository))[1] == names
    assert (await passed_on(repository, 0, "shop", "other"))[1] == [name for name in names for _ in range(2)]
    assert (await passed_on(repository, 0, "nobody"))[1] == []


async def test_a_clock_that_is_set_back_changes_neither_the_order_nor_what_is_passed_on(settings: Settings) -> None:
    repository, days = await InboxRepository.open(), await DayRepository.open()
    await days.make_days(0)
    for n, ahead in enumerate(("20 days", "1 hour", "0")):
        await store(str(n))
        await repository.connection.execute(f"{AHEAD} + interval '{ahead}' where body = '{n}'")
    expected = ["0", "1", "2"]
    assert (await passed_on(repository))[1] == expected
    assert await days.make_days(0) > 0
    assert (await passed_on(repository))[1] == expected
    page = await repository.list_events(EventFilter(), None, (None, 10), relayed=False)
    assert [one.number for one in page] == [3, 2, 1]
    await store("0", "1", "2")
    assert (await passed_on(repository))[1] == expected


AHEAD = "update inbox.event set received_at = received_at"


async def test_many_writers_at_once_lose_nothing_to_a_reader_that_never_waits(settings: Settings) -> None:
    repository = await InboxRepository.open()
    found: list[str] = []
    after = 0

    async def write(writer: int) -> None:
        for n in range(40):
            await store(f"{writer}-{n:02}")

    async def read() -> None:
        nonlocal after
        reached, bodies = await passed_on(repository, after)
        after = reached
        found.extend(bodies)

    writing = [asyncio.create_task(write(n)) for n in range(4)]
    while not all(task.done() for task in writing):
        await read()
    await asyncio.gather(*writing)
    await read()
    assert sorted(found) == sorted(f"{writer}-{n:02}" for writer in range(4) for n in range(40))
    assert all(in_order(found, writer) for writer in range(4))


def in_order(found: Sequence[str], writer: int) -> bool:
    mine = [body for body in found if body.startswith(f"{writer}-")]
    return mine == sorted(mine)

"""How long the inbox keeps: days are made ahead, and dropped when no endpoint keeps them any more."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from nms.common.configuration import build_configuration
from nms.common.db.problems import LockTimeout
from nms.common.settings import Settings
from nms.inbox.days import AHEAD_DAYS, DayRepository, forget, longest_keep
from tests.service.inbox import SECRET, SHOP, declare, receiving, send
from tests.service.test_cfg_effects import effects
from tests.waiting import eventually

OLD = """
with e as (
    insert into inbox.event (id, endpoint, type, key, content_type, headers, body, received_at)
    select gen_random_uuid(), 'shop', '', sha256(n::text::bytea), '', '', '', now() - make_interval(days => n)
    from generate_series(0, 40) as n
    returning *
)
insert into inbox.receipt (endpoint, key, event_id, digest, received_at)
select endpoint, key, id, key, received_at from e
"""
THREE = """
insert into inbox.event (id, endpoint, type, key, content_type, headers, body, received_at)
select gen_random_uuid(), 'shop', '', '', '', '', '', now() - make_interval(days => n)
from unnest(array[1, 39, 40]) as n
"""
MANY = """
insert into inbox.event (id, endpoint, type, key, content_type, headers, body, received_at)
select gen_random_uuid(), 'e' || n % 3, '', '', '', '', '', now() - interval '40 d' from generate_series(1, 3000) as n
"""
QUEUED = "select count(*) from pg_locks where not granted and relation = 'inbox.event'::regclass"
READ = "select pg_stat_get_xact_tuples_returned(oid) from pg_class where relname = 'event_{0}'"
WAITING = """
select count(*) from pg_locks
where not granted and database = (select oid from pg_database where datname = current_database())
"""


async def partitions(repository: DayRepository) -> list[str]:
    rows = await repository.connection.fetch(
        "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'inbox.event'::regclass order by 1"
    )
    return [row["name"].removeprefix("inbox.event_") for row in rows]


async def count(repository: DayRepository, table: str) -> int:
    return int(await repository.connection.fetchval(f"select count(*) from inbox.{table}"))


def days_from(first: int, last: int) -> set[str]:
    today = datetime.now(UTC).date()
    return {f"{today + timedelta(days=n):%Y%m%d}" for n in range(first, last + 1)}


async def test_a_week_of_days_is_made_ahead_while_events_come_and_none_stays_in_the_default(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare(SHOP)
    async with receiving(settings) as client:
        repository = await DayRepository.open()
        answers = await asyncio.gather(*(send(client, b"{}", f"n{n}") for n in range(30)))
        assert {answer.status_code for answer in answers} == {202}

        async def made() -> bool:
            return set(await partitions(repository)) >= {"rest"} | days_from(1, AHEAD_DAYS - 1)

        await eventually(made)
        assert (await send(client, b"{}", "last")).status_code == 202
        assert await count(repository, "event_rest") == 0
        assert await count(repository, "event") == 31
        assert (await send(client, b"{}", "n1")).status_code == 200


async def test_a_day_goes_with_its_receipts_when_no_endpoint_keeps_it_any_more(settings: Settings) -> None:
    await declare(SHOP, {**SHOP, "name": "patient", "keep": "35d"})
    repository = await DayRepository.open()
    await repository.connection.execute(OLD)
    assert await repository.make_days(0) == 41
    assert await count(repository, "event_rest") == 0
    await forget(repository, asyncio.Event())
    # The day that is 35 days old has events that are younger than that.
    assert await count(repository, "event") == await count(repository, "receipt") == 36
    shorter = ({**SHOP, "name": "patient", "keep": "2d"}, {**SHOP, "keep": "1d"})
    told = "keeps events for less time: days that no endpoint keeps go within minutes"
    assert await effects(*shorter) == [f"endpoint patient {told}", f"endpoint shop {told}"]
    await declare(*shorter)
    await forget(repository, asyncio.Event())
    assert await count(repository, "event") == await count(repository, "receipt") == 3
    assert await repository.make_days(0) == 0


async def test_a_reader_that_comes_while_rows_are_moved_to_their_day_finds_them(settings: Settings) -> None:
    repository = await DayRepository.open()
    await repository.connection.execute(OLD)

    async def is_waiting() -> bool:
        return bool(await repository.connection.fetchval(WAITING))

    async with repository.transaction() as tx:
        await tx.make_days(0)
        reading = asyncio.create_task(count(repository, "event"))
        await eventually(is_waiting)
    assert await reading == 41


async def test_days_go_one_by_one_and_leave_a_note_for_which_no_day_is_read_whole(settings: Settings) -> None:
    repository = await DayRepository.open()
    await repository.connection.execute(THREE)
    await repository.connection.execute(MANY)
    await repository.make_days(0)
    before = await partitions(repository)
    (day,) = days_from(-40, -40)
    async with repository.transaction() as tx:
        read = await tx.connection.fetchval(READ.format(day))
        newest = await tx.connection.fetch(f"select * from inbox.list_newest('inbox.event_{day}')")
        assert await tx.connection.fetchval(READ.format(day)) - read < 100
    assert {row["endpoint"]: row["number"] for row in newest} == {"e0": 3003, "e1": 3001, "e2": 3002, "shop": 3}
    assert await repository.drop_day(30 * 86_400)
    assert set(before) - set(await partitions(repository)) == {day}
    assert await repository.drop_day(30 * 86_400)
    assert not await repository.drop_day(30 * 86_400)
    dropped = await repository.connection.fetch("select endpoint, number from inbox.dropped")
    assert {row["endpoint"]: row["number"] for row in dropped} == {"e0": 3003, "e1": 3001, "e2": 3002, "shop": 3}


@pytest.mark.parametrize("what", ["make", "drop"])
async def test_days_are_left_alone_while_a_dump_reads_and_who_stores_never_waits_for_them(
    settings: Settings, what: str
) -> None:
    repository = await DayRepository.open()
    await repository.connection.execute(THREE)
    await repository.make_days(0)
    queued = 0
    async with repository.transaction() as dump:
        await dump.connection.execute("lock table inbox.event in access share mode")
        keeping = asyncio.create_task(repository.make_days(3) if what == "make" else repository.drop_day(86_400))
        while not keeping.done():
            queued += await repository.connection.fetchval(QUEUED)
        with pytest.raises(LockTimeout):
            await keeping
    assert queued == 0
    assert await (repository.make_days(3) if what == "make" else repository.drop_day(86_400))


async def test_while_an_endpoint_cannot_be_read_nothing_is_forgotten(settings: Settings) -> None:
    repository = await DayRepository.open()
    broken = {"revision": 1, "kind": "endpoint", "name": "shop", "body": {"kind": "endpoint", "name": "shop"}}
    assert await longest_keep(repository, build_configuration([broken])) is None
    assert await longest_keep(repository, build_configuration([])) == 30 * 86_400


async def test_an_endpoint_that_is_taken_out_keeps_its_events_for_a_week_more(settings: Settings) -> None:
    repository = await DayRepository.open()
    shop = build_configuration([{"revision": 1, "kind": "endpoint", "name": "shop", "body": SHOP | {"keep": "365d"}}])
    other = build_configuration(
        [{"revision": 2, "kind": "endpoint", "name": "other", "body": SHOP | {"name": "other", "keep": "1d"}}]
    )
    age = "update inbox.kept set missed_at = missed_at - interval '4 d'"
    assert await longest_keep(repository, shop) == 365 * 86_400
    for _ in range(2):
        assert await longest_keep(repository, other) == 365 * 86_400
        await repository.connection.execute(age)
    assert await longest_keep(repository, other) == 86_400
    assert await longest_keep(repository, shop) == 365 * 86_400
    assert await longest_keep(repository, build_configuration([])) == 365 * 86_400

"""The outbox as a log: places in commit order, nothing skipped, nothing purged too early, and poison contained."""

import asyncio
import sys
from typing import Any

import asyncpg
import pytest

from nms.common import outbox
from nms.common.bus.postgres import DELIVERY_LIMIT, PostgresBus
from nms.common.bus.subscription import Subscription
from nms.common.db.pool import prepare_connection
from nms.common.db.repositories import BaseNmsRepository
from nms.common.event import Envelope, unpack
from nms.common.settings import Settings
from nms.events.cfg import DocumentsPublished
from nms.events.sync import PipelineHalted, PipelinePaused
from tests.waiting import eventually


@pytest.fixture
async def repository(settings: Settings) -> BaseNmsRepository:
    return await BaseNmsRepository.open()


async def read_all(repository: BaseNmsRepository, *types: str, after: int = 0) -> list[tuple[int, Envelope]]:
    await outbox.stamp(repository)
    return await outbox.read(repository, after, types or ("*",), 10_000)


async def test_an_event_keeps_its_type_version_key_and_payload(repository: BaseNmsRepository) -> None:
    event = PipelineHalted(pipeline="p", revision=3, problem={"code": "slot-lost"})
    async with repository.transaction() as tx:
        identity = await outbox.put(tx, event)
    ((_, envelope),) = await read_all(repository)
    assert (envelope.id, envelope.type, envelope.version, envelope.key) == (identity, "sync.pipeline.halted", 1, "p")
    assert unpack(envelope, PipelineHalted) == event
    assert Envelope.from_dict(envelope.to_dict()) == envelope


async def test_a_reader_lives_on_when_a_newer_writer_adds_fields(repository: BaseNmsRepository) -> None:
    await outbox.put(repository, DocumentsPublished(revision=1, kinds=("system",)))
    await repository.connection.execute(
        "update common.outbox set version = 2, payload = payload || $1", {"added": "later"}
    )
    ((_, envelope),) = await read_all(repository)
    assert unpack(envelope, DocumentsPublished).revision == 1


async def test_types_choose_by_name_by_room_or_all(repository: BaseNmsRepository) -> None:
    await outbox.put(repository, PipelinePaused(pipeline="p"))
    await outbox.put(repository, DocumentsPublished(revision=1))
    for wanted, count in (("sync.pipeline.paused", 1), ("sync.*", 1), ("*", 2), ("sync", 0), ("syn.*", 0)):
        assert len(await read_all(repository, wanted)) == count, wanted


async def test_a_cursor_never_passes_an_event_by(repository: BaseNmsRepository, database: str) -> None:
    """Forty writers commit in any order while several stamp and a reader follows with a cursor."""
    writing, cursor = asyncio.Event(), 0
    seen: list[Envelope] = []

    async def write(number: int) -> None:
        for turn in range(10):
            async with repository.transaction() as tx:
                await outbox.put(tx, PipelinePaused(pipeline=f"{number}", revision=turn))
                await tx.connection.execute("select pg_sleep(random() * 0.01)")

    async def follow() -> None:
        nonlocal cursor
        while True:
            done = writing.is_set()
            batch = await read_all(repository, after=cursor)
            seen.extend(envelope for _, envelope in batch)
            cursor = batch[-1][0] if batch else cursor
            if done and not batch:
                return

    async def stamp() -> None:
        while not writing.is_set():
            await outbox.stamp(repository)

    readers = [asyncio.create_task(duty()) for duty in (follow, stamp, stamp)]
    await asyncio.gather(*(write(number) for number in range(40)))
    writing.set()
    await asyncio.gather(*readers)
    assert len(seen) == len({envelope.id for envelope in seen}) == 400
    for number in range(40):
        assert [e.payload["revision"] for e in seen if e.key == str(number)] == list(range(10))


async def test_what_was_put_after_a_commit_stands_behind_it_though_its_transaction_is_older(
    repository: BaseNmsRepository, database: str
) -> None:
    older = await asyncpg.connect(database)
    await prepare_connection(older)
    transaction = older.transaction()
    await transaction.start()
    early = await older.fetchval("select pg_current_xact_id()::text::bigint")
    await outbox.put(repository, PipelinePaused(pipeline="p", revision=1))
    await outbox.put(BaseNmsRepository(older), PipelinePaused(pipeline="p", revision=2))
    first = await read_all(repository)
    await transaction.commit()
    both = await read_all(repository)
    await older.close()
    assert early < await repository.connection.fetchval("select pg_current_xact_id()::text::bigint")
    assert [envelope.payload["revision"] for _, envelope in first] == [1]
    assert [envelope.payload["revision"] for _, envelope in both] == [1, 2]


async def test_tidying_deletes_nothing_that_a_subscriber_has_still_to_read(
    repository: BaseNmsRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "KEEP_SECONDS", 0.0)
    for number in range(4):
        await outbox.put(repository, PipelinePaused(pipeline="p", revision=number))
    places = [place for place, _ in await read_all(repository)]
    await repository.connection.execute("insert into common.subscriber (name, position) values ('slow', $1)", places[1])
    await outbox.tidy(repository)
    assert [place for place, _ in await read_all(repository)] == places[2:]
    assert await outbox.lag(repository, "slow") == 2


async def test_an_event_that_ends_the_process_each_time_becomes_a_dead_letter(repository: BaseNmsRepository) -> None:
    handled: list[int] = []

    async def handle(tx: Any, envelope: Envelope) -> None:
        handled.append(envelope.payload["revision"])

    for number in range(3):
        await outbox.put(repository, PipelinePaused(pipeline="p", revision=number))
    await repository.connection.execute("insert into common.subscriber (name, tries) values ('s', $1)", DELIVERY_LIMIT)
    stop = asyncio.Event()
    subscription = Subscription("s", ["sync.*"], repository, handle)
    delivery = asyncio.create_task(PostgresBus(repository).deliver(subscription, stop))

    async def done() -> bool:
        return handled == [1, 2]

    await eventually(done)
    stop.set()
    await delivery
    assert await repository.connection.fetchval("select count(*) from common.dead_letter") == 1


async def test_the_clients_of_rabbitmq_and_redis_are_loaded_only_when_configured() -> None:
    script = (
        "import sys, nms.common.bus.bus, nms.common.cache.cache, nms.common.run, nms.common.tasks;"
        "sys.exit(bool({'aio_pika', 'redis', 'aiormq'} & sys.modules.keys()))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    assert await process.wait() == 0


async def test_stampers_take_turns_so_that_a_place_never_changes(repository: BaseNmsRepository) -> None:
    await outbox.put(repository, PipelinePaused(pipeline="p", revision=1))
    async with repository.transaction() as tx:
        await outbox.stamp(tx)
        ((given, _),) = await outbox.read(tx, 0, ["*"], 10)
        await outbox.put(repository, PipelinePaused(pipeline="p", revision=2))
        second = asyncio.create_task(outbox.stamp(repository))

        async def waits() -> bool:
            waiting = "select count(*) from pg_locks where locktype in ('advisory', 'transactionid') and not granted"
            return bool(await repository.connection.fetchval(waiting))

        await eventually(waits)
    await second
    places = [place for place, _ in await outbox.read(repository, 0, ["*"], 10)]
    assert places[0] == given
    assert places[1] > given

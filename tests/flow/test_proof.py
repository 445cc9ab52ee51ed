"""The checker is trusted because it goes red on every planted fault, by name, and stays green on honest streams."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import asyncpg
import pytest

from tests.flow.proof import checker, plant, writers
from tests.flow.proof.observer import Observer
from tests.flow.proof.records import Fault, Verdict
from tests.flow.proof.replay import SLOT, Change, decode, replay
from tests.services.postgres import PostgresServer
from tests.services.shared import Session

PLAN = writers.Plan(seed=5, rate=0, transactions=60, accounts=100, big=300, hold=0.1, wipes=3)


@dataclass
class Recorded:
    """A source that was written to, and what its slot said, seed included."""

    server: PostgresServer
    source: str
    template: str
    stream: list[list[Change]]
    tally: writers.Tally
    money: int


@pytest.fixture(scope="module")
def recorded() -> Iterator[Recorded]:
    server = Session.begin().postgres("18")
    found = asyncio.run(record(server))
    yield found
    for dsn in (found.source, found.template):
        asyncio.run(server.drop_database(dsn.rpartition("/")[2]))


async def record(server: PostgresServer) -> Recorded:
    source, template = await server.create_database(), await server.create_database()
    await checker.prepare_source(source)
    await checker.prepare_target(template)
    connection = await asyncpg.connect(source)
    slot = f"{SLOT}_{source[-8:]}"
    await connection.execute("select pg_create_logical_replication_slot($1, 'pgoutput')", slot)
    money = await checker.seed_source(source, PLAN.accounts)
    tally = await writers.write(source, PLAN, asyncio.Event())
    await connection.execute(
        "set synchronous_commit = on"
    )  # the shared server flushes late, and a slot reads what is flushed
    await connection.execute("insert into event_log (kind) values ('last')")
    stream = await decode(connection, slot)
    await connection.close()
    return Recorded(server, source, template, stream, tally, money)


@pytest.fixture
async def target(recorded: Recorded) -> AsyncIterator[str]:
    dsn = await recorded.server.create_database(template=recorded.template.rpartition("/")[2])
    yield dsn
    await recorded.server.drop_database(dsn.rpartition("/")[2])


async def judge(recorded: Recorded, target: str, stream: list[list[Change]]) -> Verdict:
    connection = await asyncpg.connect(target)
    await replay(connection, stream)
    await connection.close()
    return await checker.check(recorded.source, target, tally=recorded.tally)


def seen(verdict: Verdict) -> set[Fault]:
    return {fault for fault, count in verdict.counts.items() if count}


async def test_a_faithful_replay_is_clean(recorded: Recorded, target: str) -> None:
    verdict = await judge(recorded, target, recorded.stream)
    assert verdict.clean, str(verdict)
    assert verdict.facts["effects"] > 1000


async def test_many_source_transactions_in_one_target_transaction_are_clean(recorded: Recorded, target: str) -> None:
    stream = recorded.stream
    grouped = [[change for one in stream[n : n + 7] for change in one] for n in range(0, len(stream), 7)]
    verdict = await judge(recorded, target, grouped)
    assert verdict.clean, str(verdict)


async def test_folding_to_one_change_per_key_is_clean(recorded: Recorded, target: str) -> None:
    verdict = await judge(recorded, target, plant.fold_updates(recorded.stream, 7))
    assert verdict.clean, str(verdict)
    assert verdict.facts["effects"] < verdict.facts["written"], "something was folded"


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (plant.lose_insert, {Fault.LOST}),
        (plant.lose_update, {Fault.LOST}),
        (plant.lose_delete, {Fault.LOST}),
        (plant.lose_unchanged_toast, {Fault.LOST}),
        (plant.double_insert, {Fault.DOUBLED}),
        (plant.double_update, {Fault.DOUBLED}),
        (plant.reorder_updates, {Fault.REORDERED, Fault.DOUBLED}),
        (plant.delete_late, {Fault.LOST, Fault.REORDERED}),
        (plant.split_transaction, {Fault.HALF_VISIBLE}),
        (plant.split_and_fold, {Fault.HALF_VISIBLE}),
        (plant.invent_update, {Fault.INVENTED, Fault.REORDERED}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_planted_fault_is_named(
    recorded: Recorded, target: str, spoil: Callable[[plant.Stream], plant.Stream], expected: set[Fault]
) -> None:
    verdict = await judge(recorded, target, spoil(recorded.stream))
    assert seen(verdict) == expected, str(verdict)
    assert all(verdict.examples[fault] for fault in expected)


async def test_an_observer_sees_half_a_transaction(recorded: Recorded, target: str) -> None:
    at = plant.three_tables(recorded.stream)
    connection = await asyncpg.connect(target)
    await replay(connection, recorded.stream[:at])
    observer = Observer(target, recorded.money)
    for change in recorded.stream[at]:
        await replay(connection, [[change]])
        await observer.look()
    await connection.close()
    observer.leave()
    assert observer.wrong
    verdict = await checker.check(recorded.source, target, [observer])
    assert verdict.counts[Fault.HALF_VISIBLE] >= 1


async def test_a_chunk_read_again_during_the_backfill_is_legal_and_after_it_is_not(
    recorded: Recorded, target: str
) -> None:
    connection = await asyncpg.connect(target)
    await replay(connection, recorded.stream)
    again = "update account set payload = payload where id = (select min(id) from account)"
    await connection.execute(again)
    await checker.mark_backfill_over(target)
    during = await checker.check(recorded.source, target)
    await connection.execute(again)
    after = await checker.check(recorded.source, target)
    await connection.close()
    assert during.clean, str(during)
    assert seen(after) == {Fault.DOUBLED}


def test_the_workload_has_every_kind_of_change(recorded: Recorded) -> None:
    ops = {change.op for one in recorded.stream for change in one}
    moves = [c for one in recorded.stream for c in one if c.op == "U" and c.old]
    toast = [c for one in recorded.stream for c in one if c.op == "U" and len(c.written) < len(c.new)]
    assert ops == {"I", "U", "D", "T"}
    assert moves
    assert toast

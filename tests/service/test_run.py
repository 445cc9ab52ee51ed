"""Runs as rows: what the database itself enforces, and how they are ordered, cancelled, retried and listed."""

import asyncio
import json
from datetime import timedelta

import asyncpg
import pytest

from nms.common.problem import NotFound
from nms.common.run import (
    Claimed,
    LeaseLost,
    Order,
    Progress,
    Run,
    RunEnded,
    RunExists,
    RunNotRetryable,
    RunRepository,
    RunState,
    Stop,
    Unique,
    enqueue,
    place_order,
    request_cancel,
    retry,
)
from nms.common.settings import Settings

STATES = [state.value for state in RunState]
LEGAL = {
    ("queued", "running"),
    ("queued", "cancelled"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "retrying"),
    ("running", "cancelling"),
    ("running", "queued"),
    ("retrying", "running"),
    ("retrying", "queued"),
    ("retrying", "cancelled"),
    ("cancelling", "cancelled"),
    ("cancelling", "succeeded"),
    ("cancelling", "failed"),
    ("failed", "queued"),
    ("cancelled", "queued"),
}


@pytest.fixture
async def runs(settings: Settings) -> RunRepository:
    return await RunRepository.open()


async def claim(runs: RunRepository, worker: str = "w", lease: float = 15.0) -> list[Run]:
    return await runs.claim(["k"], worker, [], 10, lease)


async def expire(runs: RunRepository) -> None:
    await runs.connection.execute(
        "update common.run set leased_until = now() - interval '1 s' where leased_until > now()"
    )


def setting(state: str) -> str:
    """The columns that belong to a state."""
    leased = "now()" if state in ("running", "cancelling") else "null"
    ended = "now()" if state in ("succeeded", "failed", "cancelled") else "null"
    return f"state = '{state}', epoch = epoch + 1, worker = 'w', leased_until = {leased}, ended_at = {ended}"


@pytest.mark.parametrize("old", STATES)
async def test_only_legal_transitions_pass_the_database(runs: RunRepository, old: str) -> None:
    accepted, refusals = set(), set()
    for new in STATES:
        run = await enqueue(runs, "k", f"{old}-{new}")
        await runs.connection.execute("alter table common.run disable trigger run_check")
        await runs.connection.execute(f"update common.run set {setting(old)} where id = $1", run.id)
        await runs.connection.execute("alter table common.run enable trigger run_check")
        try:
            await runs.connection.execute(f"update common.run set {setting(new)} where id = $1", run.id)
            accepted.add(new)
        except asyncpg.CheckViolationError as refused:
            refusals.add(refused.constraint_name)
    assert accepted - {old} == {new for before, new in LEGAL if before == old}
    assert refusals == {"run_transition_check"}


async def test_the_database_refuses_a_falling_epoch_and_a_claim_that_does_not_raise_it(runs: RunRepository) -> None:
    run = await enqueue(runs, "k", "s")
    (claimed,) = await claim(runs)
    with pytest.raises(asyncpg.CheckViolationError, match="cannot fall"):
        await runs.connection.execute("update common.run set epoch = epoch - 1 where id = $1", run.id)
    await Claimed(runs, claimed).release()
    with pytest.raises(asyncpg.CheckViolationError, match="must raise its epoch"):
        await runs.connection.execute(
            "update common.run set state = 'running', worker = 'w', leased_until = now() where id = $1", run.id
        )


async def test_a_run_is_born_queued(runs: RunRepository) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="starts as queued"):
        await runs.connection.execute(
            "insert into common.run (kind, subject, state, ended_at) values ('k', 's', 'succeeded', now())"
        )


async def test_a_run_is_claimed_by_one_of_many_workers(runs: RunRepository) -> None:
    for number in range(30):
        await enqueue(runs, "k", f"s{number}")
    claims = await asyncio.gather(*(runs.claim(["k"], f"w{n}", [], 5, 15.0) for n in range(8)))
    ids = [run.id for batch in claims for run in batch]
    assert len(ids) == len(set(ids)) == 30
    epochs = [run.epoch for batch in claims for run in batch]
    assert len(set(epochs)) == 30


async def test_a_zombies_write_raises_lease_lost_and_changes_nothing(runs: RunRepository) -> None:
    await enqueue(runs, "k", "s")
    zombie = Claimed(runs, (await claim(runs, "zombie"))[0])
    await zombie.report(checkpoint={"at": 1})
    await expire(runs)
    (taken,) = await claim(runs, "heir")
    assert taken.epoch > zombie.epoch
    assert taken.checkpoint == {"at": 1}
    before = await runs.get(taken.id)
    for write in (
        zombie.report(checkpoint={"at": 99}),
        zombie.report({"current": 5}, tx=runs),
        zombie.succeed(),
        zombie.fail({"code": "x"}),
        zombie.postpone(1.0, {"code": "x"}),
        zombie.release(),
        zombie.cancel(),
        zombie.fence(runs),
    ):
        with pytest.raises(LeaseLost):
            await write
    assert await runs.get(taken.id) == before
    assert zombie.reason is Stop.LOST
    assert (await runs.renew({taken.id: zombie.epoch}, 15.0))[taken.id] == (taken.epoch, RunState.RUNNING, False)


async def test_a_fenced_transaction_cannot_be_overtaken_before_it_commits(runs: RunRepository) -> None:
    await enqueue(runs, "k", "s")
    holder = Claimed(runs, (await claim(runs, "holder"))[0])
    async with runs.transaction() as tx:
        await holder.fence(tx)
        await expire(runs)
        assert await claim(runs, "heir") == []
        assert (await runs.renew({holder.run.id: holder.epoch}, 0.0))[holder.run.id][2]
        await expire(runs)
    assert [run.worker for run in await claim(runs, "heir")] == ["heir"]


async def test_a_handlers_long_transaction_does_not_keep_its_neighbours_from_renewing(runs: RunRepository) -> None:
    await enqueue(runs, "k", "a")
    await enqueue(runs, "k", "b")
    slow, quick = [Claimed(runs, run) for run in await claim(runs)]
    async with runs.transaction() as tx:
        await slow.report(checkpoint={"at": 1}, tx=tx)
        async with asyncio.timeout(60):
            found = await runs.renew({slow.run.id: slow.epoch, quick.run.id: quick.epoch}, 15.0)
        assert found[quick.run.id] == (quick.epoch, RunState.RUNNING, True)
        assert found[slow.run.id] == (slow.epoch, RunState.RUNNING, False)


async def test_uniqueness_per_subject(runs: RunRepository) -> None:
    first = await enqueue(runs, "k", "s")
    with pytest.raises(RunExists) as refused:
        await enqueue(runs, "k", "s")
    assert refused.value.run == first.id
    assert (await enqueue(runs, "k", "s", unique=Unique.EXISTING)).id == first.id
    assert (await enqueue(runs, "k", "s", unique=Unique.ONE_MORE)).id == first.id
    await enqueue(runs, "k", "other")
    await enqueue(runs, "other", "s")


async def test_one_more_waits_behind_the_one_at_work_and_there_is_only_one(runs: RunRepository) -> None:
    first = await enqueue(runs, "k", "s")
    work = Claimed(runs, (await claim(runs))[0])
    second = await enqueue(runs, "k", "s", unique=Unique.ONE_MORE, payload={"n": 2})
    assert second.id != first.id
    assert (await enqueue(runs, "k", "s", unique=Unique.ONE_MORE)).id == second.id
    assert await claim(runs) == []
    await work.postpone(0.0, {"code": "x"})
    assert [run.id for run in await claim(runs)] == [first.id]
    await Claimed(runs, await runs.get(first.id)).succeed()
    assert [run.id for run in await claim(runs)] == [second.id]
    third = await enqueue(runs, "k", "s", unique=Unique.ONE_MORE)
    assert third.id not in (first.id, second.id)


async def test_orders_that_come_together_make_one_run(runs: RunRepository) -> None:
    ordered = await asyncio.gather(*(enqueue(runs, "k", "s", unique=Unique.EXISTING) for _ in range(20)))
    assert len({run.id for run in ordered}) == 1
    rejected = await asyncio.gather(*(enqueue(runs, "k", "t") for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(answer, Run) for answer in rejected) == 1
    assert sum(isinstance(answer, RunExists) for answer in rejected) == 19


async def test_two_runs_of_a_subject_can_never_be_at_work_together(runs: RunRepository) -> None:
    await enqueue(runs, "k", "s")
    await claim(runs)
    second = await enqueue(runs, "k", "s", unique=Unique.ONE_MORE)
    with pytest.raises(asyncpg.UniqueViolationError, match="run_alone_key"):
        await runs.connection.execute(f"update common.run set {setting('running')}, place = 1 where id = $1", second.id)


async def test_an_order_vanishes_with_its_transaction(runs: RunRepository) -> None:
    async def order_and_fail() -> None:
        async with runs.transaction() as tx:
            await enqueue(tx, "k", "s")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await order_and_fail()
    assert await runs.list() == []


async def test_a_run_is_not_claimed_before_it_is_due(runs: RunRepository) -> None:
    now = await runs.connection.fetchval("select now()")
    due = now + timedelta(days=365)
    await place_order(runs, Order("k", "s", due_at=due))
    assert await claim(runs) == []


async def test_cancel_ends_a_waiting_run_and_asks_a_running_one(runs: RunRepository) -> None:
    waiting = await enqueue(runs, "k", "waiting")
    assert (await request_cancel(runs, waiting.id)).state is RunState.CANCELLED
    running = await enqueue(runs, "k", "running")
    work = Claimed(runs, (await claim(runs))[0])
    assert (await request_cancel(runs, running.id)).state is RunState.CANCELLING
    assert (await request_cancel(runs, running.id)).state is RunState.CANCELLING
    await work.report(checkpoint={"at": 3})
    assert work.stopping.is_set()
    assert work.reason is Stop.CANCELLED
    await work.cancel()
    with pytest.raises(RunEnded):
        await request_cancel(runs, running.id)
    with pytest.raises(NotFound):
        await request_cancel(runs, 10**12)


async def test_a_dead_workers_cancelled_run_is_ended(runs: RunRepository) -> None:
    run = await enqueue(runs, "k", "s")
    await claim(runs)
    await request_cancel(runs, run.id)
    assert await runs.end_dead(["k"], []) == 0
    await expire(runs)
    assert await runs.end_dead(["k"], []) == 1
    assert (await runs.get(run.id)).state is RunState.CANCELLED


async def test_manual_retry_keeps_the_checkpoint_and_respects_uniqueness(runs: RunRepository) -> None:
    run = await enqueue(runs, "k", "s")
    work = Claimed(runs, (await claim(runs))[0])
    await work.report(checkpoint={"at": 7})
    with pytest.raises(RunNotRetryable):
        await retry(runs, run.id)
    await work.fail({"code": "broken"})
    assert (await runs.get(run.id)).problem == {"code": "broken"}
    other = await enqueue(runs, "k", "s")
    with pytest.raises(RunExists):
        await retry(runs, run.id)
    await request_cancel(runs, other.id)
    again = await retry(runs, run.id)
    assert (again.state, again.attempts, again.checkpoint) == (RunState.QUEUED, 0, {"at": 7})
    (claimed,) = await claim(runs)
    assert (claimed.id, claimed.epoch > work.epoch) == (run.id, True)


async def test_retry_hurries_a_waiting_retry(runs: RunRepository) -> None:
    run = await enqueue(runs, "k", "s")
    await Claimed(runs, (await claim(runs))[0]).postpone(3600.0, {"code": "x"})
    assert await claim(runs) == []
    await retry(runs, run.id)
    assert [item.id for item in await claim(runs)] == [run.id]


async def test_progress_carries_rate_and_eta_and_is_not_written_too_often(runs: RunRepository) -> None:
    run = await enqueue(runs, "k", "s")
    work = Claimed(runs, (await claim(runs))[0])
    written = await runs.connection.fetchval("select xmin::text from common.run where id = $1", run.id)
    for number in range(200):
        await work.report(Progress(number, 1000, "rows", "copy"))
    await work.flush()
    progress = (await runs.get(run.id)).progress
    assert progress is not None
    assert (progress["current"], progress["total"], progress["unit"], progress["phase"]) == (199, 1000, "rows", "copy")
    assert progress["rate"] > 0
    assert progress["eta"] >= 0
    assert written != await runs.connection.fetchval("select xmin::text from common.run where id = $1", run.id)


async def test_list_pages_newest_first_and_filters(runs: RunRepository) -> None:
    ids = [(await enqueue(runs, "k", f"s{number}")).id for number in range(5)]
    await request_cancel(runs, ids[1])
    assert [run.id for run in await runs.list(size=2)] == ids[:2:-1]
    assert [run.id for run in await runs.list(before=ids[3], size=2)] == [ids[2], ids[1]]
    assert [run.id for run in await runs.list(state=RunState.CANCELLED)] == [ids[1]]
    assert [run.id for run in await runs.list(subject="s4", kind="k")] == [ids[4]]


async def test_ended_runs_are_purged_by_age(runs: RunRepository) -> None:
    run = await enqueue(runs, "k", "s")
    await enqueue(runs, "k", "live")
    await request_cancel(runs, run.id)
    assert await runs.purge(older_than=3600) == 0
    assert await runs.purge(older_than=0) == 1
    assert [item.subject for item in await runs.list()] == ["live"]


async def test_two_hundred_thousand_ended_runs_do_not_slow_a_claim(runs: RunRepository) -> None:
    async def claim_all() -> float:
        loop, best = asyncio.get_running_loop(), float("inf")
        for _ in range(30):
            run = await enqueue(runs, "k", "s")
            start = loop.time()
            (claimed,) = await claim(runs)
            best = min(best, loop.time() - start)
            assert claimed.id == run.id
            await Claimed(runs, claimed).succeed()
        return best

    empty = await claim_all()
    await runs.connection.execute("alter table common.run disable trigger user")
    await runs.connection.execute(
        "insert into common.run (kind, subject, state, ended_at, epoch)"
        " select 'k', 's' || n % 1000, 'succeeded', now(), n from generate_series(1, 200000) as n"
    )
    await runs.connection.execute("alter table common.run enable trigger user")
    await runs.connection.execute("analyze common.run")
    full = await claim_all()
    assert full < 2 * empty + 0.002, f"{full * 1000:.2f} ms with history, {empty * 1000:.2f} ms without"
    plan = await runs.connection.fetchval(
        "explain (format json) select id from common.run where kind = 'k' and state in ('queued', 'retrying')"
        " and due_at <= now() order by due_at limit 10"
    )
    assert "run_waiting_idx" in json.dumps(plan)

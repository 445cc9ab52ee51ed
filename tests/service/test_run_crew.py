"""Crews: what becomes of a run when its handler ends, crashes, is cancelled, or its worker goes away."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from nms.common.db.dsn import DSNType
from nms.common.db.pool import get_pool
from nms.common.problem import Problem, Retry, Unavailable
from nms.common.run import (
    Claimed,
    Crew,
    Handler,
    Missed,
    Run,
    RunRepository,
    RunState,
    Schedule,
    Stop,
    enqueue,
    request_cancel,
    set_schedule,
)
from nms.common.schedule import enqueue_due
from nms.common.settings import Settings
from tests.waiting import PATIENCE, eventually, insist

Look = Callable[[], Awaitable[Run | None]]


@pytest.fixture
async def runs(settings: Settings) -> RunRepository:
    return await RunRepository.open()


class Broken(Problem):
    """Nothing will mend this by itself."""

    status, code = 409, "broken"


class Busy(Problem):
    """Again at once."""

    status, code, retry = 503, "busy", Retry.NOW


@asynccontextmanager
async def working(
    runs: RunRepository, handlers: Mapping[str, Handler], *, worker: str = "w", lease: float = 15.0, size: int = 10
) -> AsyncIterator[asyncio.Event]:
    """A crew at work; setting the event that is given stops it."""
    stop = asyncio.Event()
    task = asyncio.create_task(Crew(runs, handlers, worker=worker, size=size, lease=lease).run(stop))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENCE)


def in_state(runs: RunRepository, run: Run, *states: RunState) -> Look:
    async def look() -> Run | None:
        found = await runs.get(run.id)
        return found if found.state in states else None

    return look


async def wait_for_stop(claimed: Claimed) -> None:
    await claimed.stopping.wait()


async def test_a_handler_that_returns_has_succeeded_and_the_crew_starts_at_once(
    runs: RunRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nms.common.crew.POLL_SECONDS", 3600.0)

    async def work(claimed: Claimed) -> None:
        await claimed.report({"current": 3, "total": 3})

    async with working(runs, {"k": work}):
        await asyncio.wait_for(asyncio.shield(eventually(lambda: _listening(runs))), PATIENCE)
        run = await enqueue(runs, "k", "s")
        ended = await eventually(in_state(runs, run, RunState.SUCCEEDED))
    assert ended.progress is not None
    assert ended.progress["current"] == 3


async def _listening(runs: RunRepository) -> bool:
    return bool(
        await runs.connection.fetchval(
            "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%nms_run%'"
        )
    )


async def test_a_crashing_handler_kills_neither_the_crew_nor_its_neighbours(runs: RunRepository) -> None:
    async def crash(claimed: Claimed) -> None:
        match claimed.run.payload["how"]:
            case "exit":
                sys.exit(3)
            case "cancel":
                raise asyncio.CancelledError
            case "unserialisable":
                raise Broken("This cannot be written.", fact=object())
        raise ZeroDivisionError

    async with working(runs, {"crash": crash, "k": wait_for_stop}):
        neighbour = await enqueue(runs, "k", "neighbour")
        await eventually(in_state(runs, neighbour, RunState.RUNNING))
        for how in ("raise", "exit", "cancel"):
            run = await enqueue(runs, "crash", how, payload={"how": how})
            ended = await eventually(in_state(runs, run, RunState.RETRYING))
            assert ended.problem is not None
            assert ended.problem["code"] == "handler-crashed"
        run = await enqueue(runs, "crash", "unserialisable", payload={"how": "unserialisable"})
        await eventually(in_state(runs, run, RunState.FAILED))
        assert (await runs.get(neighbour.id)).state is RunState.RUNNING


async def test_a_problem_decides_by_its_retry_advice(runs: RunRepository) -> None:
    tries: dict[str, int] = {}

    async def work(claimed: Claimed) -> None:
        subject = claimed.run.subject
        tries[subject] = tries.get(subject, 0) + 1
        if subject == "never":
            raise Broken("It is broken.")
        if subject == "later":
            raise Unavailable("It is away.")
        if tries[subject] < 3:
            raise Busy("It is busy.")

    async with working(runs, {"k": work}):
        never = await enqueue(runs, "k", "never")
        now = await enqueue(runs, "k", "now")
        later = await enqueue(runs, "k", "later")
        failed = await eventually(in_state(runs, never, RunState.FAILED))
        waiting = await eventually(in_state(runs, later, RunState.RETRYING))
        ended = await eventually(in_state(runs, now, RunState.SUCCEEDED))
    assert failed.problem is not None
    assert failed.problem["code"] == "broken"
    assert waiting.due_at > waiting.created_at + timedelta(seconds=0.4)
    assert (tries["never"], tries["now"], ended.attempts) == (1, 3, 3)


async def test_shutdown_gives_runs_back_so_that_another_worker_has_them_at_once(runs: RunRepository) -> None:
    reasons: list[Stop | None] = []

    async def work(claimed: Claimed) -> None:
        await claimed.report(checkpoint={"by": claimed.run.worker})
        await claimed.stopping.wait()
        reasons.append(claimed.reason)

    run = await enqueue(runs, "k", "s")
    async with working(runs, {"k": work}, worker="first"):
        await eventually(in_state(runs, run, RunState.RUNNING))
    given = await runs.get(run.id)
    assert (given.state, given.leased_until, given.attempts) == (RunState.QUEUED, None, 0)
    assert reasons == [Stop.SHUTDOWN]
    (taken,) = await runs.claim(["k"], "second", [], 1, 15.0)
    assert taken.checkpoint == {"by": "first"}


async def test_a_handler_that_ignores_its_stop_is_ended_after_its_grace(
    runs: RunRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Crew, "grace", dict.fromkeys(Stop, 0.1))

    async def stubborn(claimed: Claimed) -> None:
        await asyncio.Event().wait()

    async with working(runs, {"k": stubborn}) as stop:
        cancelled = await enqueue(runs, "k", "cancelled")
        given = await enqueue(runs, "k", "given")
        await eventually(in_state(runs, given, RunState.RUNNING))
        await request_cancel(runs, cancelled.id)
        await eventually(in_state(runs, cancelled, RunState.CANCELLED))
        stop.set()
    assert (await runs.get(given.id)).state is RunState.QUEUED


async def test_the_crew_lives_on_through_a_database_that_goes_away(
    runs: RunRepository, server: "object", database: str
) -> None:
    other = await get_pool(DSNType.NMS)
    run = await enqueue(runs, "k", "s")
    async with working(runs, {"k": wait_for_stop}):
        await eventually(in_state(runs, run, RunState.RUNNING))
        await other.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
        # A session just ended may still be handed out by the pool: whoever meets it is told, and asks again.
        await insist(lambda: request_cancel(runs, run.id), Unavailable)
        await insist(lambda: eventually(in_state(runs, run, RunState.CANCELLED)), Unavailable)
        again = await insist(lambda: enqueue(runs, "k", "again"), Unavailable)
        await eventually(in_state(runs, again, RunState.RUNNING))


async def test_a_lease_is_renewed_while_its_handler_works(runs: RunRepository) -> None:
    run = await enqueue(runs, "k", "s")
    async with working(runs, {"k": wait_for_stop}, lease=3.0):
        first = await eventually(in_state(runs, run, RunState.RUNNING))

        async def renewed_thrice() -> bool:
            found = await runs.get(run.id)
            assert first.leased_until is not None
            assert found.leased_until is not None
            assert found.epoch == first.epoch
            return found.leased_until > first.leased_until + timedelta(seconds=2)

        await eventually(renewed_thrice)


async def test_a_handler_is_stopped_when_another_worker_has_its_run(runs: RunRepository) -> None:
    stopped: asyncio.Queue[Stop | None] = asyncio.Queue()

    async def work(claimed: Claimed) -> None:
        await claimed.stopping.wait()
        await stopped.put(claimed.reason)

    run = await enqueue(runs, "k", "s")
    async with working(runs, {"k": work}, lease=1.0):
        await eventually(in_state(runs, run, RunState.RUNNING))
        await runs.connection.execute(
            "update common.run set epoch = nextval('common.run_epoch'), worker = 'thief',"
            " leased_until = now() + interval '1 hour'"
        )
        assert await asyncio.wait_for(stopped.get(), PATIENCE) is Stop.LOST
    kept = await runs.get(run.id)
    assert (kept.worker, kept.state) == ("thief", RunState.RUNNING)


# Real processes


class Worker:
    """A worker process and what it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def hear(self, word: str, seconds: float = PATIENCE) -> list[str]:
        """The next line that begins with the word, split."""
        assert self.process.stdout is not None
        async with asyncio.timeout(seconds):
            while line := (await self.process.stdout.readline()).decode():
                if line.startswith(word):
                    return line.split()
        raise AssertionError(f"the worker ended without saying {word}")


@pytest.fixture
async def start_worker(settings: Settings) -> AsyncIterator[Callable[..., Awaitable[Worker]]]:
    workers: list[Worker] = []

    async def start(name: str, lease: float = 2.0) -> Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.service.run_worker", name, str(lease), stdout=asyncio.subprocess.PIPE
        )
        workers.append(Worker(process))
        return workers[-1]

    yield start
    for worker in workers:
        if worker.process.returncode is None:
            worker.process.kill()
        await worker.process.wait()


StartWorker = Callable[..., Awaitable[Worker]]


async def test_a_killed_workers_run_goes_on_elsewhere_from_its_checkpoint(
    runs: RunRepository, start_worker: StartWorker
) -> None:
    run = await enqueue(runs, "count", "s")
    first = await start_worker("first")
    await first.hear("start")
    await eventually(lambda: _counted(runs, run, 3))
    first.process.send_signal(signal.SIGKILL)
    await first.process.wait()
    reached = await runs.get(run.id)
    second = await start_worker("second")
    _, number, epoch = await second.hear("start")
    assert (int(number), int(epoch) > reached.epoch) == (run.id, True)
    assert reached.checkpoint is not None
    number_then = int(reached.checkpoint["number"])
    await eventually(lambda: _counted(runs, run, number_then + 2))


async def _counted(runs: RunRepository, run: Run, number: int) -> bool:
    return int(((await runs.get(run.id)).checkpoint or {}).get("number", 0)) >= number


async def test_a_stopped_worker_that_wakes_up_writes_nothing(runs: RunRepository, start_worker: StartWorker) -> None:
    run = await enqueue(runs, "count", "s")
    first = await start_worker("first", 1.0)
    await first.hear("start")
    await eventually(lambda: _counted(runs, run, 2))
    first.process.send_signal(signal.SIGSTOP)
    second = await start_worker("second", 60.0)
    _, _, epoch = await second.hear("start")
    await runs.connection.execute("create table writer (name text)")
    await runs.connection.execute(
        "create function note() returns trigger language plpgsql as"
        " $$ begin insert into writer values (new.checkpoint ->> 'by'); return null; end $$"
    )
    await runs.connection.execute(
        "create trigger note after update of checkpoint on common.run for each row"
        " when (new.checkpoint is distinct from old.checkpoint) execute function note()"
    )
    first.process.send_signal(signal.SIGCONT)
    line = await first.hear("lost") if first.process.returncode is None else []
    assert line[:2] in (["lost", str(run.id)], [])
    await eventually(lambda: runs.connection.fetchval("select count(*) > 3 from writer"))
    assert [row["name"].split(":")[0] for row in await runs.connection.fetch("select distinct name from writer")] == [
        "second"
    ]
    assert (await runs.get(run.id)).epoch == int(epoch)


async def test_a_cancel_is_heard_within_a_second_in_another_process(
    runs: RunRepository, start_worker: StartWorker
) -> None:
    run = await enqueue(runs, "count", "s")
    worker = await start_worker("w", 15.0)
    await worker.hear("start")
    await eventually(lambda: _counted(runs, run, 2))
    await request_cancel(runs, run.id)
    await eventually(in_state(runs, run, RunState.CANCELLED), 1.0)


async def test_a_cancel_is_heard_within_a_second_without_notifications(runs: RunRepository) -> None:
    run = await enqueue(runs, "k", "s")
    async with working(runs, {"k": wait_for_stop}):
        await eventually(in_state(runs, run, RunState.RUNNING))
        await runs.connection.execute("alter table common.run disable trigger run_tell_update")
        await request_cancel(runs, run.id)
        await eventually(in_state(runs, run, RunState.CANCELLED), 1.0)


async def test_a_worker_told_to_stop_hands_its_runs_over_without_waiting_for_a_lease(
    runs: RunRepository, start_worker: StartWorker
) -> None:
    run = await enqueue(runs, "count", "s")
    first = await start_worker("first", 3600.0)
    await first.hear("start")
    second = await start_worker("second", 3600.0)
    first.process.send_signal(signal.SIGTERM)
    assert (await first.hear("shutdown"))[1] == str(run.id)
    await second.hear("start")
    assert await first.process.wait() == os.EX_OK


# Schedules


async def test_a_schedule_orders_one_run_per_moment_however_many_look(runs: RunRepository) -> None:
    await set_schedule(runs, Schedule("nightly", "k", "s", cron="0 3 * * *", zone="Europe/Berlin"))
    assert await enqueue_due(runs, ["k"]) == 0
    await runs.connection.execute("update common.schedule set next_at = now() - interval '1 s'")
    assert sum(await asyncio.gather(*(enqueue_due(runs, ["k"]) for _ in range(8)))) == 1
    assert len(await runs.list()) == 1
    assert await runs.connection.fetchval("select next_at > now() from common.schedule")


@pytest.mark.parametrize(("missed", "expected"), [(Missed.ONCE, 1), (Missed.SKIP, 0)])
async def test_missed_moments_make_one_run_or_none(runs: RunRepository, missed: Missed, expected: int) -> None:
    await set_schedule(runs, Schedule("often", "k", "s", every=timedelta(minutes=5), missed=missed))
    due = "update common.schedule set next_at = date_trunc('hour', now()) - interval '1 day' returning next_at"
    grid = await runs.connection.fetchval(due)
    assert await enqueue_due(runs, ["k"]) == expected
    following = await runs.connection.fetchval("select next_at from common.schedule where next_at > now()")
    assert (following - grid) % timedelta(minutes=5) == timedelta(0)
    assert len(await runs.list()) == expected


async def test_a_crew_works_on_scheduled_runs(runs: RunRepository) -> None:
    done = asyncio.Event()

    async def work(claimed: Claimed) -> None:
        done.set()

    await set_schedule(runs, Schedule("soon", "k", "s", every=timedelta(seconds=0.2)))
    async with working(runs, {"k": work}):
        await asyncio.wait_for(done.wait(), PATIENCE)

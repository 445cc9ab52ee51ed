"""Held changes across truncates, moves, changed tables and large transactions; who may write a standing."""

from dataclasses import replace
from pathlib import Path

import pytest

from nms.cfg.documents import apply_changeset
from nms.cfg.models import Changeset
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import Draft
from nms.common.lease import Claimed, LeaseLost
from nms.common.run import RunRepository
from nms.common.settings import Settings, read_settings
from nms.connectors.postgres import connector, transactions
from nms.connectors.postgres.problems import FenceRaised, ServerAway
from nms.sync import worker as worker_module
from nms.sync.capture import release_capture
from nms.sync.pipeline import KIND, REMOVAL, adopt, pause
from nms.sync.repository import SyncRepository
from nms.sync.settings import SyncSettings
from nms.sync.worker import Work as Handlers
from tests.contract.pipelines import MakeDatabase, lay
from tests.service.stage import Stage, pipeline
from tests.service.workers import NAME, working
from tests.waiting import eventually

TABLE = "create table t (id int primary key, v int)"
FORBID = "alter table t add constraint positive check (v >= 0) not valid"
ALLOW = "alter table t drop constraint positive"


@pytest.fixture(params=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether transactions are kept in memory or go through the spool."""
    if request.param == "large":
        monkeypatch.setattr(transactions, "LARGE_BYTES", 0)
    return str(request.param)


async def test_a_row_refused_behind_a_truncate_is_held_and_its_neighbours_arrive(
    size: str, make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.target.execute(FORBID)
        async with working(pipe, settings, monkeypatch) as work:
            await work.phase("streaming")
            await pipe.source.execute("insert into t values (1, -1); truncate t; insert into t values (1, -5), (2, 2)")
            await work.seen("select array_agg(id) from t", [2])
            (held,) = await work.held(1)
            assert held.change["shown"]["v"] == "-5"
            await pipe.target.execute(ALLOW)
            await work.replay()
            await work.same("t")


async def test_what_was_held_before_a_truncate_never_comes_back_over_newer_rows(
    size: str, make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.target.execute(FORBID)
        async with working(pipe, settings, monkeypatch) as work:
            await work.phase("streaming")
            await pipe.source.execute("insert into t values (3, -3)")
            await work.held(1)
            await pipe.source.execute("insert into t values (1, -1); truncate t; insert into t values (2, 2)")
            await work.seen("select array_agg(id) from t", [2])
            await work.held(0)
            await pipe.source.execute("insert into t values (1, 7), (3, 7)")
            await pipe.target.execute(ALLOW)
            await work.replay()
            await work.same("t")


@pytest.mark.parametrize("key", [None, "1", "2"])
async def test_a_record_is_replayed_in_order_although_its_key_moved(
    key: str | None,
    make_database: MakeDatabase,
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.source.execute("insert into t values (1, 1)")
        async with working(pipe, settings, monkeypatch) as work:
            await work.phase("streaming")
            await pipe.target.execute(FORBID)
            await pipe.source.execute("update t set v = -1 where id = 1")
            await pipe.source.execute("update t set id = 2 where id = 1")
            await pipe.source.execute("insert into t values (1, 11)")
            await work.held(3)
            await pipe.target.execute(ALLOW)
            await work.replay(key)
            await work.same("t")
            await work.held(0)


async def test_a_held_insert_is_replayed_after_a_column_was_added(
    make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.target.execute(FORBID)
        async with working(pipe, settings, monkeypatch) as work:
            await work.phase("streaming")
            await pipe.source.execute("insert into t values (1, -1)")
            await work.held(1)
        await pipe.target.execute(ALLOW)
        await pipe.target.execute("alter table t add w int")
        await pipe.source.execute("alter table t add w int")
        async with working(pipe, settings, monkeypatch) as work:
            await work.phase("streaming")
            await work.replay()
            await work.same("t")
            await work.held(0)


async def test_a_replayed_update_that_meets_no_row_stays_held_and_says_so(
    make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = "create table t (id int primary key, v int, b text); alter table t alter b set storage external"
    async with lay(make_database, tmp_path, table, ["t"]) as pipe:
        await pipe.source.execute("insert into t values (1, 1, repeat('x', 5000))")
        async with working(pipe, settings, monkeypatch) as work:
            await work.phase("streaming")
            await pipe.target.execute(FORBID)
            await pipe.source.execute("update t set v = -1")
            await work.held(1)
            await pipe.target.execute("delete from t")
            await pipe.target.execute(ALLOW)
            await work.replay()

            async def told() -> bool:
                held = await work.repository.list_quarantine(NAME, state="held")
                return bool(held) and held[0].problem["code"] == "row-missing"

            await eventually(told)
        async with working(pipe, settings, monkeypatch) as work:
            await work.phase("streaming")
            await pipe.source.execute("insert into t values (2, 2, '')")
            await work.seen("select array_agg(id) from t", [2])
            await work.held(1)


async def test_a_replay_of_a_dataset_that_left_the_document_says_so_and_the_rest_goes_on(
    settings: Settings, make_database: MakeDatabase
) -> None:
    stage = await Stage.set(settings, await make_database(), await make_database())
    for side in ("source", "target"):
        await stage.at(side, "create table public.t (id int primary key, v int)")
    await stage.at("target", FORBID)
    repository = await SyncRepository.open()
    async with stage.working():
        await stage.begin("items", "public.item", "public.t")
        await stage.reach("streaming")
        await stage.at("source", "insert into public.t values (1, -1)")

        async def codes() -> list[str]:
            return [one.problem["code"] for one in await repository.list_quarantine("items", state="held")]

        await eventually(codes)
        await stage.apply(pipeline("items"))
        await stage.at("source", "insert into public.item values (1, 'one')")
        await stage.arrive("select id from public.item", [1])
        assert (await stage.nms("quarantine", "replay", "items", "--all")).exit_code == 0

        async def told() -> bool:
            return await codes() == ["dataset-gone"]

        await eventually(told)
        await stage.at("source", "insert into public.item values (2, 'two')")
        await stage.arrive("select id from public.item order by id", [1, 2])


async def test_rows_refused_at_each_stage_of_a_large_transaction_are_held_once(
    make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "LARGE_BYTES", 100_000)
    table = "create table t (id int primary key, v int, w text)"
    async with lay(make_database, tmp_path, table, ["t"]) as pipe:
        await pipe.target.execute(FORBID)
        await pipe.target.execute("alter table t add constraint one unique (v) deferrable initially deferred")
        async with working(pipe, settings, monkeypatch) as work:
            await work.phase("streaming")
            await pipe.source.execute("insert into t values (0, -7, 'before')")
            await pipe.source.execute(
                "insert into t values (1, -1); insert into t select n, n, repeat('y', 1000)"
                " from generate_series(2, 10000) n; insert into t values (20000, 2, 'twice')"
            )
            await work.seen("select count(*) from t", 9999)
            assert [(one.key, one.op) for one in await work.held(3)] == [
                ("0", "insert"), ("1", "insert"), ("20000", "insert"),
            ]  # fmt: skip


async def test_a_worker_that_lost_its_lease_writes_nothing_of_the_pipeline(
    make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe, working(pipe, settings, monkeypatch) as work:
        await work.phase("streaming")
        before = await work.standing()
        runs = await RunRepository.open()
        (run,) = await runs.list(kind=KIND)
        handlers = Handlers(work.repository, settings, read_settings(SyncSettings))
        for trouble in (FenceRaised("taken over"), ServerAway("gone"), LeaseLost("lost")):
            with monkeypatch.context() as patch:
                patch.setattr(Handlers, "_work", _raising(trouble))
                with pytest.raises(LeaseLost):
                    await handlers.move(Claimed(runs, replace(run, epoch=run.epoch - 1)))
        assert (await work.standing()).phase == before.phase
        told = "select count(*) from common.outbox where type like '%halted%'"
        assert await work.repository.connection.fetchval(told) == 0


async def test_a_paused_pipeline_stays_paused_whatever_its_worker_still_tells(
    make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe, working(pipe, settings, monkeypatch) as work:
        await work.phase("streaming")
        await pause(work.repository, NAME)
        await work.repository.update_status(NAME, "streaming", None, ({}, {"code": "late"}, 0))
        paused = await work.standing()
        assert (paused.phase, paused.problem) == ("paused", None)


async def test_a_pipeline_that_comes_back_while_its_removal_is_tried_again_keeps_its_slot(
    settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await Stage.set(settings, await make_database(), await make_database())
    runs = await RunRepository.open()
    released: list[int] = []

    async def release(spec: connector.PipelineSpec) -> None:
        released.append(1)
        raise ServerAway("the source does not answer")

    monkeypatch.setattr(worker_module, "release_capture", release)
    async with stage.working():
        await stage.begin()
        await stage.reach("streaming")
        await leave_only_systems(stage)

        async def tried() -> bool:
            return bool(released)

        await eventually(tried)
        await stage.begin()
        monkeypatch.setattr(worker_module, "release_capture", release_capture)
        await stage.at("source", "insert into public.item values (1, 'one')")
        await stage.arrive("select id from public.item", [1])

        async def ended() -> bool:
            return all(run.state.ended for run in await runs.list(kind=REMOVAL))

        await eventually(ended)
        standing = await stage.get()
        assert (standing.wanted, standing.generation) == ("running", 2)
        await stage.at("source", "insert into public.item values (2, 'two')")
        await stage.arrive("select id from public.item order by id", [1, 2])


async def test_a_removal_whose_pipeline_is_wanted_again_takes_nothing_away(
    settings: Settings, make_database: MakeDatabase
) -> None:
    stage = await Stage.set(settings, await make_database(), await make_database())
    runs = await RunRepository.open()
    async with stage.working():
        await stage.begin()
        await stage.reach("streaming")
        (run,) = await runs.list(kind=KIND)
        repository = await SyncRepository.open()
        await Handlers(repository, settings, read_settings(SyncSettings)).remove(Claimed(runs, run))
        await stage.at("source", "insert into public.item values (1, 'one')")
        await stage.arrive("select id from public.item", [1])
        assert (await stage.get()).phase == "streaming"


async def leave_only_systems(stage: Stage) -> None:
    """Remove every pipeline's document and let the pipelines follow."""
    drafts = [Draft(each) for each in stage.systems()]
    await apply_changeset(await DocumentRepository.open(), Changeset(drafts, prune=True))
    await adopt(await SyncRepository.open())


def _raising(trouble: Exception) -> object:
    async def refuse(*_: object) -> None:
        raise trouble

    return refuse

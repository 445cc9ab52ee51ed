"""A lost slot, a dropped publication, a restored or exchanged source, wrong settings: halted or refused with a named
problem and a remedy within 10 s, no crash loop, neighbours unharmed; `resync` heals."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nms.common.run import Run, RunRepository, RunState
from nms.common.settings import Settings
from nms.sync.models import Pipeline
from tests.conftest import MakeDatabase, MakeServer
from tests.service.stage import TABLE, Stage, pipeline, without_password
from tests.services.postgres import PostgresServer
from tests.waiting import eventually

IDS = "select id from public.item order by id"
OTHER_IDS = "select id from public.other order by id"
OTHER = TABLE.replace("item", "other")
SLOT = "nms_items"


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase) -> Stage:
    """Two pipelines, `items` and its neighbour `others`, streaming when a worker works."""
    stage = await Stage.set(settings, await make_database(), await make_database())
    await stage.at("source", OTHER)
    await stage.at("target", OTHER)
    await stage.at("source", "insert into public.item select n, 'name' from generate_series(1, 3) n")
    await stage.apply(*stage.systems(), pipeline("items"), pipeline("others", "public.other"))
    return stage


@asynccontextmanager
async def streaming(stage: Stage) -> AsyncIterator[None]:
    async with stage.working():
        await stage.reach("streaming")
        await stage.reach("streaming", name="others")
        yield


async def goes_on(stage: Stage, number: int) -> None:
    """The neighbour still brings over what happens."""
    await stage.at("source", f"insert into public.other values ({number}, 'neighbour')")
    await stage.arrive(f"select id from public.other where id = {number}", [number])


async def is_halted(stage: Stage, code: str, words: str) -> Pipeline:
    """Within 10 s the pipeline halts with this problem and remedy, one run failed, and nothing tries again."""
    halted = await stage.reach("halted")
    assert halted.problem is not None
    assert halted.problem["code"] == code
    assert words in halted.problem["remedy"]
    repository = await RunRepository.open()

    async def ended() -> Run | None:
        newest = (await repository.list(kind="pipeline", subject="items"))[0]
        return newest if newest.state.ended else None

    run = await eventually(ended, 5)
    assert run.state is RunState.FAILED
    assert run.problem is not None
    assert run.problem["code"] == code
    return halted


async def heals(stage: Stage, *ids: int) -> None:
    """`resync` brings exactly these rows to the target and goes on from there."""
    assert (await stage.nms("resync", "items", "--yes")).exit_code == 0
    await stage.arrive(IDS, list(ids))
    await stage.reach("streaming")
    await stage.at("source", "insert into public.item values (100, 'healed')")
    await stage.arrive(IDS, [*ids, 100])


async def test_a_slot_dropped_while_the_worker_runs_halts_and_resync_heals(
    stage: Stage, server: PostgresServer
) -> None:
    async with streaming(stage):
        await drop_slot(server)
        await is_halted(stage, "slot-lost", "nms resync")
        await stage.at("source", "insert into public.item values (4, 'unseen'); delete from public.item where id = 1")
        await goes_on(stage, 1)
        await heals(stage, 2, 3, 4)


async def test_a_slot_dropped_while_no_worker_runs_halts_and_resync_heals(stage: Stage, server: PostgresServer) -> None:
    async with streaming(stage):
        pass
    await drop_slot(server)
    await stage.at("source", "insert into public.item values (4, 'unseen'); delete from public.item where id = 1")
    async with stage.working():
        await is_halted(stage, "slot-lost", "nms resync")
        await goes_on(stage, 1)
        await heals(stage, 2, 3, 4)


async def test_a_slot_whose_log_the_source_removed_halts(settings: Settings, make_server: MakeServer) -> None:
    limits = {"max_slot_wal_keep_size": "16MB", "min_wal_size": "32MB", "max_wal_size": "32MB"}
    server = await make_server("18", durable=False, settings=limits)
    stage = await Stage.set(settings, await server.create_database(), await server.create_database())
    await stage.begin()
    async with stage.working():
        await stage.reach("streaming")
    await stage.at("source", "create table public.noise (filling text)")
    for _ in range(6):
        await stage.at("source", "insert into public.noise select repeat('x', 1000) from generate_series(1, 20000)")
        await server.execute("select pg_switch_wal()")
        await server.execute("checkpoint")
    async with stage.working():
        await is_halted(stage, "slot-lost", "nms resync")
        await heals(stage)


async def test_a_dropped_publication_halts_and_resync_heals(stage: Stage) -> None:
    async with streaming(stage):
        await stage.at("source", f"drop publication {SLOT}")
        await stage.at("source", "insert into public.item values (4, 'unpublished')")
        await is_halted(stage, "publication-gone", "nms resync")
        await goes_on(stage, 1)
        await heals(stage, 1, 2, 3, 4)


async def test_a_table_taken_out_of_the_publication_halts(stage: Stage) -> None:
    async with streaming(stage):
        await stage.at("source", "create table public.decoy (id int primary key)")
        await stage.at("source", f"alter publication {SLOT} set table public.decoy")
        await is_halted(stage, "publication-gone", "nms resync")
        await heals(stage, 1, 2, 3)


async def test_a_publication_dropped_while_no_worker_runs_halts_and_resync_heals(stage: Stage) -> None:
    async with streaming(stage):
        pass
    await stage.at("source", "insert into public.item values (4, 'published')")
    await stage.at("source", f"drop publication {SLOT}")
    await stage.at("source", "insert into public.item values (5, 'unpublished')")
    async with stage.working():
        await is_halted(stage, "publication-gone", "nms resync")
        await goes_on(stage, 1)
        await heals(stage, 1, 2, 3, 4, 5)


@pytest.mark.xdist_group("slots of shared servers")
async def test_another_server_behind_the_address_halts_and_resync_heals(stage: Stage, pg16: PostgresServer) -> None:
    async with streaming(stage):
        elsewhere = await pg16.create_database()
        try:
            await stage.at(elsewhere, TABLE)
            await stage.at(elsewhere, "insert into public.item values (7, 'elsewhere')")
            await stage.at(elsewhere, OTHER)
            moved = {"kind": "system", "name": "moved", "type": "postgres", "dsn": without_password(elsewhere)}
            await stage.apply(moved, {**pipeline("items"), "source": "moved"})
            await is_halted(stage, "system-changed", "nms resync")
            await goes_on(stage, 1)
            assert (await stage.nms("resync", "items", "--yes")).exit_code == 0
            await stage.arrive(IDS, [7])
            await stage.apply({**pipeline("items"), "source": "source"})
            await is_halted(stage, "system-changed", "nms resync")
        finally:
            await drop(pg16, elsewhere)


async def test_a_position_ahead_of_the_log_halts_and_resync_heals(stage: Stage) -> None:
    async with streaming(stage):
        pass
    await stage.at(
        "target",
        """update nms.position set position = jsonb_set(position, '{lsn}', '"FFF/0"') where pipeline = 'items'""",
    )
    async with stage.working():
        await is_halted(stage, "position-ahead", "nms resync")
        await goes_on(stage, 1)
        await heals(stage, 1, 2, 3)


async def test_a_source_without_logical_log_is_refused_and_resumes_when_it_is_mended(
    stage: Stage, make_server: MakeServer
) -> None:
    weak = await make_server("18", durable=False, settings={"wal_level": "replica"})
    source = await weak.create_database("weak")
    await stage.at(source, TABLE)
    await stage.at(source, "insert into public.item values (1, 'weak')")
    async with streaming(stage):
        system = {"kind": "system", "name": "weak", "type": "postgres", "dsn": without_password(source)}
        await stage.apply(
            system, {**pipeline("weakling"), "source": "weak", "shared": True}, {**pipeline(), "shared": True}
        )
        halted = await stage.reach("halted", name="weakling")
        assert halted.problem is not None
        assert halted.problem["code"] == "not-prepared"
        assert halted.problem["errors"][0]["pointer"] == "/source"
        assert "wal_level" in halted.problem["detail"]
        assert "alter system set wal_level" in halted.problem["findings"][0]["sql"]
        await goes_on(stage, 1)
        assert await slots(weak) == []


async def test_a_standby_as_source_is_refused_with_the_remedy_to_name_the_primary(
    stage: Stage, make_server: MakeServer
) -> None:
    standby = await make_server("18", durable=False)
    await standby.create_database("there")
    await standby.stop()
    (standby.directory / "data" / "standby.signal").touch()
    await standby.start()
    async with streaming(stage):
        there = without_password(standby.dsn("there"))
        system = {"kind": "system", "name": "standby", "type": "postgres", "dsn": there}
        await stage.apply(system, {**pipeline("items"), "source": "standby"})
        halted = await stage.reach("halted")
        assert halted.problem is not None
        assert "standby" in halted.problem["detail"]
        assert "primary" in halted.problem["findings"][0]["remedy"]
        await goes_on(stage, 1)


async def test_a_target_that_lost_its_schema_is_refused_and_prepared_again(stage: Stage) -> None:
    async with streaming(stage):
        await stage.at("target", "drop schema nms cascade")
        await stage.at("source", "insert into public.item values (4, 'homeless')")
        halted = await stage.reach("halted")
        assert halted.problem is not None
        assert halted.problem["code"] in ("not-prepared", "schema-changed"), str(halted.problem)
        prepared = await stage.nms("doctor", "items", "--prepare")
        assert "made schema nms" in prepared.stdout
        assert (await stage.nms("resume", "items")).exit_code == 0
        await eventually(lambda: has_problem(stage, "target-behind"))
        assert (await stage.nms("resync", "items", "--yes")).exit_code == 0
        await stage.arrive(IDS, [1, 2, 3, 4])


async def test_a_target_restored_to_an_older_state_halts_and_resync_heals_it(stage: Stage) -> None:
    async with streaming(stage):
        await stage.at("source", "insert into public.item values (4, 'kept')")
        await stage.arrive(IDS, [1, 2, 3, 4])
        await stage.nms("pause", "items")
        # What a backup from before the insert would bring back.
        await stage.at("target", "delete from public.item where id = 4")
        await stage.at("target", "update nms.position set position = jsonb_set(position, '{lsn}', '\"0/1\"')")
        assert (await stage.nms("resume", "items")).exit_code == 0
        await eventually(lambda: has_problem(stage, "target-behind"))
        assert (await stage.nms("resync", "items", "--yes")).exit_code == 0
        await stage.arrive(IDS, [1, 2, 3, 4])


async def has_problem(stage: Stage, code: str) -> bool:
    found = await stage.get("items")
    return found.problem is not None and found.problem["code"] == code


async def test_what_is_wrong_for_a_while_is_tried_again_and_heals_by_itself(
    stage: Stage, make_server: MakeServer
) -> None:
    absent = await make_server("18", durable=False)
    source = await absent.create_database("absent")
    await stage.at(source, TABLE)
    async with streaming(stage):
        system = {"kind": "system", "name": "absent", "type": "postgres", "dsn": without_password(source)}
        await absent.stop("immediate")
        await stage.apply(
            system, {**pipeline("away"), "source": "absent", "shared": True}, {**pipeline(), "shared": True}
        )
        away = await stage.reach("retrying", name="away")
        assert away.problem is not None
        assert away.problem["code"] == "server-away"
        await goes_on(stage, 1)
        await absent.start()
        await stage.reach("streaming", name="away")


async def drop_slot(server: PostgresServer) -> None:
    """As an administrator would: end its reader and drop it, until it is gone."""
    async with asyncio.timeout(60):
        while await slots(server, SLOT):
            await server.execute(
                "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active",
                SLOT,
            )
            await server.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
                " where slot_name = $1 and not active",
                SLOT,
            )


async def slots(server: PostgresServer, name: str = "") -> list[str]:
    sql = "select slot_name::text from pg_replication_slots where slot_name like $1 || '%'"
    return [row[0] for row in await server.execute(sql, name)]


async def drop(server: PostgresServer, dsn: str) -> None:
    await server.drop_database(dsn.rpartition("/")[2])

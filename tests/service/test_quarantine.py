"""What the target refuses is held with what follows on its key; everything else goes on, and nothing is lost."""

from pathlib import Path

import pytest

from nms.common import faults
from nms.common.settings import Settings
from nms.connectors.postgres import snapshot, target, transactions
from tests.contract.pipelines import MakeDatabase, lay
from tests.service.workers import working

TABLE = "create table t (id int primary key, v int, w text)"
FORBID = "alter table t add constraint positive check (v >= 0) not valid"
ALLOW = "alter table t drop constraint positive"
RAISE = """
create function object() returns trigger language plpgsql as $$
begin
    if new.v < 0 then raise exception 'no %', new.v {}; end if;
    return new;
end $$;
create trigger object before insert or update on t for each row execute function object()
"""
STOP_RAISING = "drop trigger object on t"
MIXED = "insert into t select n, case when n % {} = 0 then -n else n end from generate_series(1, 1000) n"
POISONS = {
    "check": (FORBID, ALLOW),
    "not null": ("alter table t alter w set not null", "alter table t alter w drop not null"),
    "unique": ("create unique index one on t ((v < 0)) where v < 0; insert into t values (-1, -1)",
               "drop index one; delete from t where id = -1"),
    "foreign key": ("create table parent (id int primary key); insert into parent values (1), (2), (3);"
                    "alter table t add constraint child foreign key (v) references parent",
                    "alter table t drop constraint child"),
    "trigger": (RAISE.format(""), STOP_RAISING),
    "trigger with a code of its own": (RAISE.format("using errcode = 'APP01'"), STOP_RAISING),
    "limit of the server": ("create index long on t (w)", "drop index long"),
    "deferred foreign key": ("create table parent (id int primary key); insert into parent values (1), (2), (3);"
                    "alter table t add constraint child foreign key (v) references parent initially deferred",
                    "alter table t drop constraint child"),
}  # fmt: skip
POISONOUS = {
    "not null": "insert into t values (2, 2, null)",
    "limit of the server": "insert into t select 2, 2, string_agg(md5(n::text), '') from generate_series(1, 4000) n",
}


@pytest.mark.parametrize("kind", POISONS)
async def test_a_refused_change_and_its_followers_wait_until_the_target_is_mended(
    kind: str, make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, mend = POISONS[kind]
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe, working(pipe, settings, monkeypatch) as work:
        await work.phase("streaming")
        await pipe.target.execute(spoil)
        await pipe.source.execute("insert into t values (1, 1, 'a')")
        await pipe.source.execute(POISONOUS.get(kind, "insert into t values (2, -2, 'b')"))
        await work.held(1)
        await pipe.source.execute("insert into t values (3, 3, 'c')")
        await pipe.source.execute("update t set v = 1 where id = 2; update t set v = 2 where id = 1")
        first, follower = await work.held(2)
        assert (first.key, first.op, follower.key, follower.op) == ("2", "insert", "2", "update")
        assert first.problem["code"] == "target-refused"
        assert follower.problem["code"] == "follows-held"
        await work.seen("select array_agg(id || '.' || v order by id) from t where id > 0", ["1.2", "3.3"])
        await pipe.target.execute(mend)
        await work.replay()
        await work.held(0)
        await work.same("t")


async def test_what_is_dropped_never_arrives_and_its_key_is_free_again(
    make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.target.execute(FORBID)
        async with working(pipe, settings, monkeypatch) as work:
            await work.phase("streaming")
            await pipe.source.execute("insert into t values (1, -1, 'a'), (2, -2, 'b')")
            await work.held(2)
            await work.drop("1")
            await work.held(1)
            await pipe.source.execute("update t set v = 1 where id = 1; update t set v = 2 where id = 2")
            await work.held(2)
            await work.seen("select array_agg(id) from t", [1])
            await pipe.target.execute(ALLOW)
            await work.replay("2")
            await work.same("t")


async def test_a_replay_that_is_refused_again_stays_held(
    make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.target.execute(FORBID)
        async with working(pipe, settings, monkeypatch) as work:
            await work.phase("streaming")
            await pipe.source.execute("insert into t values (1, -1, 'a')")
            (before,) = await work.held(1)
            await work.replay()
            after = await work.changed(before)
            assert (after.state, after.problem["code"]) == ("held", "target-refused")
            await pipe.source.execute("insert into t values (2, 1, 'a')")
            await work.seen("select array_agg(id) from t", [2])


@pytest.fixture(params=["exact", "bulk", "spooled"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How batches are written."""
    if request.param != "exact":
        monkeypatch.setattr(target, "EXACT_LIMIT", 0)
    if request.param == "spooled":
        monkeypatch.setattr(transactions, "LARGE_BYTES", 0)
    return str(request.param)


async def test_a_refused_row_behind_a_truncate_of_its_transaction_is_held(
    way: str, make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.target.execute(FORBID)
        await pipe.source.execute("insert into t values (1, 1, 'old'), (2, 2, 'old'), (4, -4, 'old')")
        async with working(pipe, settings, monkeypatch) as work:
            await work.held(1)
            await pipe.source.execute(
                "update t set v = 5; truncate t; insert into t values (1, 1, 'new'), (2, -2, 'new'), (3, 3, 'new')"
            )
            await work.seen("select array_agg(id || w order by id) from t", ["1new", "3new"])
            (held,) = await work.held(1)
            assert (held.key, held.problem["code"]) == ("2", "target-refused")
            await pipe.target.execute(ALLOW)
            await work.replay()
            await work.same("t")


async def test_a_row_that_was_held_and_truncated_does_not_come_back(
    way: str, make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.target.execute(FORBID)
        async with working(pipe, settings, monkeypatch) as work:
            await work.phase("streaming")
            await pipe.source.execute("insert into t values (2, -2, ''); truncate t; insert into t values (3, 3, '')")
            await work.seen("select array_agg(id) from t", [3])
            await work.held(0)
            await pipe.source.execute("insert into t values (2, 2, 'new')")
            await work.same("t")


async def test_many_refused_changes_of_one_batch_are_each_held_once(
    way: str, make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_QUARANTINE_LIMIT", "100")
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.target.execute(FORBID)
        async with working(pipe, settings, monkeypatch) as work:
            await work.phase("streaming")
            await pipe.source.execute(MIXED.format(50))
            held = await work.held(20)
            assert [int(one.key) for one in held] == list(range(50, 1001, 50))
            await work.seen("select count(*) from t", 980)
            await pipe.target.execute(ALLOW)
            await work.replay()
            await work.held(0)
            await work.same("t")


async def test_a_crash_between_refusal_and_commit_holds_neither_twice_nor_less(
    way: str, make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.target.execute(FORBID)
        async with working(pipe, settings, monkeypatch) as work:
            await work.phase("streaming")
            for number, point in enumerate(("apply.before_commit=raise@1", "apply.after_commit=raise@1")):
                faults.arm(point, "test")
                low = number * 10
                await pipe.source.execute(f"insert into t values ({low + 1}, 1), ({low + 2}, -2), ({low + 3}, 3)")
                await pipe.source.execute(f"update t set w = 'b' where id = {low + 2}")
                await work.held(2 * number + 2)
                await work.seen("select count(*) from t", 2 * number + 2)
            faults.arm("apply.after_commit=raise@1", "test")
            await pipe.target.execute(ALLOW)
            await work.replay()
            await work.held(0)
            await work.same("t")
        faults.arm("", "test")


async def test_refused_rows_of_the_copy_are_held_and_the_copy_goes_on(
    make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_FIRST_ROWS", 100)
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.source.execute(MIXED.format(400))
        await pipe.target.execute(FORBID)
        async with working(pipe, settings, monkeypatch) as work:
            await work.phase("streaming")
            assert {one.key for one in await work.held(2)} == {"400", "800"}
            await pipe.source.execute("update t set w = 'x' where id = 400; delete from t where id = 800")
            await work.held(4)
            await pipe.target.execute(ALLOW)
            await work.replay()
            await work.same("t")


async def test_a_second_copy_removes_what_is_gone_although_a_row_is_refused(
    make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lay(make_database, tmp_path, TABLE, ["t"]) as pipe:
        await pipe.source.execute("insert into t select n, n from generate_series(1, 50) n")
        async with working(pipe, settings, monkeypatch) as work:
            await work.phase("streaming")
            await pipe.target.execute("insert into t values (7000, 1, 'stale'), (-7, 1, 'stale')")
            await pipe.target.execute(FORBID)
            await pipe.source.execute("insert into t values (60, -1, 'refused')")
            await work.held(1)
            await work.resync()
            await work.seen("select count(*) from t where w = 'stale'", 0)
            await work.held(1)
            await work.seen("select count(*) from t", 50)


async def test_a_second_copy_removes_parents_that_are_gone_with_their_children(
    make_database: MakeDatabase, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ddl = "create table p (id int primary key); create table c (id int primary key, p int not null references p)"
    async with lay(make_database, tmp_path, ddl, ["c", "p"]) as pipe:
        await pipe.source.execute("insert into p values (1), (2); insert into c values (1, 1), (2, 2)")
        async with working(pipe, settings, monkeypatch) as work:
            await work.phase("streaming")
            await pipe.target.execute("insert into p values (3); insert into c values (3, 3)")
            await work.resync()
            await work.same("p", "c")
            await work.phase("streaming")
            await work.held(0)

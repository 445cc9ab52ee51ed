"""What happens between a look and a write: rows that move meanwhile are left, a log beside it is not harmed."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nms.common import faults
from nms.common.flow import Applied, Batch
from nms.common.problem import Problem
from nms.connectors.postgres.compare.look import Hold
from nms.connectors.postgres.compare.rule import Met, Rule
from nms.connectors.postgres.compare.whole import Whole
from nms.connectors.postgres.compare.writer import ComparedTarget, GuardedWriter
from nms.connectors.postgres.writer import Writer
from tests.conftest import MakeDatabase
from tests.contract.compared import Two, apart, going, rule
from tests.contract.pipelines import Pipe

ITEM = "create table item (id integer primary key, v integer not null, note text)"
SUBSCRIPTION = "create table subscription (email text primary key, status text)"
FILL = "insert into item select n, n, 'n' from generate_series(1, 50) n"
ONCE = 60.0
Patch = pytest.MonkeyPatch


@contextmanager
def fault(text: str) -> Iterator[None]:
    """Arm fault points while the block lasts."""
    faults.arm(text, "test")
    try:
        yield
    finally:
        faults.arm("", "test")


def before_writes(patch: Patch, both: Two, *sql: str) -> None:
    """Run SQL at the target, one text before each batch that is written there."""
    apply = ComparedTarget.apply
    waiting = list(sql)

    async def late(target: ComparedTarget, batch: Batch) -> Applied:
        if waiting:
            await both.target.execute(waiting.pop(0))
        return await apply(target, batch)

    patch.setattr(ComparedTarget, "apply", late)


async def _leaves_what_moved(both: Two, patch: Patch) -> None:
    await both.source.execute(FILL)
    await both.target.execute(FILL)
    await both.target.execute("update item set v = 0 where id < 5; delete from item where id = 9")
    await both.source.execute("delete from item where id = 7")
    # What is there too many goes first.
    move = "update item set note = 'moved' where id = "
    before_writes(patch, both, f"{move} 7", f"{move} 1; insert into item values (9, -9, 'moved')")
    async with going(replace(both.spec, every=ONCE)) as rounds:
        facts = await rounds.pass_round(1)
    moved = [tuple(row) for row in await both.target.fetch("select id, v from item where note = 'moved' order by 1")]
    assert moved == [(1, 0), (7, 7)]  # 9 was looked at again, since it had been missing
    assert await both.target.fetchval("select array_agg(v order by id) from item where id in (2, 3, 4)") == [2, 3, 4]
    assert facts["left"] == 1  # deletes and inserts that found nothing to do are not counted
    await both.run("item")


async def test_a_row_that_moved_since_it_was_seen_is_left_for_the_next_round(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: Patch
) -> None:
    async with apart(make_database, tmp_path, ITEM, ["item"]) as both:
        await _leaves_what_moved(both, monkeypatch)


async def test_writes_without_their_guard_are_caught(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(GuardedWriter, "commands", Writer.commands)
    async with apart(make_database, tmp_path, ITEM, ["item"]) as both:
        with pytest.raises(AssertionError):
            await _leaves_what_moved(both, monkeypatch)


async def test_a_difference_that_is_gone_at_the_second_look_is_not_acted_on(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: Patch
) -> None:
    async with apart(make_database, tmp_path, ITEM, ["item"]) as both:
        await both.source.execute(FILL)
        await both.target.execute(FILL)
        await both.target.execute(
            "update item set v = 0; delete from item where id = 1; insert into item values (99, 9)"
        )
        scan = Whole.scan

        async def scanned(whole: Whole) -> None:
            await scan(whole)
            await both.target.execute("truncate item")
            await both.target.execute(FILL)

        monkeypatch.setattr(Whole, "scan", scanned)
        async with going(replace(both.spec, every=ONCE)) as rounds:
            facts = await rounds.pass_round(1)
            assert facts["compared"]["public.item"]["source"]["apart"] == 50
            assert rounds.batches == []


async def test_a_row_written_because_it_was_missing_is_looked_at_again(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: Patch
) -> None:
    # A log beside may have brought its delete before there was a row to delete.
    async with apart(make_database, tmp_path, ITEM, ["item"]) as both:
        await both.source.execute(FILL)
        apply = ComparedTarget.apply

        async def late(target: ComparedTarget, batch: Batch) -> Applied:
            await both.source.execute("delete from item where id = 13")
            return await apply(target, batch)

        monkeypatch.setattr(ComparedTarget, "apply", late)
        async with going(replace(both.spec, every=ONCE)) as rounds:
            await rounds.pass_round(1)
        await both.equal("item")


WATCH = """
create table regress (id integer, was integer, became integer);
create function note() returns trigger language plpgsql as $$ begin
    if new.v < old.v and current_setting('application_name') ~ '^nms:beside:' then
        insert into regress values (new.id, old.v, new.v);
    end if; return new; end $$;
create trigger note after update on item for each row execute function note();
"""


async def test_a_log_pipeline_beside_it_is_not_harmed(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with apart(make_database, tmp_path, ITEM, ["item"]) as both:
        await both.source.execute(FILL)
        await both.target.execute(WATCH)
        pipe = Pipe(replace(both.spec, capture="log"), both.source, both.target)
        writing = await pipe.connect()
        beside = replace(both.spec, name="beside", spool=tmp_path / "beside", every=0.001)
        try:
            async with pipe.moves(), going(beside) as rounds:
                for turn in range(300):
                    await writing.execute("update item set v = v + 1 where id % 10 = $1", turn % 10)
                    await writing.execute("delete from item where id = $1", 1 + turn % 50)
                    await writing.execute("insert into item values ($1, $2)", 1 + turn % 50, 1000 * (turn + 1))
                await pipe.catch_up(60)
                await rounds.pass_round()
                assert not rounds.refused
        finally:
            await writing.close()
        assert await both.target.fetch("select * from regress") == []
        await both.equal("item")


@pytest.mark.parametrize("point", ["compare.scanned", "apply.before_commit", "apply.after_commit"])
async def test_a_worker_that_ends_in_the_middle_leaves_nothing_that_the_next_round_does_not_mend(
    make_database: MakeDatabase, tmp_path: Path, point: str
) -> None:
    rules = {"public.subscription": rule(status="inactive")}
    ddl = f"{ITEM}; {SUBSCRIPTION}"
    async with apart(make_database, tmp_path, ddl, ["item", "subscription"], rules=rules) as both:
        await both.source.execute("insert into item select n, n from generate_series(1, 2500) n")
        for side, state in ((both.source, "inactive"), (both.target, "active")):
            await side.execute("insert into subscription select 'a' || n, $1 from generate_series(1, 9) n", state)
        for time in (1, 2, 1):
            with fault(f"{point}=raise@{time}"), pytest.raises(faults.FaultInjected):
                async with going(both.spec) as rounds:
                    await rounds.pass_round(5)
            await both.target.execute("delete from item where id % 2 = 0; update subscription set status = 'inactive'")
        await both.source.execute("update subscription set status = 'active'")
        await both.run("item", "subscription")


async def _takes_nothing_stale(both: Two, patch: Patch) -> None:
    for side, states in ((both.source, "inactive active"), (both.target, "active inactive")):
        values: Sequence[str] = states.split()
        await side.execute("insert into subscription values ('a', $1), ('b', $2), ('c', $1), ('d', $2)", *values)
    judge: Callable[..., Any] = Rule._judge

    async def judged(one: Rule, keys: Sequence[Any]) -> list[Met]:
        met: list[Met] = await judge(one, keys)
        await both.target.execute("update subscription set status = 'inactive' where email = 'a'")
        await both.source.execute("update subscription set status = 'inactive' where email = 'b'")
        return met

    with patch.context() as patched:
        patched.setattr(Rule, "_judge", judged)
        async with going(replace(both.spec, every=ONCE)) as rounds:
            facts = await rounds.pass_round(1)
    for side in (both.source, both.target):
        found = dict(await side.fetch("select * from subscription"))
        assert found == {"a": "inactive", "b": "inactive", "c": "active", "d": "active"}
    assert facts["compared"]["public.subscription"]["left"] == 2


async def test_a_status_is_not_taken_from_a_row_that_moved_since_it_was_read(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: Patch
) -> None:
    rules = {"public.subscription": rule(status="inactive")}
    async with apart(make_database, tmp_path, SUBSCRIPTION, ["subscription"], rules=rules) as both:
        await _takes_nothing_stale(both, monkeypatch)


async def test_taking_without_holding_the_giver_is_caught(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: Patch
) -> None:
    async def held(_: Hold, __: Any, seen: Sequence[Any]) -> set[int]:
        return set(range(len(seen)))

    monkeypatch.setattr(Hold, "at", held)
    rules = {"public.subscription": rule(status="inactive")}
    async with apart(make_database, tmp_path, SUBSCRIPTION, ["subscription"], rules=rules) as both:
        with pytest.raises(AssertionError):
            await _takes_nothing_stale(both, monkeypatch)


async def test_what_the_source_refuses_to_take_is_counted_and_stops_nobody(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    rules = {"public.subscription": rule(status=["inactive", None])}
    async with apart(make_database, tmp_path, SUBSCRIPTION, ["subscription"], rules=rules) as both:
        await both.source.execute("alter table subscription add check (status <> 'active' or email <> 'n7')")
        await both.source.execute("insert into subscription select 'n' || n, 'inactive' from generate_series(1, 20) n")
        await both.source.execute("update subscription set status = null where email = 'n3'")
        await both.target.execute("insert into subscription select 'n' || n, 'active' from generate_series(1, 20) n")
        async with going(replace(both.spec, every=ONCE)) as rounds:
            facts = await rounds.pass_round(1)
        assert facts["compared"]["public.subscription"]["source"]["refused"] == 1
        apart_now = await both.source.fetch("select email from subscription where status is distinct from 'active'")
        assert [row[0] for row in apart_now] == ["n7"]


async def test_a_second_worker_takes_over_and_the_first_writes_nothing_more(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with apart(make_database, tmp_path, ITEM, ["item"]) as both, going(both.spec) as first:
        await first.pass_round(1)
        assert first.going is not None
        async with going(replace(both.spec, spool=tmp_path / "second")) as second:
            await both.source.execute(FILL)
            with pytest.raises(Problem):
                await asyncio.wait_for(first.going, 90)
            await second.pass_round()
            await both.equal("item")
        first.going = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]


async def test_nobody_is_made_to_wait_for_a_row_that_somebody_has(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with apart(make_database, tmp_path, ITEM, ["item"]) as both:
        await both.source.execute(FILL)
        await both.target.execute(FILL)
        await both.source.execute("update item set v = -1")
        async with both.target.transaction():
            await both.target.execute("update item set note = 'mine' where id = 25")
            async with going(replace(both.spec, every=ONCE)) as rounds:
                facts = await rounds.pass_round(1)
            assert facts["left"] == 1
            assert await both.target.fetchval("select array_agg(id) from item where v <> -1") == [25]
        await both.run("item")

"""Set both sides up, wait until the pipeline is through, and judge."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import asyncpg

from tests.flow.proof.digest import MONEY, judge_digests
from tests.flow.proof.history import judge_histories
from tests.flow.proof.observer import Observer
from tests.flow.proof.records import Effect, Fault, Verdict, Written
from tests.flow.proof.writers import LOST_CONNECTION, Tally

HERE = Path(__file__).parent

WRITTEN = """
select tablename, key, version, op::text, txid from proof.written
order by tablename collate "C", key collate "C", version
"""
EFFECTS = """
select tablename, key, seq, target_xid, before, after from (
    select tablename, key, seq, target_xid, new_version as after,
           case when old_key is distinct from key then null else old_version end as before
    from proof.effect where op in ('I', 'U')
    union all
    select tablename, coalesce(old_key, key), seq, target_xid, null, old_version
    from proof.effect where op = 'D' or (op = 'U' and old_key <> key)) as e
order by tablename collate "C", key collate "C", seq, after nulls first
"""
MARK = """
insert into proof.mark (name, seq) select 'backfilled', coalesce(max(seq), 0) from proof.effect returning seq
"""
SEED = """
insert into account (id, payload, note, balance)
select g, 'seed', case when g % 3 = 0 then repeat(md5(g::text), 100) end, 1000 from generate_series(0, {n} - 1, 2) g;
insert into line (account, n, item) select id, g, 'seed' from account, generate_series(1, 2) g;
insert into subscription (email, plan)
select 'user' || lpad(g::text, 7, '0') || '@example.test', 9.90 from generate_series(0, {n} - 1, 2) g;
insert into event_log (kind, body) select 'seed', jsonb_build_object('g', g) from generate_series(1, {n}) g;
insert into scratch (id, payload) select g, 'seed' from generate_series(1, 40) g;
"""


class Stalled(AssertionError):
    """The last transaction of the source did not arrive in time."""


async def prepare_source(dsn: str) -> None:
    """Create tables, publication and truth log."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute((HERE / "tables.sql").read_text())
        await connection.execute((HERE / "source.sql").read_text())
    finally:
        await connection.close()


async def seed_source(dsn: str, accounts: int) -> int:
    """Fill the tables; answers the money that every later transaction preserves."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(SEED.format(n=accounts))
        await connection.execute("analyze")
        return int(await connection.fetchval(MONEY))
    finally:
        await connection.close()


async def prepare_target(dsn: str) -> None:
    """Create empty tables and the effect log."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute((HERE / "tables.sql").read_text())
        await connection.execute((HERE / "target.sql").read_text())
    finally:
        await connection.close()


async def mark_backfill_over(dsn: str) -> int:
    """Remember the last effect of the backfill: from here on source transactions must be whole."""
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval(MARK))
    finally:
        await connection.close()


async def wait_until_through(source_dsn: str, target_dsn: str, seconds: float) -> None:
    """Commit one last event at the source and wait for it at the target; raises Stalled."""
    source = await asyncpg.connect(source_dsn)
    last = await source.fetchval("insert into event_log (kind) values ('last') returning id")
    await source.close()
    deadline = asyncio.get_running_loop().time() + seconds
    while not await _arrived(target_dsn, last):
        if asyncio.get_running_loop().time() > deadline:
            raise Stalled(f"the last event did not arrive within {seconds:.0f} s")
        await asyncio.sleep(0.1)


async def _arrived(dsn: str, event: object) -> bool:
    try:
        target = await asyncpg.connect(dsn, timeout=5)
    except (*LOST_CONNECTION, asyncpg.PostgresError):
        return False
    try:
        return bool(await target.fetchval("select exists (select from event_log where id = $1)", event))
    finally:
        await target.close()


async def check(
    source_dsn: str, target_dsn: str, observers: Iterable[Observer] = (), tally: Tally | None = None
) -> Verdict:
    """Judge a pipeline that is through; without a mark everything counts as streamed."""
    verdict = Verdict()
    source, target = await asyncpg.connect(source_dsn), await asyncpg.connect(target_dsn)
    try:
        await judge_digests(source, target, verdict)
        mark = await target.fetchval("select coalesce((select seq from proof.mark where name = 'backfilled'), 0)")
        written = [Written(*row) for row in await source.fetch(WRITTEN)]
        effects = await load_effects(target)
        judge_histories(written, effects, mark, verdict)
        verdict.facts |= {"written": len(written), "effects": len(effects), "mark": mark}
        if tally is not None:
            await confirm_source(source, tally, verdict)
    finally:
        await source.close()
        await target.close()
    for observer in observers:
        verdict.facts["snapshots"] = verdict.facts.get("snapshots", 0) + observer.snapshots
        for sentence in observer.wrong:
            verdict.add(Fault.HALF_VISIBLE, sentence)
    return verdict


async def confirm_source(source: Any, tally: Tally, verdict: Verdict) -> None:
    """The ground under the proof: every commit that was answered is in the truth log, every refused one is not."""
    committed = {row[0] for row in await source.fetch("select txid from proof.committed")}
    gone = set(tally.acknowledged) - committed
    assert not gone, f"the source itself lost {len(gone)} answered commits: the proof stands on sand"
    verdict.facts["committed"] = len(committed)
    verdict.facts["unknown_resolved"] = len(committed & set(tally.unknown))


async def load_effects(target: Any) -> list[Effect]:
    """Effects by table and key in byte order; a truncate deletes each key that was present."""
    truncates: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in await target.fetch("select tablename, seq, target_xid from proof.effect where op = 'T' order by seq"):
        truncates[row[0]].append((row[1], row[2]))
    effects = [Effect(*row) for row in await target.fetch(EFFECTS)]
    return list(expand_truncates(effects, truncates)) if truncates else effects


def expand_truncates(effects: Iterable[Effect], truncates: dict[str, list[tuple[int, int]]]) -> Iterator[Effect]:
    """Put a delete where a truncate took a present key."""
    earlier: Effect | None = None
    for effect in effects:
        if earlier is not None:
            same = (earlier.tablename, earlier.key) == (effect.tablename, effect.key)
            yield from _taken(earlier, effect.seq if same else None, truncates)
        yield effect
        earlier = effect
    if earlier is not None:
        yield from _taken(earlier, None, truncates)


def _taken(present: Effect, until: int | None, truncates: dict[str, list[tuple[int, int]]]) -> Iterator[Effect]:
    if present.after is None:
        return
    for seq, target_xid in truncates.get(present.tablename, ()):
        if seq > present.seq and (until is None or seq < until):
            yield Effect(present.tablename, present.key, seq, target_xid, present.after, None)
            return

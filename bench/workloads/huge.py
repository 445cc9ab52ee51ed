"""One transaction of millions of rows: our memory, what the source spills, how soon the last row is with us."""

import time
from typing import ClassVar

import asyncpg

from bench.contestant import Contestant
from bench.meter import Meter
from bench.place import Place, settle, wait_for
from bench.trial import Trial
from bench.workloads.table import SCHEMA, fill

SENT = """
select coalesce(bool_and(sent_lsn >= '{lsn}'::pg_lsn), false) from pg_stat_replication
where application_name <> '' and state = 'streaming'
"""
SPILLED = "select coalesce(max(spill_bytes), 0) from pg_stat_replication_slots where slot_name = any ($1)"
SLOTS = "select array_agg(slot_name::text) from pg_replication_slots where database = $1"


class HugeTransaction:
    """Seconds from commit until visible at the target; the bars are on memory, spilling and the last row's arrival."""

    name, unit, schema = "huge transaction", "s", SCHEMA
    settings: ClassVar[dict[str, str]] = {"max_wal_size": "16GB"}

    def __init__(self, rows: int = 5_000_000) -> None:
        self.rows = rows
        self.title = f"one transaction that inserts {rows:,} rows"

    async def run(self, contestant: Contestant, place: Place) -> Trial:
        await contestant.begin(["item"], copy=True)
        await contestant.wait_ready()
        await settle(place)
        slots = await place.on_source(SLOTS, place.database)
        meter = Meter(contestant.pids())
        await place.on_source(fill(self.rows))
        committed = time.time()
        arrived = await self.wait_sent(place)
        await wait_for(place.target_dsn, f"select exists (select from item where id = {self.rows})", pause=0.1)
        end = time.time()
        usage = meter.read()
        spilled = await place.on_source(SPILLED, slots)
        await contestant.end()
        return Trial(end - committed, {"last_row_after_commit": arrived - committed, "spill_bytes": spilled}, usage)

    async def wait_sent(self, place: Place) -> float:
        """When the walsender has handed the commit to the socket of our reader."""
        connection = await asyncpg.connect(place.source_dsn)
        lsn = await connection.fetchval("select pg_current_wal_lsn()::text")
        await connection.close()
        await wait_for(place.source_dsn, SENT.format(lsn=lsn))
        return time.time()

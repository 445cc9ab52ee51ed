"""A pipeline whose tables are idle while the rest of the server is busy must not hold the log back."""

import asyncio
from typing import ClassVar

from bench.contestant import Contestant
from bench.meter import Meter
from bench.place import Place
from bench.trial import Trial

SCHEMA = "create table quiet (id int primary key); create table elsewhere (payload text);"
RETAINED = """
select (max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) / 1048576.0)::float8
from pg_replication_slots where database = $1
"""
WRITE = "insert into elsewhere select repeat('x', 1000) from generate_series(1, 29000)"
PATIENCE = 60


class Idle:
    """Log retained by the slot after megabytes were written elsewhere, in MiB."""

    name, unit, schema = "idle", "MiB", SCHEMA
    settings: ClassVar[dict[str, str]] = {}

    def __init__(self, megabytes: int = 2048) -> None:
        self.megabytes = megabytes
        self.title = f"{megabytes} MB written elsewhere: log retained"

    async def run(self, contestant: Contestant, place: Place) -> Trial:
        await contestant.begin(["quiet"], copy=True)
        await contestant.wait_ready()
        start = await place.on_source("select pg_current_wal_lsn()::text")
        meter = Meter(contestant.pids())
        peak, written = 0.0, 0.0
        while written < self.megabytes:
            await place.on_source(WRITE)
            await place.on_source("truncate elsewhere")
            query = "select (pg_wal_lsn_diff(pg_current_wal_lsn(), $1::text::pg_lsn) / 1048576.0)::float8"
            written = await place.on_source(query, start)
            peak = max(peak, await place.on_source(RETAINED, place.database))
        retained = await self.settle_down(place)
        usage = meter.read()
        await contestant.end()
        return Trial(retained, {"peak_while_writing": peak, "written": written}, usage)

    async def settle_down(self, place: Place) -> float:
        """What is retained once the slot had its chance to follow."""
        retained = 0.0
        for _ in range(PATIENCE):
            retained = await place.on_source(RETAINED, place.database)
            if retained <= 64:
                break
            await asyncio.sleep(1)
        return retained

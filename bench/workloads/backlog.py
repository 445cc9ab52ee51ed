"""Catch-up: the consumer was away while single-row transactions were committed."""

import asyncio
import tempfile
import time
from typing import ClassVar

from bench.contestant import Contestant
from bench.meter import Meter
from bench.place import Place, settle, wait_for
from bench.trial import Trial
from bench.workloads.table import SCHEMA, fill

SCRIPT = """
\\set id random(1, {rows})
update item set amount = amount + 1, payload = md5(:id::text) where id = :id;
"""
CLIENTS = 8


class Backlog:
    """Seconds from waking the consumer until the last transaction of the backlog is visible at the target."""

    name, unit, schema = "catch-up", "s", SCHEMA
    settings: ClassVar[dict[str, str]] = {}

    def __init__(self, transactions: int = 100_000, rows: int = 100_000) -> None:
        self.transactions, self.rows = transactions, rows
        self.title = f"catch-up of {transactions:,} single-row updates"

    async def run(self, contestant: Contestant, place: Place) -> Trial:
        await place.on_source(fill(self.rows))
        await contestant.begin(["item"], copy=True)
        await contestant.wait_ready()
        await contestant.pause()
        await self.write(place)
        await place.on_source("update item set status = 'last' where id = 1")
        await settle(place)
        meter = Meter(contestant.pids())
        start = await contestant.resume()
        await wait_for(place.target_dsn, "select status = 'last' from item where id = 1")
        seconds = time.time() - start
        usage = meter.read()
        await contestant.end()
        return Trial(seconds, {"transactions_per_second": self.transactions / seconds}, usage)

    async def write(self, place: Place) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(SCRIPT.format(rows=self.rows))
            script.flush()
            process = await asyncio.create_subprocess_exec(
                *(place.program("pgbench"), "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "1"),
                *("-t", str(self.transactions // CLIENTS), "-f", script.name, place.source_dsn),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={"PGOPTIONS": "-c synchronous_commit=off"},
            )
            code = await process.wait()
            assert code == 0, f"pgbench ended with {code}"

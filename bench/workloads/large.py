"""One large transaction."""

import time
from typing import ClassVar

from bench.contestant import Contestant
from bench.meter import Meter
from bench.place import Place, settle, wait_for
from bench.trial import Trial
from bench.workloads.table import SCHEMA, fill


class LargeUpdate:
    """Seconds from the start of one update of many rows until it is visible at the target."""

    name, unit, schema = "large transaction", "s", SCHEMA
    settings: ClassVar[dict[str, str]] = {}

    def __init__(self, rows: int = 200_000) -> None:
        self.rows = rows
        self.title = f"one transaction that updates {rows:,} rows"

    async def run(self, contestant: Contestant, place: Place) -> Trial:
        await place.on_source(fill(self.rows))
        await contestant.begin(["item"], copy=True)
        await contestant.wait_ready()
        await settle(place)
        meter = Meter(contestant.pids())
        start = time.time()
        await place.on_source("update item set amount = amount + 1, status = 'moved'")
        committed = time.time()
        await wait_for(place.target_dsn, f"select status = 'moved' from item where id = {self.rows}")
        end = time.time()
        usage = meter.read()
        await contestant.end()
        return Trial(end - start, {"after_commit": end - committed, "statement": committed - start}, usage)

"""Initial copy of a table into an empty table with two secondary indexes."""

import time
from typing import ClassVar

from bench.contestant import Contestant
from bench.meter import Meter
from bench.place import Place, settle, wait_for
from bench.trial import Trial
from bench.workloads.table import SCHEMA, fill


class InitialCopy:
    """Seconds from the start of the contestant until every row is visible at the target."""

    name, unit, schema = "initial copy", "s", SCHEMA
    settings: ClassVar[dict[str, str]] = {}

    def __init__(self, rows: int = 1_000_000) -> None:
        self.rows = rows
        self.title = f"initial copy of {rows:,} rows"

    async def run(self, contestant: Contestant, place: Place) -> Trial:
        await place.on_source(fill(self.rows))
        await place.on_source("vacuum analyze item")
        await settle(place)
        meter = Meter(contestant.pids())
        start = await contestant.begin(["item"], copy=True)
        while True:
            await wait_for(place.target_dsn, f"select exists (select from item where id = {self.rows})", pause=0.02)
            if await place.on_target("select count(*) from item") == self.rows:
                break
        seconds = time.time() - start
        usage = meter.read()
        await contestant.end()
        return Trial(seconds, {"rows_per_second": self.rows / seconds}, usage)

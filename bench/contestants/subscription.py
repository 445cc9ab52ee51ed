"""PostgreSQL's own logical replication with its defaults."""

import time
from collections.abc import Sequence

from bench.place import Place, wait_for

READY = "select count(*) > 0 and bool_and(srsubstate = 'r') from pg_subscription_rel"


class Subscription:
    """`create publication` and `create subscription`."""

    name = "own subscription"

    def __init__(self) -> None:
        self.place: Place | None = None

    async def prepare(self, place: Place) -> None:
        self.place = place

    async def begin(self, tables: Sequence[str], *, copy: bool) -> float:
        start, place = time.time(), self._place
        await place.on_source(f"create publication bench for table {', '.join(tables)}")
        slot = f"bench_{place.database}"
        await place.on_target(
            f"create subscription bench connection '{place.source_dsn}' publication bench "
            f"with (slot_name = '{slot}', copy_data = {str(copy).lower()})"
        )
        return start

    async def wait_ready(self) -> None:
        await wait_for(self._place.target_dsn, READY)

    async def pause(self) -> None:
        await self._place.on_target("alter subscription bench disable")
        await wait_for(self._place.source_dsn, "select not bool_or(active) from pg_replication_slots")

    async def resume(self) -> float:
        start = time.time()
        await self._place.on_target("alter subscription bench enable")
        return start

    async def end(self) -> None:
        await self._place.on_target("drop subscription bench")

    def pids(self) -> Sequence[int]:
        return ()

    @property
    def _place(self) -> Place:
        assert self.place is not None
        return self.place

"""A table that is pushed to a hostile API: the stage with its documents, and what the API was told."""

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from nms.common.settings import Settings
from tests.service.stage import Stage, pipeline
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually

TABLE = "create table public.item (id bigint primary key, name text not null, note text)"
FIELDS = {"id": "reference", "name": "name", "note": "note"}
VERBS: dict[str, Any] = {
    "create": {"method": "POST", "path": "/items"},
    "update": {"method": "PATCH", "path": "/items/{id}"},
    "delete": {"method": "DELETE", "path": "/items/{id}"},
}
WRITES: dict[str, Any] = VERBS | {
    "assigned": True, "precondition": "none", "lookup": {"parameter": "reference", "field": "reference"},
}  # fmt: skip

TIMEOUTS = ("timeout-before", "timeout-after")
SLOW = {"timeout": "500ms", "concurrency": 32}


@dataclass
class Push:
    """A pipeline `push` from public.item to the resource `items` of a hostile API, and how both ends stand."""

    stage: Stage
    api: HostileApi

    @classmethod
    async def set(cls, settings: Settings, source: str, api: HostileApi) -> Self:
        """An empty table, and an API without records."""
        stage = Stage(settings, source, source)
        await stage.at("source", TABLE)
        api.add("items")
        return cls(stage, api)

    async def begin(
        self,
        *,
        system: dict[str, Any] | None = None,
        parts: dict[str, Any] | None = None,
        fields: dict[str, str] = FIELDS,
        **writes: Any,
    ) -> None:
        """Apply the documents; `parts` are the pipeline's, `writes` the resource's, None takes one away."""
        told = {name: value for name, value in (WRITES | writes).items() if value is not None}
        resource = {
            "path": "/items", "records": "data", "record": "/items/{id}",
            "paging": {"style": "page", "parameter": "page"}, "writes": told,
        }  # fmt: skip
        remote = {"kind": "system", "name": "remote", "type": "rest", "url": self.api.url, "timeout": "1s",
                  "resources": {"items": resource}, **(system or {})}  # fmt: skip
        dataset = {"source": "public.item", "target": "items", "fields": fields}
        document = pipeline("push") | {"target": "remote", "datasets": [dataset], **(parts or {})}
        await self.stage.apply(*self.stage.systems(source=self.stage.source), remote, document)

    async def is_mirrored(self) -> bool:
        """Whether the API has exactly the table's rows, each once."""
        return await self.rows() == self.records()

    async def rows(self) -> list[tuple[str, str, str | None]]:
        """The table."""
        found = await self.stage.at("source", "select row(id, name, note) from item order by id")
        return [(str(one[0]), one[1], one[2]) for one in found]

    def records(self) -> list[tuple[str, str, str | None]]:
        """What the API has."""
        records = self.api.records("items").values()
        found = [(str(one["reference"]), one["name"], one.get("note")) for one in records]
        return sorted(found, key=lambda one: int(one[0]))

    async def counts(self) -> dict[str, int]:
        """What the pipeline tells of its changes."""
        found: dict[str, int] = (await self.stage.get("push")).status.get("changes", {})
        return Counter(found)

    async def told(self, **counts: int) -> None:
        """Wait until the pipeline tells these numbers of its changes, and check that they add up."""

        async def look() -> bool:
            found = await self.counts()
            return {name: found[name] for name in counts} == counts

        try:
            await eventually(look)
        except AssertionError as late:
            raise AssertionError(f"it tells {await self.counts()}") from late
        found = await self.counts()
        assert found["captured"] == found["sent"] + found["saved"] + found["waiting"] + found["refused"]

    async def holds(self, count: int) -> bool:
        """Whether so many changes are held."""
        return len(await self.stage.answer("quarantine", "list", "push")) == count

    @asynccontextmanager
    async def streaming(self) -> AsyncIterator[None]:
        """A worker at work, and the copy done."""
        async with self.stage.working():
            await self.stage.reach("streaming", name="push")
            yield


async def edit(push: Push, count: int, after: int = 0) -> int:
    """Inserts, updates and deletes of `count` records in many transactions; gives how many changes that were."""
    chance, last = random.Random(after), after + count
    statements = [f"insert into item values ({n}, 'a{n}', 'x')" for n in range(after + 1, last + 1)]
    for _ in range(count // 2):
        statements.append(f"update item set name = 'b{chance.random()}' where id = {chance.randint(after + 1, last)}")
    statements += [f"delete from item where id = {n}" for n in range(after + 5, last, 10)]
    updates = statements[count:]
    chance.shuffle(updates)
    changes = 0
    for start in range(0, count, 10):
        for one in (*statements[start : start + 10], *updates[start : start + 10]):
            done = await push.stage.at("source", f"with done as ({one} returning 1) select count(*) from done")
            changes += done[0]
    return changes


def doubles(api: HostileApi) -> list[str]:
    """Keys that were made more than once."""
    return [key for key, acts in api.counts("items").items() if acts.get("create", 0) > 1]


async def start_worker(faults: str) -> asyncio.subprocess.Process:
    """A worker in a process of its own with an armed fault point."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "nms", "worker", "sync", env={**os.environ, "NMS_FAULTS": faults},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


async def work_until_killed(faults: str) -> int | None:
    """Run a worker in a process of its own with an armed fault point; gives how it ended."""
    process = await start_worker(faults)
    try:
        await asyncio.wait_for(process.wait(), 120)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode

"""A table that is pushed to a hostile API: the stage with its documents, and what the API was told."""

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
        self, *, system: dict[str, Any] | None = None, fields: dict[str, str] = FIELDS, **writes: Any
    ) -> None:
        """Apply the documents; `writes` are parts of the resource's, None takes one away."""
        told = {name: value for name, value in (WRITES | writes).items() if value is not None}
        resource = {
            "path": "/items", "records": "data", "record": "/items/{id}",
            "paging": {"style": "page", "parameter": "page"}, "writes": told,
        }  # fmt: skip
        remote = {"kind": "system", "name": "remote", "type": "rest", "url": self.api.url, "timeout": "1s",
                  "resources": {"items": resource}, **(system or {})}  # fmt: skip
        dataset = {"source": "public.item", "target": "items", "fields": fields}
        document = pipeline("push") | {"target": "remote", "datasets": [dataset]}
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

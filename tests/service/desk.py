"""A desk where single writes are made, against an API that misbehaves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from nms.common.document.rest import Resource, RestSystem
from nms.common.ledger import Link
from nms.common.strict_json import Number, write
from nms.connectors.rest.client import Client
from nms.connectors.rest.look import Looker
from nms.connectors.rest.order import Act, Order, Outcome
from nms.connectors.rest.sending import Means
from nms.connectors.rest.write import Write
from tests.service.remote_writes import WRITES
from tests.services.hostile.api import HostileApi

KEY = {"reference": Number("7")}
VALUES = {"reference": Number("7"), "name": "ours"}


@dataclass
class Desk:
    """Where writes are made: the API, and the document's `writes`."""

    api: HostileApi
    writes: dict[str, Any] = field(default_factory=lambda: dict(WRITES))
    record: str | None = "/items/{id}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Means]:
        told = {name: value for name, value in self.writes.items() if value is not None}
        resource = {"path": "/items", "records": "data", "record": self.record, "writes": told}
        system = RestSystem.model_validate(
            {"kind": "system", "name": "remote", "type": "rest", "url": self.api.url, "timeout": "500ms",
             "resources": {"items": {name: value for name, value in resource.items() if value is not None}}}
        )  # fmt: skip
        async with Client.opened(system) as client:
            made: Resource = system.resources["items"]
            yield Means(client, "public.item", made, Looker(client, made), wait=0.05)

    async def do(self, act: Act, **parts: Any) -> Outcome:
        """Carry one order out."""
        given: dict[str, Any] = {"key": KEY, "values": {} if act is Act.DELETE else VALUES, "seed": "s", **parts}
        async with self.open() as means:
            return await Write(means, Order(act, **given)).run()

    def link(self, number: int, **parts: Any) -> Link:
        return Link("public.item", write(KEY), write({"id": Number(number)}), **parts)

    def there(self, **record: Any) -> int:
        """A record that the API has; gives its id."""
        return int(self.api.write("items", {"reference": 7, "name": "theirs", **record})["id"])

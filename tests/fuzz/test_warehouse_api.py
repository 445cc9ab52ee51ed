"""The warehouse under generated requests over all entities: no 5xx, and no answer that its document does not name."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nms.common.settings import Settings
from nms.common.token import mint_token
from tests.fuzz.api import PHASES, SEED, Role, fuzz
from tests.fuzz.extent import Extent
from tests.fuzz.test_api import SHORT, environment_of
from tests.house.tree import refuse
from tests.service.role_process import running
from tests.service.warehouse import LONG, connected, entity, make_entities, ready_entities

EVERY_TYPE = entity(
    "widgets",
    {
        "id": "bigint", "name": {"type": "text", "required": True, "index": True, "search": True}, "on": "boolean",
        "price": "numeric", "exact": {"type": "numeric", "precision": 6, "scale": 2}, "weight": "double",
        "light": "real", "day": {"type": "date", "index": True}, "at": "timestamp", "clock": "time", "ref": "uuid",
        "meta": "json", "small": "smallint", "whole": {"type": "integer", "index": True},
    },
)  # fmt: skip
OF_PARTS = entity("places", {"shop": "text", "number": "integer", "day": "date"}, key=["shop", "number", "day"])
MADE = entity("notes", {"id": "uuid", "text": "text"})
ANY_ENTITY = frozenset({"allow_header_conformance"})
"""Which methods a path has is told before anybody is known: of one entity it would tell that it is there."""
FIXED = entity("fixed", {"id": "smallint", "text": "text"}, writable=False)
KEYS = {
    "places": ["a%2Fb,1,2026-11-22", "%C3%A9,2,2026-11-23"],
    "notes": ["3f2f0d9e-6a0b-4f6c-8a0e-0c8c9d6f7a10", "3f2f0d9e-6a0b-4f6c-8a0e-0c8c9d6f7a11"],
}
OF_THE_SHORT_FORM = ("/widgets", "/places")
EXAMPLES = 120
"""For each of 53 operations in the long form: with some 4,000 of the phase "coverage" more than 10,000 requests."""


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


@pytest.fixture
async def warehouse(settings: Settings, tmp_path: Path, extent: Extent) -> AsyncIterator[Role]:
    documents = (*ready_entities(), EVERY_TYPE, OF_PARTS, MADE, FIXED)
    await make_entities(*documents)
    environment = environment_of(settings) | {"WAREHOUSE_WORKER": "false"}
    async with running("nms.warehouse.main:app", tmp_path, environment=environment) as process:
        token = mint_token(settings, ["entities:read", "entities:write"], subject="fuzz", seconds=LONG)
        async with httpx2.AsyncClient(base_url=process.address) as client:
            document = (await client.get("/openapi.json", headers={"Authorization": f"Bearer {token}"})).json()
        names = {f"/{one.name}" for one in documents}
        narrow = narrowed(document, names if extent.long else set(OF_THE_SHORT_FORM))
        yield Role(process.address, narrow, token, unjudged=ANY_ENTITY)


def narrowed(document: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """The document with the feed and these entities; nothing waits."""
    kept = {path: one for path, one in document["paths"].items()
            if path == "/data" or (f"/{path.split('/')[1]}" in names and "export" not in path)}  # fmt: skip
    made = deepcopy({**document, "paths": kept})
    data = made["paths"]["/data"]["get"]
    data["parameters"] = [one for one in data["parameters"] if one["name"] != "wait"]
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            narrow(operation, path, method)
    return dict(made)


def narrow(operation: dict[str, Any], path: str, method: str) -> None:
    """Let a write name a record that is there, by a path that its body does not contradict: chance finds none."""
    for one in operation.get("parameters", ()):
        if one["name"] == "key":
            one["schema"] = {"enum": KEYS.get(path.split("/")[1], ["1", "2", "3"])}
    if method != "post":
        operation["parameters"] = [one for one in operation.get("parameters", ()) if one["name"] != "Idempotency-Key"]
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for name in ("id", *OF_PARTS.key):
                content["schema"]["properties"].pop(name, None)


@pytest.mark.fuzz
async def test_every_entity_answers_as_its_document_says(warehouse: Role, settings: Settings, extent: Extent) -> None:
    examples, phases = extent.choose(2, EXAMPLES), PHASES if extent.long else SHORT
    known = await asyncio.to_thread(partial(fuzz, warehouse, examples, phases))
    nobody = Role(warehouse.address, warehouse.document, unjudged=ANY_ENTITY)
    unknown = await asyncio.to_thread(partial(fuzz, nobody, extent.choose(1, 15), SHORT))
    by_status: Counter[int] = Counter()
    for (_, status), count in known.statuses.items():
        by_status[status] += count
    extent.told.append(
        f"warehouse: {known.cases:,} requests with a token, {unknown.cases:,} without one, seed {SEED}, "
        f"answers {dict(sorted(by_status.items()))}, {len(known.faults) + len(unknown.faults)} faults"
    )
    refuse((*known.faults, *unknown.faults))
    assert by_status.keys() >= {200, 201, 404, 422}
    written = {method for (label, status) in known.statuses for method in [label.split()[0]] if status < 300}
    assert not extent.long or written >= {"GET", "POST", "PUT", "PATCH", "DELETE"}
    if extent.long:
        assert known.cases >= 10_000
    async with connected(settings) as person:
        assert await person.fetchval("select last_value from warehouse.sequence") > extent.choose(1, 100)

"""The inbox under generated webhooks, most of them signed: no 5xx, no answer that OpenAPI does not name, no belief."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from nms.common.settings import Settings
from tests.fuzz.api import PHASES, SEED, Role, fuzz
from tests.fuzz.extent import Extent
from tests.fuzz.hooks import SIGNED, VARIABLES, Provider, endpoints, judge, narrowed
from tests.fuzz.test_api import SHORT, environment_of
from tests.house.tree import refuse
from tests.service.inbox import declare, stored
from tests.service.role_process import running

UNJUDGED = frozenset({"positive_data_acceptance", "negative_data_rejection", "allow_header_conformance"})
"""Whether a webhook is believed is no question of its form, a body may be any bytes, and an endpoint has handshakes."""


@pytest.fixture
async def inbox(settings: Settings, tmp_path: Path, extent: Extent) -> AsyncIterator[Role]:
    await declare(*endpoints())
    environment = environment_of(settings) | VARIABLES
    async with running("nms.inbox.main:app", tmp_path, environment=environment) as process:
        async with httpx2.AsyncClient(base_url=process.address) as client:
            document = (await client.get("/openapi.json")).json()
        narrow = narrowed(document, short=not extent.long)
        yield Role(process.address, narrow, provider=Provider(), judge=judge, unjudged=UNJUDGED)


@pytest.mark.fuzz
async def test_webhooks_are_answered_as_the_document_says_and_none_is_believed_without_a_proof(
    inbox: Role, settings: Settings, extent: Extent
) -> None:
    phases = PHASES if extent.long else SHORT
    fuzzed = await asyncio.to_thread(partial(fuzz, inbox, extent.choose(30, 600), phases))
    rows = Counter(row["endpoint"] for row in await stored(settings))
    by_status: Counter[int] = Counter()
    for (_, status), count in fuzzed.statuses.items():
        by_status[status] += count
    extent.told.append(
        f"inbox: {fuzzed.cases:,} webhooks of seed {SEED}, {rows.total():,} events of {len(rows)} endpoints stored, "
        f"answers {dict(sorted(by_status.items()))}, {len(fuzzed.faults)} faults"
    )
    refuse(fuzzed.faults)
    assert by_status.keys() >= {202, 401}
    assert len(rows) >= extent.choose(2, 15)


@pytest.mark.parametrize(
    ("signed", "answer", "faults"),
    [
        ({}, b'{"id":"1"}', 1),
        ({}, b'{"ids":[]}', 1),
        ({SIGNED: "shop"}, b'{"id":"1"}', 0),
        ({}, b'{"plainToken":1}', 0),
    ],
)
def test_belief_without_a_proof_is_seen(signed: dict[str, str], answer: bytes, faults: int) -> None:
    request: Any = SimpleNamespace(method="POST", uri="http://nms/in/shop", headers=signed)
    response: Any = SimpleNamespace(headers={"content-type": ["application/json"]}, content=answer)
    seen: Any = SimpleNamespace(request=request, response=response)
    assert len(list(judge(seen))) == faults

"""cfg under generated requests, documents among them: no 5xx, and no answer that its document does not name."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from schemathesis.engine.recorder import Interaction

from nms.common.document import json_schema
from nms.common.settings import Settings
from nms.common.token import mint_token
from tests.fuzz.api import PHASES, SEED, Role, fuzz
from tests.fuzz.extent import Extent
from tests.fuzz.test_api import SHORT, environment_of
from tests.house.tree import refuse
from tests.service.role_process import running
from tests.service.warehouse import LONG

SCOPES = ("config:read", "config:write", "secrets:write", "systems:probe", "audit:read")
WITHOUT_WAITING = {
    "CFG_WATCH_SECONDS": "0",
    "CFG_WATCH_BEAT": "0.05",
    "CFG_PROBES_PER_MINUTE": "1000000",
    "CFG_ALL_PROBES_PER_MINUTE": "1000000",
}
"""A watch ends when it has told what there is, and no probe waits for its turn."""
BILLING = {"kind": "system", "name": "billing", "type": "postgres", "dsn": "postgresql://a@127.0.0.1:1/billing"}
CRM = {**BILLING, "name": "crm", "dsn": "postgresql://a@127.0.0.1:1/crm", "password": "secret://key"}
REMOTE = {
    "kind": "system",
    "name": "remote",
    "type": "rest",
    "url": "https://127.0.0.1:1/v1",
    "login": {"type": "header", "key": "secret://key"},
    "resources": {"people": {"path": "/people", "records": "@", "key": ["id"]}},
}
PIPELINE = {"kind": "pipeline", "name": "subscriptions", "source": "billing", "target": "crm",
            "datasets": [{"source": "public.subscription"}]}  # fmt: skip
ENDPOINT = {"kind": "endpoint", "name": "shop", "scheme": {"type": "bearer", "secrets": ["secret://key"]}}
ENTITY = {
    "kind": "entity",
    "name": "customers",
    "key": "id",
    "fields": {"id": {"type": "bigint"}, "name": {"type": "text"}},
}
PIPELINE_OF_SEVEN = {**PIPELINE, "batch": {"changes": 7}}
SEVERAL: tuple[dict[str, Any], ...] = (
    BILLING,
    CRM,
    REMOTE,
    {"kind": "system", "name": "broker", "type": "amqp", "dsn": "amqp://a@127.0.0.1:1/"},
    {"kind": "system", "name": "log", "type": "kafka", "servers": ["127.0.0.1:1"]},
    PIPELINE,
    ENDPOINT,
    ENTITY,
)
DOCUMENTS = (
    *SEVERAL,
    {**BILLING, "dsn": "postgresql://a@127.0.0.1:2/billing"},
    {**CRM, "password": "secret://spare"},
    {**REMOTE, "url": "https://127.0.0.1:2/v1"},
    PIPELINE_OF_SEVEN,
    {**ENDPOINT, "rate": {"limit": 5, "per": "1s"}},
    {**ENTITY, "fields": {"id": {"type": "bigint"}}},
)
KNOWN: Mapping[str, list[Any]] = {
    "kind": ["system", "pipeline", "endpoint", "entity", "planet"],
    "name": ["key", "spare", "billing", "crm", "remote", "broker", "log", "subscriptions", "shop", "customers"],
    "revision": [1, 2, 3, 2**62],
    "if-match": ["*", '"1"', '"2"', '"3"'],
}
"""What chance would never find."""
EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {"event": {"enum": ["changed", "ended"]}, "data": {"type": "string"}},
}
"""schemathesis holds each event of a stream against its schema, not the stream as the text that it is."""
CONDITIONS = frozenset({"if-match", "if-none-match"})
UNKNOWN_HEADER = "x-schemathesis-unknown-property"
"""A header that nobody knows is no fault of a request (RFC 9110, section 5.1)."""
BEYOND = re.compile(r"Input should be (less|greater) than .*\d{4}-\d\d-\d\dT\S+")
"""What is said of a time too early or too late: its description tells the years, JSON Schema cannot bound a time."""

ROTATION = "/secrets/rotation"
"""A secret may have this name, so that `Allow` names the methods of `/secrets/{name}`, too."""


def is_excused(check: str, interaction: Interaction) -> bool:
    """Whether a form cannot tell it: if a condition holds, if a time is of our years, if a header is known.

    That 412 is among the answers of the operation is for `status_code_conformance` to say.
    """
    response, headers = interaction.response, {name.lower() for name in interaction.request.headers}
    if response is None:
        return False
    if check == "allow_header_conformance":
        return interaction.request.uri.endswith(ROTATION)
    if check == "negative_data_rejection":
        return UNKNOWN_HEADER in headers and response.status_code < 300
    if check != "positive_data_acceptance":
        return False
    errors = response.json().get("errors", ()) if response.status_code == 422 else ()
    beyond = bool(errors) and all(BEYOND.fullmatch(each["detail"]) for each in errors)
    return beyond or (response.status_code == 412 and not headers.isdisjoint(CONDITIONS))


@pytest.fixture
async def cfg(settings: Settings, tmp_path: Path, extent: Extent) -> AsyncIterator[Role]:
    environment = environment_of(settings) | WITHOUT_WAITING
    async with running("nms.cfg.main:app", tmp_path, environment=environment) as process:
        token = mint_token(settings, SCOPES, subject="fuzz", seconds=LONG)
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(base_url=process.address, headers=headers) as client:
            document = (await client.get("/openapi.json")).json()
            for name in ("key", "spare"):
                assert (await client.put(f"/secrets/{name}", json={"value": "a-value-of-it"})).status_code == 200
            for documents in (SEVERAL, [PIPELINE_OF_SEVEN]):
                answer = await client.put("/changesets", json={"documents": documents})
                assert answer.status_code == 200, answer.text
        yield Role(process.address, narrowed(document, long=extent.long), token, excused=is_excused)


def narrowed(document: Mapping[str, Any], *, long: bool) -> dict[str, Any]:
    """The OpenAPI document with names, revisions and documents that there are; in the long form any document, too."""
    made = deepcopy(dict(document))
    for operation in (one for operations in made["paths"].values() for one in operations.values()):
        for one in operation.get("parameters", ()):
            if one["in"] != "query" and one["name"] in KNOWN:
                one["schema"] = {"anyOf": [{"enum": KNOWN[one["name"]]}, one["schema"]]}
    made["paths"]["/watch"]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"] = EVENT
    schemas = made["components"]["schemas"]
    known: dict[str, Any] = {"enum": list(DOCUMENTS)}
    if long:
        whole = json.loads(json.dumps(json_schema()).replace("#/$defs/", "#/components/schemas/"))
        schemas |= whole["$defs"]
        known = {"anyOf": [known, *whole["anyOf"]]}
    schemas["ChangesetBody"]["properties"]["documents"] |= {"items": known, "maxItems": 4}
    schemas["ChangesetBody"]["properties"]["base"] = {"enum": [None, 0, 1, 2]}
    schemas["RollbackBody"]["properties"] |= {"base": {"enum": [None, 0, 1]}, "revision": {"enum": KNOWN["revision"]}}
    return made


@pytest.mark.fuzz
async def test_cfg_answers_as_its_document_says(cfg: Role, extent: Extent) -> None:
    phases = PHASES if extent.long else SHORT
    with extent.telling("cfg"):
        known = await asyncio.to_thread(partial(fuzz, cfg, extent.choose(2, 100), phases))
        unknown = await asyncio.to_thread(partial(fuzz, Role(cfg.address, cfg.document), extent.choose(1, 15), SHORT))
    by_status: Counter[int] = Counter()
    for (_, status), count in known.statuses.items():
        by_status[status] += count
    extent.told.append(
        f"cfg: {known.cases:,} requests with a token, {unknown.cases:,} without one, seed {SEED}, "
        f"2xx of {sorted({label for label, status in known.statuses if status < 300})}, "
        f"answers {dict(sorted(by_status.items()))}, {len(known.faults) + len(unknown.faults)} faults"
    )
    refuse((*known.faults, *unknown.faults))
    assert by_status.keys() >= {200, 422}
    if extent.long:
        assert known.cases >= 5_000
        written = {label for label, status in known.statuses if status < 300}
        assert written >= {"PUT /changesets", "POST /rollback", "PUT /secrets/{name}", "DELETE /secrets/{name}"}


YEARS = [{"detail": "Input should be less than 2300-01-01T00:00:00+00:00"}]
ANOTHER = [*YEARS, {"detail": "Field required"}]
POSITIVE, NEGATIVE = "positive_data_acceptance", "negative_data_rejection"


@pytest.mark.parametrize(
    ("check", "header", "status", "errors", "excused"),
    [
        (POSITIVE, "If-Match", 412, [], True),
        (POSITIVE, "Accept", 412, [], False),
        (POSITIVE, "If-Match", 422, [], False),
        (POSITIVE, "Accept", 422, YEARS, True),
        (POSITIVE, "Accept", 422, ANOTHER, False),
        (NEGATIVE, "X-Schemathesis-Unknown-Property", 200, [], True),
        (NEGATIVE, "X-Schemathesis-Unknown-Property", 500, [], False),
        (NEGATIVE, "If-Match", 200, [], False),
        ("allow_header_conformance", "Accept", 405, [], False),
        ("status_code_conformance", "If-Match", 412, [], False),
        ("not_a_server_error", "X-Schemathesis-Unknown-Property", 200, [], False),
    ],
)
def test_nothing_else_is_excused(check: str, header: str, status: int, errors: list[Any], *, excused: bool) -> None:
    response = SimpleNamespace(status_code=status, json=lambda: {"errors": errors})
    request = SimpleNamespace(headers={header: ["1"]}, uri="http://127.0.0.1/secrets")
    seen: Any = SimpleNamespace(request=request, response=response)
    assert is_excused(check, seen) is excused

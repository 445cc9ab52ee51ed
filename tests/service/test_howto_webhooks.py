"""What docs/how-to/receive-webhooks.md shows is so: its documents receive, its shell signs."""

import asyncio
import re
import shutil
import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import httpx2
import pytest

from nms.cfg.text import read_drafts
from nms.common.settings import Settings
from tests.docs.pages import blocks
from tests.house.tree import ROOT, File
from tests.service.inbox import declare, receiving, stored
from tests.service.web_client import problem_of
from tests.unit.webhooks import PROVIDERS, SECRET, WHSEC, Call, b64, mac

PATH = "docs/how-to/receive-webhooks.md"
PAGE = File(PATH, (ROOT / PATH).read_text())
LOGINS = {"basic": f"Basic {b64(f'partner:{SECRET}'.encode())}", "bearer": f"Bearer {SECRET}"}
LISTED = {"graph": b'{"value": [{"id": 1}]}', "batches": b'{"data": {"events": [{"event_id": 1, "kind": "a"}]}}'}
CLOUD = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/a", "ce-type": "b"}


def documents() -> list[dict[str, Any]]:
    """The documents of the page; of those of one name the last."""
    found = [draft.data for block in blocks(PAGE, "yaml") for draft in read_drafts(block, PATH)]
    return list({one["name"]: one for one in found}.values())


def secret_of(document: Mapping[str, Any]) -> str:
    return WHSEC if document["scheme"]["type"] == "standard" else SECRET


def request_of(document: Mapping[str, Any]) -> tuple[str, bytes, dict[str, str]]:
    """Path, body and headers as the provider of an endpoint sends them."""
    scheme, name = document["scheme"], document["name"]
    kind = {"standard": "standard-v1", "hubspot": f"hubspot-{scheme.get('version', 'v3')}"}.get(
        scheme["type"], scheme["type"]
    )
    path = f"/in/{name}/{SECRET}" if kind == "path" else f"/in/{name}"
    body = LISTED.get(name, b'{"id": "1", "type": "a", "event_id": "1"}')
    if kind in LOGINS:
        return path, body, {"Authorization": LOGINS[kind], "Content-Type": "application/json", **CLOUD}
    if kind == "hmac":
        now = str(int(time.time()))
        signature = mac(SECRET.encode(), f"1.{now}.".encode() + body).hex()
        return path, body, {"X-Timestamp": now, "X-Signature": f"sha256={signature}", "X-Event-Id": "1"}
    if kind in ("path", "none"):
        return path, body, {}
    provider = PROVIDERS[kind]
    body = provider.call.body if kind in ("mandrill", "twilio") else body
    call = Call(secret_of(document), url=document.get("url", "http://nms" + path), body=body, time=int(time.time()))
    headers = {header.lower(): value for header, value in provider.sign(call)}
    if scheme.get("headers") == "svix":
        headers = {header.replace("webhook-", "svix-"): value for header, value in headers.items()}
    ids = {"github": {"X-GitHub-Delivery": "1"}, "shopify": {"X-Shopify-Event-Id": "1"}}
    return path, body, headers | ids.get(kind, {})


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for document in documents():
        for reference in document["scheme"].get("secrets", ()):
            monkeypatch.setenv(reference.removeprefix("env://"), secret_of(document))
    monkeypatch.setenv("META_VERIFY_TOKEN", "a-word")


@pytest.mark.usefixtures("secrets")
async def test_every_document_of_the_page_receives_what_its_provider_sends(settings: Settings) -> None:
    await declare(*documents())
    async with receiving(settings) as client:
        for document in documents():
            path, body, headers = request_of(document)
            answer = await client.post(path, content=body, headers=headers)
            if document["name"] == "open":
                problem_of(answer, 503, "endpoint-unready")
                continue
            assert answer.status_code == 202, (document["name"], answer.text)
            assert (await client.post(path, content=body, headers=headers)).status_code == 200
        received = {row["endpoint"] for row in await stored(settings)}
        assert received == {document["name"] for document in documents()} - {"open"}
        asked = {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": "a-word"}
        assert (await client.get("/in/meta", params=asked)).text == "1"
        await check_the_shell(client)


async def check_the_shell(client: httpx2.AsyncClient) -> None:
    """The shell of the page, with a curl that only says what it would send."""
    block = next(one for one in blocks(PAGE, "sh") if "curl -i" in one)
    assert shutil.which("openssl"), "the page signs with openssl"
    given = re.sub("^SHOP_HOOK=.*", f"SHOP_HOOK={SECRET}", block, flags=re.M)
    done = await asyncio.create_subprocess_exec(
        "bash", "-c", f"curl() {{ printf '%s\\0' \"$@\"; }}\n{given}", stdout=asyncio.subprocess.PIPE
    )
    words = (await done.communicate())[0].decode().split("\0")[:-1]
    headers = dict(value.split(": ", 1) for flag, value in pairwise(words) if flag == "-H")
    answer = await client.post("/in/shop", content=words[-1].encode(), headers={**headers, "X-GitHub-Delivery": "2"})
    assert answer.status_code == 202, answer.text

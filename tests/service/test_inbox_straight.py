"""What comes whole is answered past ASGI: as all else is, byte for byte, and stored the same."""

import asyncio
import gzip
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nms.common.document import EndpointDocument, parse_document
from nms.common.settings import Settings
from nms.inbox.endpoint import Endpoint
from tests.service.inbox import SECRET, SHOP, declare, signed, stored
from tests.service.role_process import UVICORN, running
from tests.service.test_roles import dsns_of
from tests.waiting import PATIENCE

OWN_ID = "an-id-of-my-own"
DEEP = {**SHOP, "name": "deep", "depth": 1}
OWN = {**SHOP, "name": "webhook", "id": {"path": "id"}, "event": {"path": "kind"}}
TYPED = {**SHOP, "name": "typed", "content_types": ["application/json"]}
BODY = b'{"id": "ID", "kind": "paid", "more": [[1]]}'
# What is sent, where, with which lines more: {ID} is another one each time.
REQUESTS: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "genuine": ("/in/shop", BODY, {}),
    "no body": ("/in/shop", b"", {}),
    "at the plain address": ("/webhook", BODY, {}),
    "no id where it should stand": ("/webhook", b'{"kind": "paid"}', {}),
    "no JSON": ("/webhook", b"{", {}),
    "with a query": ("/in/shop?a=1", BODY, {}),
    "with a tail": ("/in/shop/x", BODY, {}),
    "percent-encoded": ("/in/sh%6fp", BODY, {}),
    "unknown": ("/in/other", BODY, {}),
    "forged": ("/in/shop", BODY, {"X-Hub-Signature-256": f"sha256={'0' * 64}"}),
    "unsigned": ("/in/shop", BODY, {"X-Hub-Signature-256": ""}),
    "no id": ("/in/shop", BODY, {"X-GitHub-Delivery": ""}),
    "packed": ("/in/shop", BODY, {"Content-Encoding": "gzip"}),
    "too deep": ("/in/deep", BODY, {}),
    "of a kind": ("/in/typed", BODY, {}),
    "of another kind": ("/in/typed", BODY, {"Content-Type": "text/plain"}),
    "with a name of its own": ("/in/shop", BODY, {"X-Request-ID": OWN_ID}),
    "larger than is taken": ("/in/shop", b" " * ((1 << 20) + 1), {}),
}
STRAIGHT: list[Mapping[str, Any]] = [SHOP, OWN]
CLOSER: list[Mapping[str, Any]] = [DEEP, TYPED]


def request_of(name: str, identity: str) -> bytes:
    target, body, more = REQUESTS[name]
    return _request(target, body.replace(b"ID", identity.encode()), identity, more)


def _request(target: str, body: bytes, identity: str, more: Mapping[str, str]) -> bytes:
    sent = gzip.compress(body) if "Content-Encoding" in more else body
    headers = {"Host": "nms", **signed(body, identity), "Content-Length": str(len(sent)), **more}
    lines = [f"POST {target} HTTP/1.1", *(f"{header}: {value}" for header, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + sent


async def ask(address: str, request: bytes) -> tuple[int, dict[str, str], str]:
    """The status, headers and body of the answer to a request; ids and times are alike."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
    try:
        writer.write(request)
        async with asyncio.timeout(PATIENCE):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
            body = (await reader.readexactly(int(lines["content-length"]))).decode()
    finally:
        writer.close()
    lines.pop("connection", "")
    for name in ("date", "x-request-id"):
        if lines[name] != OWN_ID:
            lines[name] = name
    alike = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{16}", "ID", body)
    return int(head.split(" ")[1]), lines, alike


def both(request: bytes) -> tuple[bytes, bytes]:
    """A request that may be answered straight, and one that may not, for its connection is not kept."""
    head, _, body = request.partition(b"\r\n\r\n")
    return request, head + b"\r\nConnection: close\r\n\r\n" + body


async def test_the_straight_way_answers_as_the_ordinary_one(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare(*STRAIGHT, *CLOSER)
    environment = {**dsns_of(settings), "SHOP_HOOK": SECRET}
    async with running("nms.inbox.main:app", tmp_path, server=UVICORN, environment=environment) as role:
        taken: list[str] = []
        for name in REQUESTS:
            pairs = zip(both(request_of(name, f"{name}-1")), both(request_of(name, f"{name}-2")), strict=True)
            (straight, _), (_, ordinary) = pairs
            answers = [[await ask(role.address, request) for _ in range(2)] for request in (straight, ordinary)]
            assert answers[0] == answers[1], name
            told = [status for status, _, _ in answers[0]]
            taken += [name] if told == [202, 200] else []
            assert told in ([202, 200], [400] * 2, [401] * 2, [404] * 2, [413] * 2, [415] * 2), name
        known = [await ask(role.address, request) for request in both(_request("/in/shop", b"[]", "genuine-1", {}))]
        assert known[0] == known[1]
        assert known[0][0] == 409
        assert "Traceback" not in role.log
    assert len(await stored(settings)) == 2 * len(taken)
    assert {"genuine", "at the plain address", "packed"} <= set(taken)


def test_only_endpoints_that_ask_for_nothing_more_are_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    more: dict[str, Mapping[str, Any]] = {
        "a list": {"items": "events"},
        "CloudEvents": {"format": "cloudevents"},
        "a rate": {"rate": {"limit": 1, "per": 1}},
        "an address": {"scheme": {"type": "hubspot", "version": "v3", "secrets": ["env://SHOP_HOOK"]}},
        "a login": {"scheme": {"type": "bearer", "secrets": ["env://SHOP_HOOK"]}},
    }
    assert all(map(_is_straight, STRAIGHT))
    assert not any(map(_is_straight, CLOSER))
    assert [name for name, told in more.items() if _is_straight({**SHOP, **told})] == []


def _is_straight(document: Mapping[str, Any]) -> bool:
    parsed = parse_document(document)
    assert isinstance(parsed, EndpointDocument)
    return Endpoint.of(parsed, dev=False).is_straight

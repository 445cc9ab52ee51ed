"""What strangers do to the inbox over raw sockets: each answers 4xx or closes, and good requests go on."""

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from nms.common.settings import Settings
from tests.service.inbox import SECRET, SHOP, declare, stored
from tests.service.raw_requests import Raw, accepted, body_of, hook, malformed, oversized
from tests.service.role_process import GUNICORN, UVICORN, RoleProcess, running
from tests.service.test_roles import WORKERS, dsns_of, get
from tests.waiting import PATIENCE, eventually

SERVERS = {"uvicorn": UVICORN, "gunicorn": (*GUNICORN, WORKERS[0])}
Start = Callable[..., AbstractAsyncContextManager[RoleProcess]]
# Long enough for a whole request on a machine that stands still for a moment; LONG is beyond any test.
SHORT = {"HTTP_HEAD_SECONDS": "3", "HTTP_BODY_SECONDS": "3"}
LONG = {"HTTP_HEAD_SECONDS": "300", "HTTP_BODY_SECONDS": "300"}
HEAD, BODY = hook("slow")[: -len(body_of("slow"))], body_of("slow")
CHUNKED = hook("slow", "Transfer-Encoding: chunked", sized=False)
# What is sent before nothing more comes -> the statuses before the end.
SLOW: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "nothing": (b"", ()),
    "empty lines": (b"\r\n\r\n", ()),
    "a method": (b"POST", (408,)),
    "half a head": (HEAD[:60], (408,)),
    "no end of the head": (HEAD[:-2], (408,)),
    "no body": (HEAD, (408,)),
    "half a body": (HEAD + BODY[:5], (408,)),
    "no chunk": (CHUNKED, (408,)),
    "half a chunk": (CHUNKED + b"ff\r\nabc", (408,)),
    "no last chunk": (CHUNKED + b"3\r\nabc\r\n", (408,)),
    "half a trailer": (CHUNKED + b"3\r\nabc\r\n0\r\nX-One", (408,)),
    "expecting, no body": (HEAD[:-2] + b"Expect: 100-continue\r\n\r\n", (100, 408)),
}


@pytest.fixture
async def start(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start the inbox with more in its environment."""
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare(SHOP)

    @asynccontextmanager
    async def started(server: Sequence[str] = UVICORN, **environment: str) -> AsyncIterator[RoleProcess]:
        given = {**dsns_of(settings), "SHOP_HOOK": SECRET, **environment}
        async with running("nms.inbox.main:app", tmp_path, server=server, environment=given) as role:
            yield role
            assert "Traceback" not in role.log
            assert '"ERROR"' not in role.log

    return started


async def connect(role: RoleProcess, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(role.address.rpartition(":")[2]))
    writer.write(data)
    return reader, writer


async def hear(reader: asyncio.StreamReader, most: int = 1000) -> tuple[tuple[int, ...], bool]:
    """The statuses that come until the end, or until there are so many; and whether the end came."""
    heard = b""
    async with asyncio.timeout(PATIENCE):
        while len(found := re.findall(rb"HTTP/1\.1 (\d{3}) ", heard)) < most:
            try:
                piece = await reader.read(1 << 16)
            except ConnectionError:
                piece = b""
            if not piece:
                return tuple(int(status) for status in found), True
            heard += piece
    return tuple(int(status) for status in found), False


async def ask(role: RoleProcess, data: bytes, most: int = 1000) -> tuple[tuple[int, ...], bool]:
    reader, writer = await connect(role, data)
    try:
        return await hear(reader, most)
    finally:
        writer.close()


def reading_nothing(role: RoleProcess) -> socket.socket:
    """A caller who asks for more than the kernel keeps for him, and reads nothing of it."""
    own = socket.create_connection(("127.0.0.1", int(role.address.rpartition(":")[2])))
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    own.sendall(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: nms\r\n\r\n" * 16)
    return own


async def ask_twice(role: RoleProcess, first: bytes, second: bytes) -> tuple[tuple[int, ...], bool]:
    """Send the second when the first is answered."""
    reader, writer = await connect(role, first)
    assert await hear(reader, 1) == ((202,), False)
    writer.write(second)
    try:
        return await hear(reader)
    finally:
        writer.close()


async def who_came(settings: Settings) -> list[str]:
    return sorted(json.loads(row["body"])["who"] for row in await stored(settings))


async def refused(role: RoleProcess, code: str) -> int:
    told = re.search(rf'nms_http_refused_total{{code="{code}"}} (\d+)', (await get(role, "/metrics")).text)
    return int(told[1]) if told else 0


@pytest.mark.parametrize("kind", SERVERS)
async def test_what_is_ambiguous_or_oversized_is_refused_and_nothing_hidden_is_stored(
    kind: str, start: Start, settings: Settings
) -> None:
    requests = [*malformed(), *oversized(), *accepted()]
    assert len(requests) > 180
    together = asyncio.Semaphore(16)

    async def seen(raw: Raw) -> tuple[str, tuple[int, ...], bool]:
        async with together:
            statuses, ended = await ask(role, raw.data, 1000 if raw.closes else len(raw.statuses))
        return raw.name, statuses, ended

    async with start(SERVERS[kind]) as role:
        found = await asyncio.gather(*(seen(raw) for raw in requests))
        assert await refused(role, "http-malformed") >= len(malformed())
    assert found == [(raw.name, raw.statuses, raw.closes) for raw in requests]
    assert await who_came(settings) == sorted(who for raw in requests for who in raw.stored)


async def test_who_sends_or_reads_too_slowly_is_closed(start: Start, settings: Settings) -> None:
    async def drip(first: bytes, piece: bytes) -> tuple[int, ...]:
        """A piece now and then, which is progress, and not enough."""
        reader, writer = await connect(role, first)
        heard = asyncio.ensure_future(hear(reader))
        while not (await asyncio.wait({heard}, timeout=0.05))[0]:
            writer.write(piece)
        writer.close()
        return (await heard)[0]

    async with start((*UVICORN, "--timeout-keep-alive", "1"), **SHORT) as role:
        own = reading_nothing(role)
        asked = [ask(role, data) for data, _ in SLOW.values()]
        behind = [ask_twice(role, hook("first"), HEAD[:60]), ask_twice(role, hook("second"), HEAD + BODY[:5])]
        dripped = [drip(b"", b"\r\n"), drip(HEAD[:-2], b"X"), drip(CHUNKED, b"1\r\na\r\n")]
        answers, later, drips = await asyncio.gather(*(asyncio.gather(*some) for some in (asked, behind, dripped)))
        await eventually(lambda: refused(role, "dropped"))
        own.close()
    assert answers == [(statuses, True) for _, statuses in SLOW.values()]
    assert later == [((408,), True)] * 2
    assert drips == [(), (408,), (408,)]
    assert await who_came(settings) == ["first", "second"]


async def test_who_closes_his_half_in_the_middle_leaves_nothing_and_a_refusal_says_what_to_do(
    start: Start, settings: Settings
) -> None:
    async with start() as role:
        for data in (HEAD[:60], HEAD, HEAD + BODY[:5], CHUNKED + b"3\r\nabc\r\n"):
            reader, writer = await connect(role, data)
            writer.write_eof()
            assert (await hear(reader))[1]
            writer.close()
        assert await ask(role, hook("good"), 1) == ((202,), False)
        reader, writer = await connect(role, hook("one", "X-One : 1"))
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert b"content-type: application/problem+json" in head
    assert (json.loads(body)["code"], json.loads(body)["status"]) == ("http-malformed", 400)
    assert await who_came(settings) == ["good"]


async def test_when_too_many_or_too_much_came_the_slowest_go_and_good_requests_are_answered(
    start: Start, settings: Settings
) -> None:
    head = hook("slow", "Content-Length: 1000000", sized=False)
    async with start(HTTP_CONNECTIONS="64", HTTP_BODIES=str(4 << 20), **LONG) as role:
        crowd = [await connect(role, HEAD[:60] if number % 2 else HEAD) for number in range(300)]
        for number in range(20):
            assert await ask(role, hook(f"good-{number}"), 1) == ((202,), False)
        dropped = await refused(role, "dropped")
        assert dropped >= 300 - 64
        crowd += [await connect(role, head + b"a" * 900_000) for _ in range(30)]
        await eventually(lambda: _at_least(role, dropped + 25))
        assert await ask(role, hook("good"), 1) == ((202,), False)
        for _, writer in crowd:
            writer.close()
    assert len(await who_came(settings)) == 21


async def _at_least(role: RoleProcess, count: int) -> bool:
    return await refused(role, "dropped") >= count


async def test_slow_crowds_take_little_of_the_rate_of_good_requests(start: Start, settings: Settings) -> None:
    async def seconds(round_: str) -> float:
        async def send(line: int) -> None:
            reader, writer = await connect(role)
            for number in range(25):
                writer.write(hook(f"{round_}-{line}-{number}"))
                assert await hear(reader, 1) == ((202,), False)
            writer.close()

        began = time.monotonic()
        await asyncio.gather(*(send(line) for line in range(4)))
        return time.monotonic() - began

    async with start() as role:
        await seconds("warm")
        ratios = []
        for pair in range(5):
            calm = await seconds(f"calm-{pair}")
            crowd = [await connect(role, HEAD[:60] if number % 2 else HEAD) for number in range(200)]
            ratios.append(calm / await seconds(f"crowd-{pair}"))
            for _, writer in crowd:
                writer.close()
            if max(ratios) > 0.9:
                break
    # A busy machine disturbs one of a pair now and then; `make abuse` judges medians.
    assert max(ratios) > 0.7, ratios

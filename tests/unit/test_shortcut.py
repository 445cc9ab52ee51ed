"""Whole requests that an app answers without being called: the same bytes come back as the ordinary way gives."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from nms.common.shortcut import Mounted, Whole
from nms.common.strict_http import StrictHttp
from tests.unit.test_strict_http import Line

HEAD = b"POST /short HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\n"
SHORT = b"HTTP/1.1 200 OK\r\nby: short\r\ncontent-length: 3\r\n\r\n"
GET = b"GET /short HTTP/1.1\r\nHost: here\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nby: %b\r\ncontent-length: 0\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\nby: long\r\ncontent-length: 3\r\n\r\n"


class Desk:
    """An app that has a shortcut to `/short`; what the shortcut took waits until it is answered or handed back."""

    def __init__(self) -> None:
        self.taken: list[Whole] = []
        self.is_open = True
        self.shortcut = self

    def leads(self, method: bytes, target: bytes) -> bool:
        return (method, target) in ((b"POST", b"/short"), (b"GET", b"/short"))

    def take(self, whole: Whole, target: bytes) -> bool:
        assert target == b"/short"
        if self.is_open:
            self.taken.append(whole)
        return self.is_open

    def answer(self) -> None:
        whole = self.taken.pop(0)
        whole.answer(200, b"by: short\r\ncontent-length: %d\r\n" % len(whole.body), whole.body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if message["type"] == "http.disconnect":
                return
            if not message["more_body"]:
                break
        assert (scope["path"], scope["raw_path"]) == ("/short", b"/short")
        assert scope["method"] == ("POST" if body else "GET")
        assert dict(scope["headers"])[b"host"] == b"here"
        headers = [(b"by", b"long"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
async def caller(desk: Desk, line: Line) -> StrictHttp:
    return connect(desk, line)


def connect(app: Any, line: Line) -> StrictHttp:
    config = Config(app, http=StrictHttp, log_config=None, access_log=False)
    config.load()
    protocol = StrictHttp(config, ServerState(), {})
    protocol.connection_made(line)
    return protocol


def is_open(line: Line) -> bool:
    return not line.is_ended


async def rest() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_comes_whole_is_taken(caller: StrictHttp, desk: Desk, line: Line) -> None:
    for body in (b"abc", b"def"):
        caller.data_received(HEAD + body)
        assert caller.owes is False
        desk.answer()
        assert caller.owes is True
    assert line.written == SHORT + b"abc" + SHORT + b"def"
    assert caller.server_state.total_requests == 2
    caller.connection_lost(None)


@pytest.mark.parametrize("at", range(1, len(HEAD) + 3))
async def test_what_comes_in_two_pieces_is_answered_the_same(
    caller: StrictHttp, desk: Desk, line: Line, at: int
) -> None:
    request = HEAD + b"abc"
    caller.data_received(request[:at])
    caller.data_received(request[at:])
    await rest()
    if at < len(HEAD):
        desk.answer()
    assert line.written == (SHORT if at < len(HEAD) else LONG) + b"abc"
    caller.connection_lost(None)


@pytest.mark.parametrize("at", range(1, len(GET), 7))
async def test_what_has_no_body_is_taken_at_the_end_of_its_head(
    caller: StrictHttp, desk: Desk, line: Line, at: int
) -> None:
    for _ in range(2):
        caller.data_received(GET[:at])
        assert desk.taken == []
        caller.data_received(GET[at:])
        assert [whole.scope["method"] for whole in desk.taken] == ["GET"]
        desk.answer()
    caller.data_received(GET + GET + GET)
    desk.answer()
    await rest()
    assert line.written == EMPTY % b"short" * 3 + EMPTY % b"long" * 2
    caller.connection_lost(None)


async def test_a_method_that_is_not_led_to_goes_the_ordinary_way(caller: StrictHttp, desk: Desk) -> None:
    caller.data_received(GET.replace(b"GET", b"PUT"))
    assert desk.taken == []
    assert len(caller.tasks) == 1
    caller.connection_lost(None)
    await rest()


async def test_a_server_waits_for_what_answers_a_request(caller: StrictHttp, desk: Desk, line: Line) -> None:
    may = asyncio.Event()

    async def answer() -> None:
        await may.wait()
        desk.answer()

    caller.data_received(GET)
    desk.taken[0].run(answer())
    [task] = caller.tasks
    caller.shutdown()
    may.set()
    await task
    await rest()
    assert line.written == EMPTY[:-2] % b"short" + b"connection: close\r\n\r\n"
    assert line.is_ended
    assert caller.tasks == set()
    caller.connection_lost(None)


@pytest.mark.parametrize("late", [False, True])
async def test_what_is_not_taken_goes_the_ordinary_way(caller: StrictHttp, desk: Desk, line: Line, late: bool) -> None:
    desk.is_open = late
    caller.data_received(HEAD + b"abc")
    if late:
        desk.taken.pop().hand_back()
    await rest()
    desk.is_open = True
    caller.data_received(HEAD + b"def")
    desk.answer()
    assert line.written == LONG + b"abc" + SHORT + b"def"
    caller.connection_lost(None)


@pytest.mark.parametrize(
    "act", [Desk.answer, lambda desk: desk.taken.pop(0).hand_back()], ids=["answered", "handed back"]
)
async def test_requests_behind_one_wait_for_its_answer(
    caller: StrictHttp, desk: Desk, line: Line, act: Callable[[Desk], None]
) -> None:
    caller.data_received(HEAD + b"abc" + HEAD + b"def" + HEAD[:30])
    await rest()
    assert line.written == b""
    act(desk)
    await rest()
    caller.data_received(HEAD[30:] + b"ghi")
    desk.answer()
    assert line.written == (SHORT if act is Desk.answer else LONG) + b"abc" + LONG + b"def" + SHORT + b"ghi"
    caller.connection_lost(None)


@pytest.mark.parametrize(
    "more",
    [b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Transfer-Encoding: chunked\r\n"],
)
async def test_what_asks_for_more_goes_the_ordinary_way(
    caller: StrictHttp, desk: Desk, line: Line, more: bytes
) -> None:
    head = HEAD.replace(b"Content-Length: 3\r\n", b"") if b"chunked" in more else HEAD
    caller.data_received(head[:-2] + more + b"\r\n" + (b"3\r\nabc\r\n0\r\n\r\n" if b"chunked" in more else b"abc"))
    await rest()
    end = more.lower() if b"close" in more else b""
    assert line.written.endswith(LONG[:-2] + end + b"\r\nabc")
    assert desk.taken == []
    caller.connection_lost(None)


async def test_an_upgrade_that_nobody_offers_changes_nothing(caller: StrictHttp, desk: Desk, line: Line) -> None:
    caller.data_received(HEAD[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\nabc")
    desk.answer()
    assert line.written == SHORT + b"abc"
    caller.connection_lost(None)


async def test_upgrades_that_nobody_offers_may_stand_in_line(caller: StrictHttp, desk: Desk, line: Line) -> None:
    asking = HEAD[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    caller.data_received(asking + b"abc" + HEAD + b"def" + asking + b"ghi" + asking[:40])
    caller.data_received(asking[40:] + b"jkl")
    desk.answer()
    await rest()
    assert line.written == SHORT + b"abc" + LONG + b"def" + LONG + b"ghi" + LONG + b"jkl"
    caller.connection_lost(None)


async def test_who_reads_no_answer_is_answered_no_further(caller: StrictHttp, desk: Desk, line: Line) -> None:
    caller.pause_writing()
    caller.data_received(HEAD + b"abc")
    await rest()
    assert (desk.taken, line.written) == ([], b"")
    caller.resume_writing()
    await rest()
    assert line.written == LONG + b"abc"
    caller.connection_lost(None)


async def test_a_caller_who_left_is_not_written_to(caller: StrictHttp, desk: Desk, line: Line) -> None:
    caller.data_received(HEAD + b"abc")
    caller.connection_lost(None)
    desk.taken[0].hand_back()
    desk.answer()
    await rest()
    assert line.written == b""


async def test_a_server_that_stops_answers_what_it_took_and_closes(caller: StrictHttp, desk: Desk, line: Line) -> None:
    caller.data_received(HEAD + b"abc")
    caller.shutdown()
    assert is_open(line)
    desk.answer()
    assert line.written == SHORT[:-2] + b"connection: close\r\n\r\nabc"
    assert line.is_ended
    caller.connection_lost(None)


async def test_who_sends_nothing_more_is_let_go(caller: StrictHttp, desk: Desk, line: Line) -> None:
    caller.data_received(HEAD + b"abc")
    desk.answer()
    caller.look(caller.since + caller.timeout_keep_alive - 1)
    assert is_open(line)
    caller.look(caller.since + caller.timeout_keep_alive + 1)
    assert line.is_ended
    caller.connection_lost(None)


async def test_an_access_log_has_its_line(desk: Desk, line: Line, caplog: pytest.LogCaptureFixture) -> None:
    caller = connect(desk, line)
    caller.access_log, caller.access_logger = True, logging.getLogger("tests.access")
    with caplog.at_level("INFO", "tests.access"):
        caller.data_received(HEAD + b"abc")
        desk.answer()
    assert [record.getMessage() for record in caplog.records] == [' - "POST /short HTTP/1.1" 200']
    caller.connection_lost(None)


async def test_an_access_log_names_the_caller_that_a_proxy_tells_of(
    desk: Desk, line: Line, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "get_extra_info", {"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 1)}.get)
    caller = connect(desk, line)
    caller.access_log, caller.access_logger = True, logging.getLogger("tests.access")
    with caplog.at_level("INFO", "tests.access"):
        caller.data_received(HEAD[:-2] + b"X-Forwarded-For: 203.0.113.9\r\n\r\nabc")
        for whole in desk.taken:
            whole.answer(200, b"", b"")
        await rest()
    assert [record.getMessage() for record in caplog.records] == ['203.0.113.9:0 - "POST /short HTTP/1.1" 200']
    caller.connection_lost(None)


async def test_apps_under_names_are_found_and_others_are_not(desk: Desk) -> None:
    mounted = Mounted({"a": desk, "b": object()})
    assert mounted.leads(b"POST", b"/a/short")
    for target in (b"/a", b"/a/", b"/b/short", b"/c/short", b"/short", b"*", b"", b"http://here/a/short"):
        assert not mounted.leads(b"POST", target)
    whole = Whole(cast(Any, None), {}, b"/a/short", b"")
    assert mounted.take(whole, b"/a/short")
    assert desk.taken == [whole]

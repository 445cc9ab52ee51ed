"""How long a caller may take: the protocol is asked at moments of our choice."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from nms.common.strict_http import StrictHttp

HEAD = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 600\r\n\r\n"


class Line(asyncio.Transport):
    """A connection that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.is_ended = b"", False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.is_ended

    def pause_reading(self) -> None:
        """What is given to the protocol comes all the same."""

    def resume_reading(self) -> None:
        """The same."""

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.is_ended = True


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
async def caller(line: Line, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StrictHttp]:
    for name, value in {"HEAD_SECONDS": "10", "BODY_SECONDS": "20", "RATE": "1"}.items():
        monkeypatch.setenv(f"HTTP_{name}", value)
    config = Config(app, http=StrictHttp, log_config=None)
    config.load()
    protocol = StrictHttp(config, ServerState(), {})
    protocol.connection_made(line)
    yield protocol
    protocol.connection_lost(None)


async def test_who_sends_slowly_but_steadily_is_waited_for(caller: StrictHttp, line: Line) -> None:
    caller.data_received(HEAD)
    now = caller.since
    for _ in range(29):
        now += 19
        caller.look(now)
        caller.data_received(b"a" * 20)
    caller.look(now + 19)
    assert not line.is_ended


async def test_what_came_at_once_earns_no_long_pause(caller: StrictHttp, line: Line) -> None:
    caller.data_received(HEAD + b"a" * 599)
    caller.look(caller.since + 15)
    caller.look(caller.since + 34)
    assert not line.is_ended
    caller.look(caller.since + 36)
    assert line.written.startswith(b"HTTP/1.1 408 ")
    assert line.is_ended


async def test_a_head_has_one_time_for_all_of_it(caller: StrictHttp, line: Line) -> None:
    caller.data_received(HEAD[:10])
    began = caller.since
    for second in range(10):
        caller.look(began + second)
        caller.data_received(HEAD[10 + second : 11 + second])
    assert not line.is_ended
    caller.look(began + 11)
    assert line.written.startswith(b"HTTP/1.1 408 ")


async def test_a_whole_request_may_take_its_time(caller: StrictHttp, line: Line) -> None:
    caller.data_received(HEAD + b"a" * 600)
    caller.look(caller.since + 3600)
    assert (line.written, line.is_ended, caller.owes) == (b"", False, False)

"""Reads past ASGI: what comes to nothing there is told on the ordinary way, and not tried once more."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from nms.common.guard import Caller
from nms.common.shortcut import Whole, fill_scope
from nms.warehouse.entities import Served
from nms.warehouse.front import Front
from nms.warehouse.problems import ReadTooLong
from nms.warehouse.reading import Answer, ListRequest
from tests.service.warehouse import entity

POSTS = Served.of(entity("posts", {"id": "bigint"}), "1-1")
CALLER = Caller("ada", "1", frozenset({"entities:read"}), 0.0)


class Reading:
    """A database that is too slow."""

    def __init__(self) -> None:
        self.asked: list[ListRequest] = []

    async def read_list(self, asked: ListRequest) -> Answer:
        self.asked.append(asked)
        raise ReadTooLong("It took longer than it may.", limit=1)


class Requests:
    """The layers behind: what they are given to serve is kept."""

    def __init__(self) -> None:
        self.served: list[Any] = []

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        self.served.append(app)


class Line:
    """A connection; what is handed back is kept."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.tasks: set[asyncio.Task[None]] = set()
        self.begun: list[Whole] = []

    def write(self, whole: Whole, status: bytes, headers: bytes, body: bytes) -> None:
        raise AssertionError("nothing was read")

    def begin(self, whole: Whole) -> None:
        self.begun.append(whole)

    def ask(self, target: bytes, *more: tuple[bytes, bytes]) -> Whole:
        headers = [(b"authorization", b"Bearer known"), *more]
        scope = {"type": "http", "method": "GET", "root_path": "/dwh", "headers": headers}
        return Whole(self, scope, target, b"")


async def test_what_failed_is_told_and_not_tried_again() -> None:
    reading, requests, line = Reading(), Requests(), Line()
    front = _front(reading, requests)
    whole = line.ask(b"/posts?limit=1")
    assert front.take(whole, whole.target)
    await asyncio.gather(*line.tasks)
    assert line.begun == [whole]
    await front(fill_scope(whole), cast(Any, None), cast(Any, None))
    assert len(requests.served) == 1
    assert [(one.entity, one.path, one.query) for one in reading.asked] == [(POSTS, "/dwh/posts", b"limit=1")]


@pytest.mark.parametrize(
    "ask",
    [
        lambda line: line.ask(b"/tasks"),
        lambda line: line.ask(b"/posts/export"),
        lambda line: line.ask(b"/others"),
        lambda line: line.ask(b"/posts/1/comments"),
        lambda line: line.ask(b"/posts/\xff"),
        lambda line: line.ask(b"/posts", (b"authorization", b"Bearer known")),
        lambda line: Whole(line, {"headers": [(b"authorization", b"Bearer new")], "root_path": ""}, b"/posts", b""),
        lambda line: Whole(line, {"headers": [(b"authorization", b"Bearer known")], "root_path": ""}, b"/posts", b"{}"),
    ],
    ids=["a route", "an export", "not there", "no child", "no ASCII", "two tokens", "a new token", "a body"],
)
async def test_what_is_no_plain_read_goes_the_ordinary_way(ask: Callable[[Line], Whole]) -> None:
    whole = ask(Line())
    assert not _front(Reading(), Requests()).take(whole, whole.target)


def _front(reading: Reading, requests: Requests) -> Front:
    state = SimpleNamespace(reading=reading, entities={"posts": POSTS})
    verifier = SimpleNamespace(recall={b"Bearer known": CALLER}.get)
    return Front(cast(Any, SimpleNamespace(state=state, verifier=verifier)), cast(Any, requests))

"""The outermost layer of every role, pure ASGI: request id, access log, metrics, body limit, unforeseen errors."""

import logging
import re
import time
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nms.common import log
from nms.common.metrics import RequestMeter
from nms.common.problem import Problem

NO_ROUTE = "(none)"
NO_SNIFFING = (b"x-content-type-options", b"nosniff")
QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: counted, but logged only when they fail."""
PATH_TOLD = "nms.path_told"
"""Where a layer leaves in the scope what the log may tell of the path, when not all of it."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_log = logging.getLogger("nms.access")


class ContentTooLarge(Problem):
    """The body is larger than this role takes."""

    status, code, title = 413, "content-too-large", "The body is too large"
    remedy = "Send it in smaller parts."
    headers: Mapping[str, str] = {"Connection": "close"}


class Requests:
    """Wraps an app: every request gets an id, a line in the log, a place in the metrics and a problem if it fails."""

    def __init__(self, app: ASGIApp, *, role: str, largest_body: int, render: Any) -> None:
        self._app = app
        self._meter = RequestMeter(role)
        self._largest_body = largest_body
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; lifespan and websockets pass through."""
        if scope["type"] == "http":
            await self.serve(self._app, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request by an app that is not the one within."""
        headers = dict(scope["headers"])
        request_id = request_id_of(headers.get(b"x-request-id", b"")) or token_hex(8)
        token = log.bind(request_id=request_id)
        answer = _Answer(send, request_id)
        began = time.perf_counter()
        try:
            await self._serve(app, scope, self._limited(receive, headers), answer)
        finally:
            self._record(scope, answer.status, time.perf_counter() - began)
            log.unbind(token)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that somebody before this layer has answered; it gets no line in the log."""
        self._meter.count(method, route, status, seconds)

    async def _serve(self, app: ASGIApp, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            await app(scope, receive, answer.send)
        except Exception as error:
            _log.exception("unforeseen error", extra={"path": _path_told(scope)})
            if answer.complete:
                return
            if answer.status:
                # Half an answer is out: only a broken connection tells the client that it is not whole.
                raise
            response: Response = self._render(Request(scope), error)
            await response(scope, receive, answer.send)

    def _limited(self, receive: Receive, headers: Mapping[bytes, bytes]) -> Receive:
        """The same stream, refusing more than the largest body, by what it announces and by what comes."""
        announced = headers.get(b"content-length", b"0")
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            if announced.isdigit() and int(announced[:20]) > self._largest_body:
                raise self._too_large()
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._largest_body:
                raise self._too_large()
            return message

        return receive_limited

    def _too_large(self) -> HTTPException:
        # FastAPI lets only HTTPException through while it reads a body; the renderer finds the problem in it.
        problem = ContentTooLarge(f"At most {self._largest_body} bytes are taken.", limit=self._largest_body)
        error = HTTPException(problem.status, problem.detail)
        error.__cause__ = problem
        return error

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", NO_ROUTE)
        self._meter.count(scope["method"], route, status, seconds)
        if route in QUIET_ROUTES and status < 400:
            return
        # The query string stays out: people put tokens there.
        method, path = scope["method"], _path_told(scope)
        facts = {"method": method, "path": path, "status": status, "ms": round(seconds * 1000, 2)}
        _log.info("%s %s %s", method, path, status, extra=facts)


def _path_told(scope: Scope) -> str:
    path: str = scope.get(PATH_TOLD, scope["path"])
    return path


class _Answer:
    """What has been sent so far; adds the headers that every answer carries."""

    __slots__ = ("_headers", "_send", "complete", "status")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._headers = [(b"x-request-id", request_id.encode()), NO_SNIFFING]
        self.status = 0
        self.complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        elif message["type"] == "http.response.body":
            self.complete = not message.get("more_body", False)
        await self._send(message)


def request_id_of(given: bytes) -> str:
    """The caller's id where it has a harmless form, else nothing."""
    return given.decode() if _REQUEST_ID.fullmatch(given) else ""

"""`POST /in/{endpoint}`: in front of the framework, verified while it streams in, answered when it is committed."""

import json
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from nms.common.problem import Problem
from nms.common.rendering import MethodNotAllowed, render_problem
from nms.inbox import handshake
from nms.inbox.arrival import Receipt
from nms.inbox.check import Refusal, Request
from nms.inbox.endpoint import Endpoint
from nms.inbox.limit import check_content_type, check_depth, read_body
from nms.inbox.problems import CallerGone, IdReused, NotBelieved

PREFIX: Final = "/in/"
WEBHOOK: Final = "/webhook"
ROUTE: Final = "/in/{endpoint}"
_ROUTE: Final = SimpleNamespace(path=ROUTE)
"""What the access log and the metrics take for the route."""
_LATER: Final = {"Retry-After": "5"}
_JSON: Final = (b"content-type", b"application/json")


class Receiver:
    """Takes requests to endpoints; everything else goes on to the app behind it."""

    def __init__(self, role: FastAPI, app: ASGIApp) -> None:
        self._state = role.state
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        name = _endpoint_of(scope)
        if name is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = _ROUTE
        try:
            await self._serve(name, scope, receive, send)
        except CallerGone:
            return
        except HTTPException as error:
            if not isinstance(error.__cause__, Problem):
                raise
            await render_problem(error.__cause__)(scope, receive, send)
        except Problem as problem:
            await render_problem(problem, _LATER if problem.status == 503 else None)(scope, receive, send)

    async def _serve(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._state.endpoints.get(name)
        document = endpoint.document
        request = _request_of(scope, endpoint)
        if request.method == "POST":
            self._state.lane.admit()
            check_content_type(document, request)
        check = endpoint.verifier.check(request)
        raw = await read_body(receive, request, check, document.largest)
        refusal = check.finish(raw)
        shaken = self._shake(endpoint, request, raw, refusal)
        if shaken is not None:
            await shaken(scope, receive, send)
            return
        if request.method != "POST":
            await render_problem(MethodNotAllowed("Events come by POST."), {"Allow": "POST"})(scope, receive, send)
            return
        if refusal is not None:
            raise NotBelieved(refusal.sentence, reason=refusal.code, **refusal.facts)
        check_depth(document, raw)
        await self._state.rates.check(document)
        arrivals, is_list = endpoint.read(request, raw)
        receipts = await self._state.lane.put(arrivals) if arrivals else ()
        await _answer(receipts, is_list, send)

    def _shake(self, endpoint: Endpoint, request: Request, raw: bytes, refusal: Refusal | None) -> Response | None:
        for name, terms in endpoint.handshakes:
            if refusal is not None and handshake.HANDSHAKES[name].verified:
                continue
            answer = handshake.answer(name, request, raw, terms)
            if answer is not None:
                return Response(answer.body, answer.status, dict(answer.headers))
        return None


def _endpoint_of(scope: Scope) -> str | None:
    if scope["type"] != "http":
        return None
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    if path.startswith(PREFIX):
        return path[len(PREFIX) :].partition("/")[0]
    return "webhook" if path == WEBHOOK or path.startswith(f"{WEBHOOK}/") else None


def _request_of(scope: Scope, endpoint: Endpoint) -> Request:
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    told = endpoint.document.url
    if told is None:
        host = next((value for key, value in scope["headers"] if key == b"host"), b"")
        told = f"{scope['scheme']}://{host.decode('latin-1')}{raw_path.decode('latin-1')}"
    url = f"{told}?{query.decode('latin-1')}" if query else told
    return Request(scope["method"], url, scope["headers"], time.time(), _tail_of(scope, raw_path))


def _tail_of(scope: Scope, raw_path: bytes) -> bytes:
    """What stands in the path behind the endpoint's name, whatever stands in front of it."""
    own = raw_path.removeprefix(scope.get("root_path", "").encode())
    steps = 3 if own.startswith(PREFIX.encode()) else 2
    return b"".join(own.split(b"/", steps)[steps:])


async def _answer(receipts: Sequence[Receipt], is_list: bool, send: Send) -> None:
    for item, receipt in enumerate(receipts):
        if receipt.kind == "other":
            facts: dict[str, Any] = {"item": item} if is_list else {}
            raise IdReused("Another event with this id and another body is there.", event=str(receipt.id), **facts)
    ids = [str(receipt.id) for receipt in receipts]
    told = f'{{"ids":{json.dumps(ids)}}}' if is_list else f'{{"id":"{ids[0]}"}}'
    body = told.encode()
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    status = 202 if any(receipt.kind == "new" for receipt in receipts) else 200
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

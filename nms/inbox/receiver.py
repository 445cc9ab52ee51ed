"""`POST /in/{endpoint}`: in front of the framework, verified while it streams in, answered when it is committed."""

import time
from types import SimpleNamespace
from typing import Final

from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from nms.common.problem import Problem
from nms.common.rendering import MethodNotAllowed, render_problem
from nms.inbox import handshake
from nms.inbox.arrival import Arrival, Receipt, new_event_id
from nms.inbox.check import Check, Refusal, Request
from nms.inbox.endpoint import Body, Endpoint
from nms.inbox.handshake import Terms
from nms.inbox.problems import BodyTooLarge, CallerGone, IdReused, NotBelieved

PREFIX: Final = "/in/"
WEBHOOK: Final = "/webhook"
ROUTE: Final = "/in/{endpoint}"
_ROUTE: Final = SimpleNamespace(path=ROUTE)
"""What the access log and the metrics take for the route."""
_JSON: Final = (b"content-type", b"application/json")
_STATUS: Final = {"new": 202, "known": 200}


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
        except Problem as problem:
            await render_problem(problem)(scope, receive, send)

    async def _serve(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._state.endpoints.get(name)
        request = _request_of(scope, endpoint, name)
        check = endpoint.verifier.check(request)
        raw = await _read(receive, check, endpoint.document.largest)
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
        (receipt,) = await self._state.lane.put([_arrival_of(endpoint, request, Body(raw))])
        await _answer(receipt, send)

    def _shake(self, endpoint: Endpoint, request: Request, raw: bytes, refusal: Refusal | None) -> Response | None:
        terms = Terms(endpoint.secrets)
        for name in endpoint.document.handshakes:
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


def _request_of(scope: Scope, endpoint: Endpoint, name: str) -> Request:
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    told = endpoint.document.url
    if told is None:
        host = next((value for key, value in scope["headers"] if key == b"host"), b"")
        told = f"{scope['scheme']}://{host.decode('latin-1')}{raw_path.decode('latin-1')}"
    url = f"{told}?{query.decode('latin-1')}" if query else told
    tail = raw_path.partition(f"/{name}".encode())[2].removeprefix(b"/")
    return Request(scope["method"], url, scope["headers"], time.time(), tail)


async def _read(receive: Receive, check: Check, largest: int) -> bytes:
    """The body, verified while it comes; raises BodyTooLarge, CallerGone."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGone("The caller went away before the body was whole.")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > largest:
            raise BodyTooLarge(f"At most {largest} bytes are taken.", limit=largest)
        check.update(chunk)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _arrival_of(endpoint: Endpoint, request: Request, body: Body) -> Arrival:
    lines = b"\n".join(name + b": " + value for name, value in request.headers)
    content_type = next((value for name, value in request.headers if name == b"content-type"), b"")
    return Arrival(
        id=new_event_id(),
        endpoint=endpoint.document.name,
        key=endpoint.key_of(request, body),
        digest=body.digest,
        type=endpoint.type_of(request, body),
        content_type=content_type.decode("latin-1")[:200],
        headers=lines,
        body=body.raw,
    )


async def _answer(receipt: Receipt, send: Send) -> None:
    if receipt.kind == "other":
        raise IdReused("Another event with this id and another body was stored before.", event=str(receipt.id))
    body = b'{"id":"%s"}' % str(receipt.id).encode()
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": _STATUS[receipt.kind], "headers": headers})
    await send({"type": "http.response.body", "body": body})

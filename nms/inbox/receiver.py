"""`POST /in/{endpoint}`: in front of the framework, verified while it streams in, answered when it is committed."""

import json
import time
from collections.abc import Sequence
from functools import partial
from secrets import token_hex
from types import SimpleNamespace
from typing import Any, Final

from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nms.common.document import EndpointDocument
from nms.common.middleware import NO_SNIFFING, PATH_TOLD, Requests, request_id_of
from nms.common.rendering import Failed, MethodNotAllowed
from nms.common.shortcut import Whole
from nms.inbox import handshake
from nms.inbox.address import PREFIX, WEBHOOK, arrived_at, path_told, signed_url, tail_of
from nms.inbox.arrival import Arrival, Receipt
from nms.inbox.check import Refusal, Request
from nms.inbox.endpoint import Endpoint
from nms.inbox.limit import check_announced, check_content_type, check_depth, read_body
from nms.inbox.login import OpenCheck
from nms.inbox.problems import CallerGone, EndpointUnready, IdReused
from nms.inbox.refused import KEPT, Seen, not_believed

ROUTE: Final = "/in/{endpoint}"
_ROUTE: Final = SimpleNamespace(path=ROUTE)
"""What the access log and the metrics take for the route."""
_HEADERS: Final = {503: {"Retry-After": "5"}}
_JSON: Final = (b"content-type", b"application/json")
_ARRIVED: Final = "nms.arrived"
_STORED: Final = (
    b"content-type: application/json\r\ncontent-length: 45\r\nx-request-id: %b\r\nx-content-type-options: nosniff\r\n"
)
Taken = tuple[int, list[str], bytes]
"""Status, ids and body of the answer to what is stored."""


class Receiver:
    """Takes requests to endpoints; everything else goes on to the layers behind it.

    An event that is stored is counted and has no line in the log: it stands in `/events`. What is not goes through
    `requests` as all other requests do.
    """

    def __init__(self, role: FastAPI, requests: Requests) -> None:
        self._state = role.state
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        name = _endpoint_of(scope)
        if name is None:
            await self._requests(scope, receive, send)
            return
        scope["route"] = _ROUTE
        scope[PATH_TOLD] = path_told(scope)
        began = time.perf_counter()
        try:
            taken = await self._take(name, scope, receive)
        except CallerGone:
            await self._requests.serve(_leave, scope, receive, send)
            return
        except Exception as error:
            await self._requests.serve(Failed(error, _HEADERS), scope, receive, send)
            return
        if isinstance(taken, Response):
            await self._requests.serve(taken, scope, receive, send)
            return
        status, ids, body = taken
        await send({"type": "http.response.start", "status": status, "headers": _head(scope, ids, body)})
        await send({"type": "http.response.body", "body": body})
        self._requests.count(scope["method"], ROUTE, status, time.perf_counter() - began)

    def leads(self, method: bytes, target: bytes) -> bool:
        """Whether requests to this target may be taken whole."""
        return method == b"POST" and target in self._state.endpoints.straight

    def take(self, whole: Whole, target: bytes) -> bool:
        """Take a genuine event that is the only one of its request; whatever else comes goes the ordinary way."""
        # It is handed back, if it is, when the database was waited for: its signature must not grow old meanwhile.
        whole.scope[_ARRIVED] = arrived = time.time()
        try:
            arrivals = self._state.endpoints.straight[target].believe(whole.headers, whole.body, arrived)
            if arrivals is None:
                return False
            lane = self._state.lane
            lane.admit()
            lane.post(arrivals, partial(self._tell, whole, time.perf_counter()))
        except Exception:
            # Whatever it is, it happens again on the ordinary way, where it is answered and told.
            return False
        return True

    def _tell(self, whole: Whole, began: float, told: Sequence[Receipt] | BaseException) -> None:
        if isinstance(told, BaseException) or told[0].kind == "other":
            whole.hand_back()
            return
        status, id_ = 202 if told[0].kind == "new" else 200, b"%b" % str(told[0].id).encode()
        whole.answer(status, _STORED % id_, b'{"id":"%b"}' % id_)
        self._requests.count("POST", ROUTE, status, time.perf_counter() - began)

    async def _take(self, name: str, scope: Scope, receive: Receive) -> Taken | Response:
        try:
            endpoint = self._state.endpoints.get(name)
        except EndpointUnready:
            await self._keep_unverified(name, scope, receive)
            raise
        _check_method(endpoint, scope["method"])
        document = endpoint.document
        request = _request_of(scope, document)
        check = endpoint.verifier.check(request)
        raw: bytes | None = None
        arrivals: Sequence[Arrival] = ()
        try:
            if request.method == "POST":
                self._state.lane.admit()
                check_announced(document, request)
            raw = await read_body(receive, request, check, document.largest)
            refusal = check.finish(raw)
            if endpoint.handshakes:
                shaken = self._shake(endpoint, request, raw, refusal)
                if shaken is not None:
                    return shaken
            if request.method != "POST":
                raise _not_allowed(endpoint)
            check_content_type(document, request)
            if refusal is not None:
                raise not_believed(refusal)
            check_depth(document, raw)
            if document.rate is not None:
                await self._state.rates.check(document)
            arrivals, is_list = endpoint.read(request, raw)
            return _told(await self._state.lane.put(arrivals) if arrivals else (), is_list)
        except KEPT as problem:
            if request.method == "POST":
                is_believed = raw is not None and check.refusal is None
                self._state.quarantine.note(Seen(scope, request, document, raw, arrivals, is_believed), problem)
            raise

    async def _keep_unverified(self, name: str, scope: Scope, receive: Receive) -> None:
        """Keep a request to an endpoint that cannot verify just now, so that it is verified when it can again."""
        waiting = self._state.endpoints.waiting(name)
        if waiting is not None and scope["method"] == "POST":
            document, problem = waiting
            request = _request_of(scope, document)
            raw = await read_body(receive, request, OpenCheck(), document.largest)
            why = EndpointUnready(problem.detail, reason=problem.code)
            self._state.quarantine.note(Seen(scope, request, document, raw), why)

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


def _request_of(scope: Scope, document: EndpointDocument) -> Request:
    query = scope["query_string"].decode("latin-1")
    url = signed_url(document, arrived_at(scope) if document.url is None else "", query)
    return Request(scope["method"], url, scope["headers"], scope.get(_ARRIVED) or time.time(), tail_of(scope))


def _check_method(endpoint: Endpoint, method: str) -> None:
    if method not in endpoint.methods:
        raise _not_allowed(endpoint)


def _not_allowed(endpoint: Endpoint) -> MethodNotAllowed:
    problem = MethodNotAllowed("Events come by POST.")
    problem.headers = {"Allow": ", ".join(sorted(endpoint.methods))}
    return problem


def _told(receipts: Sequence[Receipt], is_list: bool) -> Taken:
    if not is_list and receipts[0].kind != "other":
        id_ = str(receipts[0].id)
        return 202 if receipts[0].kind == "new" else 200, [id_], b'{"id":"%s"}' % id_.encode()
    for item, receipt in enumerate(receipts):
        if receipt.kind == "other":
            facts: dict[str, Any] = {"item": item} if is_list else {}
            raise IdReused("Another event with this id and another body is there.", event=str(receipt.id), **facts)
    ids = [str(receipt.id) for receipt in receipts]
    status = 202 if any(receipt.kind == "new" for receipt in receipts) else 200
    return status, ids, json.dumps({"ids": ids}, separators=(",", ":")).encode()


def _head(scope: Scope, ids: Sequence[str], body: bytes) -> list[tuple[bytes, bytes]]:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    request_id = (given and request_id_of(given)) or (ids[0] if ids else token_hex(8))
    length = b"%d" % len(body)
    return [_JSON, (b"content-length", length), (b"x-request-id", request_id.encode()), NO_SNIFFING]


async def _leave(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Answer nobody: the caller is gone."""

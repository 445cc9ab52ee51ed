"""`GET /{entity}`, `/{entity}/{key}` and `/{entity}/{key}/{child}`: in front of the framework, as they are hot."""

import re
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from itertools import count
from secrets import randbits
from types import SimpleNamespace
from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.types import Receive, Scope, Send

from nms.common.document.entity import ENTITY_NAME, OWN_PATHS, Child
from nms.common.guard import Identifier, identify
from nms.common.middleware import NO_SNIFFING, Requests, request_id_of
from nms.common.problem import NOTHING_HERE, Malformed, NotFound
from nms.common.rendering import Failed
from nms.common.shortcut import Whole, path_of
from nms.warehouse.entities import Entities, Served
from nms.warehouse.reading import Answer, ListRequest, Reading
from nms.warehouse.value import read_key

LIST: Final = "/{entity}"
RECORD: Final = "/{entity}/{key}"
CHILDREN: Final = "/{entity}/{key}/{child}"
_ROUTES: Final = {count: SimpleNamespace(path=path) for count, path in ((1, LIST), (2, RECORD), (3, CHILDREN))}
"""What the access log and the metrics take for the route."""
_METHODS: Final = frozenset(("GET", "HEAD"))
_NAME: Final = re.compile(ENTITY_NAME.encode())
_OWN: Final = frozenset(name.encode() for name in OWN_PATHS)
_EXPORT: Final = b"export"
"""What stands at the place of a key and is none; a record of this key is found percent-encoded."""
_64_BITS: Final = (1 << 64) - 1
_ids: Final = count(randbits(64))
"""Ids of requests: to draw each would cost more than to look it up."""
_FAILED: Final = "nms.failed"
"""Why a read that was begun past ASGI came to nothing."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request to records: the parts of its path as they were sent, the path as the caller sees it."""

    parts: Sequence[bytes]
    path: str
    query: bytes
    none_match: str | None


class Front:
    """Reads records; everything else goes on to the layers behind it.

    A read that is answered is counted and has no line in the log; one that is refused goes through `requests` as all
    other requests do.
    """

    def __init__(self, role: FastAPI, requests: Requests) -> None:
        self._role: Any = role
        self._state = role.state
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        parts = _parts_of(scope)
        if parts is None:
            await self._requests(scope, receive, send)
            return
        route = scope["route"] = _ROUTES[min(len(parts), 3)]
        began = time.perf_counter()
        try:
            if _FAILED in scope:
                raise scope[_FAILED]
            entities = await self._find_all(scope, parts)
            answer = await self._answer(
                entities, _Asked(parts, scope["path"], scope["query_string"], _none_match_of(scope))
            )
        except Exception as error:
            await self._requests.serve(Failed(error), scope, receive, send)
            return
        head = [*answer.headers, *_own_headers(scope)]
        if answer.status != 304:
            # There it would be the length of what is not sent (RFC 9110, section 8.6).
            head.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": head})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
        self._requests.count(scope["method"], route.path, answer.status, time.perf_counter() - began)

    def leads(self, method: bytes, target: bytes) -> bool:
        """Whether a request may be a read that is answered straight."""
        return method == b"GET" and target.startswith(b"/")

    def take(self, whole: Whole, target: bytes) -> bool:
        """Read for a caller who is known what he may read; all else goes the ordinary way."""
        path, _, query = target.partition(b"?")
        parts = _split(path)
        headers = dict(whole.headers)
        if parts is None or not path.isascii() or whole.body or len(headers) < len(whole.headers):
            return False
        entities = self._recall_all(headers.get(b"authorization"), parts)
        if entities is None:
            return False
        none_match = headers.get(b"if-none-match")
        asked = _Asked(
            parts, path_of(whole), query, None if none_match is None else none_match.decode("latin-1").strip()
        )
        whole.run(self._read(whole, entities, asked, headers.get(b"x-request-id", b"")))
        return True

    async def _read(self, whole: Whole, entities: Sequence[Served], asked: _Asked, request_id: bytes) -> None:
        began = time.perf_counter()
        try:
            answer = await self._answer(entities, asked)
        except Exception as error:
            # It is told there: to try once more could take as long again.
            whole.scope[_FAILED] = error
            whole.hand_back()
            return
        head = b"".join(
            [b"%b: %b\r\n" % pair for pair in (*answer.headers, (b"x-request-id", _id_of(request_id)), NO_SNIFFING)]
        )
        if answer.status != 304:
            head += b"content-length: %d\r\n" % len(answer.body)
        whole.answer(answer.status, head, answer.body)
        self._requests.count("GET", _ROUTES[len(asked.parts)].path, answer.status, time.perf_counter() - began)

    def _answer(self, entities: Sequence[Served], asked: _Asked) -> Awaitable[Answer]:
        reading: Reading = self._state.reading
        entity, query, none_match = entities[0], asked.query, asked.none_match
        if len(asked.parts) == 1:
            return reading.read_list(ListRequest(entity, asked.path.rstrip("/"), query, none_match))
        key = _key_of(entity, asked.parts[1])
        if len(asked.parts) == 2:
            return reading.read_record(entity, key, query, none_match)
        parent = entity, _child_of(entity, asked.parts).field
        return reading.read_list(ListRequest(entities[1], asked.path.rstrip("/"), query, none_match, parent, key[0]))

    async def _find_all(self, scope: Scope, parts: Sequence[bytes]) -> Sequence[Served]:
        """The entities that a path names, which the caller may read."""
        entity = await self._find(scope, parts[0].decode())
        if len(parts) < 3:
            return (entity,)
        return entity, await self._find(scope, _child_of(entity, parts).entity)

    async def _find(self, scope: Scope, name: str) -> Served:
        """An entity that the caller may read; to others it is not there."""
        entities: Entities = self._state.entities
        entity = entities.get(name)
        if entity is None:
            await identify(Request(scope))
            raise NotFound(NOTHING_HERE)
        if entity.readers.recall(scope) is None:
            await entity.readers(Request(scope))
        return entity

    def _recall_all(self, given: bytes | None, parts: Sequence[bytes]) -> Sequence[Served] | None:
        """The entities that a path names, where they are there and the caller is known and may read them."""
        entities: Entities = self._state.entities
        verifier: Identifier = self._role.verifier
        found = entities.get(parts[0].decode())
        if found is None or found.readers.recall_by(verifier, given) is None:
            return None
        if len(parts) < 3:
            return (found,)
        child = found.document.children.get(parts[2].decode("latin-1")) if len(parts) == 3 else None
        other = None if child is None else entities.get(child.entity)
        if other is None or other.readers.recall_by(verifier, given) is None:
            return None
        return found, other


def _parts_of(scope: Scope) -> Sequence[bytes] | None:
    """The parts of a path to records, as they were sent; None where it is another one, or not to be read."""
    if scope["type"] != "http" or scope["method"] not in _METHODS:
        return None
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return _split(raw[len(scope.get("root_path", "")) :])


def _split(path: bytes) -> Sequence[bytes] | None:
    parts = path.split(b"/")
    if parts[0] or len(parts) < 2:
        return None
    del parts[0]
    if len(parts) > 1 and not parts[-1]:
        del parts[-1]
    if parts[0] in _OWN or not _NAME.fullmatch(parts[0]) or parts[1:] == [_EXPORT]:
        return None
    return parts


def _child_of(entity: Served, parts: Sequence[bytes]) -> Child:
    """What the third part of a path says that it wants of a record; raises NotFound."""
    child = entity.document.children.get(parts[2].decode("latin-1")) if len(parts) == 3 else None
    if child is None:
        raise NotFound(NOTHING_HERE)
    return child


def _key_of(entity: Served, part: bytes) -> Sequence[str]:
    """The values of a key in a path; raises NotFound for what cannot be one."""
    try:
        return read_key(entity.document, part.decode("latin-1"))
    except Malformed:
        raise NotFound(NOTHING_HERE) from None


def _none_match_of(scope: Scope) -> str | None:
    """The header If-None-Match; one that comes twice is one list."""
    given = [value for name, value in scope["headers"] if name == b"if-none-match"]
    return b",".join(given).decode("latin-1").strip() if given else None


def _own_headers(scope: Scope) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return (b"x-request-id", _id_of(given)), NO_SNIFFING


def _id_of(given: bytes) -> bytes:
    """The id of a request: the caller's where he gives one that is taken."""
    return (given and request_id_of(given).encode()) or b"%016x" % (next(_ids) & _64_BITS)

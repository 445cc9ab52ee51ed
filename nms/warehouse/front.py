"""`GET /{entity}`, `/{entity}/{key}` and `/{entity}/{key}/{child}`: in front of the framework, as they are hot."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from secrets import randbits
from types import SimpleNamespace
from typing import Final

from fastapi import FastAPI, Request
from starlette.types import Receive, Scope, Send

from nms.common.document.entity import ENTITY_NAME, OWN_PATHS
from nms.common.guard import identify
from nms.common.middleware import NO_SNIFFING, Requests, request_id_of
from nms.common.problem import NOTHING_HERE, Malformed, NotFound
from nms.common.rendering import Failed
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
_RETRY: Final = {503: {"Retry-After": "1"}}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request to records: the parts of its path as they were sent."""

    scope: Scope
    parts: Sequence[bytes]
    none_match: str | None


class Front:
    """Reads records; everything else goes on to the layers behind it.

    A read that is answered is counted and has no line in the log; one that is refused goes through `requests` as all
    other requests do.
    """

    def __init__(self, role: FastAPI, requests: Requests) -> None:
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
            answer = await self._answer(_Asked(scope, parts, _none_match_of(scope)))
        except Exception as error:
            await self._requests.serve(Failed(error, _RETRY), scope, receive, send)
            return
        head = [*answer.headers, *_own_headers(scope)]
        if answer.status != 304:
            # There it would be the length of what is not sent (RFC 9110, section 8.6).
            head.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": head})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
        self._requests.count(scope["method"], route.path, answer.status, time.perf_counter() - began)

    async def _answer(self, asked: _Asked) -> Answer:
        scope, parts = asked.scope, asked.parts
        reading: Reading = self._state.reading
        entity = await self._find(scope, parts[0].decode())
        query: bytes = scope["query_string"]
        if len(parts) == 1:
            return await reading.read_list(ListRequest(entity, scope["path"].rstrip("/"), query, asked.none_match))
        if len(parts) == 2:
            return await reading.read_record(entity, _key_of(entity, parts[1]), query, asked.none_match)
        if len(parts) > 3:
            raise NotFound(NOTHING_HERE)
        child = entity.document.children.get(parts[2].decode("latin-1"))
        if child is None:
            raise NotFound(NOTHING_HERE)
        other = await self._find(scope, child.entity)
        key = _key_of(entity, parts[1])
        path = scope["path"].rstrip("/")
        return await reading.read_list(ListRequest(other, path, query, asked.none_match, (entity, child.field), key[0]))

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


def _parts_of(scope: Scope) -> Sequence[bytes] | None:
    """The parts of a path to records, as they were sent; None where it is another one, or not to be read."""
    if scope["type"] != "http" or scope["method"] not in _METHODS:
        return None
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    parts = raw[len(scope.get("root_path", "")) :].split(b"/")
    if parts[0] or len(parts) < 2:
        return None
    del parts[0]
    if len(parts) > 1 and not parts[-1]:
        del parts[-1]
    if parts[0] in _OWN or not _NAME.fullmatch(parts[0]) or parts[1:] == [_EXPORT]:
        return None
    return parts


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
    request_id = (given and request_id_of(given)) or f"{next(_ids) & _64_BITS:016x}"
    return (b"x-request-id", request_id.encode()), NO_SNIFFING

"""`Idempotency-Key`: the same request again gets the answer it had, for 24 hours, and is not carried out again.

The key is the caller's own. What was refused is not kept: sent again under the same key it is tried again.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Final, Self

from fastapi import Request
from starlette.responses import Response

from nms.common.db.queries import load
from nms.common.db.repositories import BaseRepository
from nms.common.guard import Caller
from nms.common.problem import Malformed, Pointer, Problem

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_PURGED: Final = 2
_queries = load("nms.common")


class IdempotencyKeyReused(Problem):
    """The key came before with another request: another body, path, method or condition."""

    status, code, title = 409, "idempotency-key-reused", "The Idempotency-Key belongs to another request"
    remedy = "Give each request a key of its own; a key is free again after 24 hours."


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with; a `body` is a JSON text."""

    status: int
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def response(self) -> Response:
        """The same for HTTP."""
        media = None if self.body is None else "application/json"
        return Response(self.body, self.status, dict(self.headers), media)


@dataclass(frozen=True, slots=True)
class Once:
    """A request that is to be carried out once: whose it is, its key, and the digest of all that it asks for."""

    caller: str
    key: str
    digest: bytes

    @classmethod
    def of(cls, request: Request, caller: Caller, body: bytes) -> Self | None:
        """That of a request; None where it has no key. Raises Malformed."""
        given = request.headers.getlist(HEADER)
        if not given:
            return None
        if len(given) > 1 or not _KEY.fullmatch(given[0]):
            told = "this is one text of 1 to 255 visible characters of ASCII"
            raise Malformed("The Idempotency-Key is none.", pointers=[Pointer(f"/{HEADER.lower()}", told, "header")])
        conditions = [request.headers.get(name, "") for name in ("if-match", "if-none-match", "content-type")]
        # As it was sent: two keys of records may be one text once they are decoded.
        path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
        parts = [request.method, path.partition(b"?")[0].decode("latin-1"), request.url.query, *conditions]
        digest = sha256("\0".join(parts).encode("utf-8", "surrogateescape") + b"\0" + body).digest()
        return cls(caller.name, given[0], digest)


async def answer_once(tx: BaseRepository, once: Once | None, act: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer of `act`, or the one that this request had before; in the transaction in which `act` writes.

    Waits for the same request where it is under way. Raises IdempotencyKeyReused, and what `act` raises.
    """
    if once is None:
        return await act()
    caller, key = once.caller, once.key
    if await _queries.claim_answer(tx.connection, caller=caller, key=key, digest=once.digest) is None:
        kept = await _queries.get_answer(tx.connection, caller=caller, key=key)
        if kept["digest"] != once.digest:
            raise IdempotencyKeyReused("This key came before with another request.", key=once.key)
        return Answer(kept["status"], kept["body"], {**kept["headers"], REPLAYED: "true"})
    answer = await act()
    await _queries.update_answer(
        tx.connection,
        caller=caller,
        key=key,
        status=answer.status,
        headers=dict(answer.headers),
        body=answer.body,
    )
    await _queries.purge_answers(tx.connection, size=_PURGED)
    return answer

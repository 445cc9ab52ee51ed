"""Keyset pages: a page starts after the key of the last row of the page before, so depth costs nothing.

A route takes `paging: Paging`, asks its repository for `paging.size` rows after `paging.after`, and answers
`paging.page(rows, key=...)`: the body says `next`, and so does a Link header (RFC 8288).
"""

import hmac
import json
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b, sha256
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, Field

from nms.common.problem import Malformed, Pointer

DEFAULT_LIMIT, LARGEST_LIMIT = 100, 1000
LONGEST_CURSOR = 16_384
_PACKED_FROM = 256
_SIGNATURE_BYTES = 16
_ENCODE = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

T = TypeVar("T")
Row = TypeVar("Row")


class CursorRefused(Malformed):
    """The cursor was not made by this list, with these filters."""

    code, title = "cursor-refused", "The cursor is refused"
    remedy = "Start again without a cursor, or take `next` of a page of the same list with the same filters."


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: str | None = Field(
        default=None,
        description="The cursor of the next page; null on the last one.",
        examples=["m2lBPBrUuKLe1n3wVqBSFlsxMjA0XQ"],
    )


class PageRequest:
    """Which page was asked for; `after` is the key of the last row before it, or None at the start."""

    def __init__(self, limit: int, after: tuple[Any, ...] | None, cursors: "Cursors", reply: "Reply") -> None:
        self.limit, self.after = limit, after
        self._cursors, self._reply = cursors, reply

    @property
    def size(self) -> int:
        """How many rows to ask for: one more than the page shows tells whether there is a next page."""
        return self.limit + 1

    def page(
        self, rows: Sequence[Row], *, key: Callable[[Row], Sequence[Any]], show: Callable[[Row], Any] | None = None
    ) -> Page[Any]:
        """The page of these rows (`size` of them at most); `key` gives the sort key of a row, `show` its item."""
        shown = rows[: self.limit]
        cursor = self._cursors.seal(key(shown[-1])) if len(rows) > self.limit and shown else None
        if cursor is not None:
            self._reply.link(self.limit, cursor)
        return Page[Any](items=list(shown) if show is None else [show(row) for row in shown], next=cursor)


class Cursors:
    """Seals keys into opaque cursors of one list (its path and filters) and opens them again."""

    def __init__(self, secret: bytes, about: str) -> None:
        self._about = blake2b(about.encode() + b"\0", key=_key_of(secret), digest_size=_SIGNATURE_BYTES)

    def seal(self, key: Sequence[Any]) -> str:
        """The cursor of a key of texts, numbers, booleans, nulls, times and UUIDs."""
        body = _ENCODE([_to_json(value) for value in key]).encode()
        if len(body) >= _PACKED_FROM:
            # A text that PostgreSQL packs into its index is packed here too: the cursor has to fit into a header.
            body = zlib.compress(body)
        return urlsafe_b64encode(self._sign(body) + body).rstrip(b"=").decode()

    def open(self, cursor: str) -> tuple[Any, ...]:
        """The key of a cursor; raises CursorRefused for one that this list did not make."""
        try:
            sealed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except ValueError:
            raise _refuse() from None
        signature, body = sealed[:_SIGNATURE_BYTES], sealed[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(body)):
            raise _refuse()
        unpacked = body if body.startswith(b"[") else zlib.decompress(body)
        return tuple(_from_json(value) for value in json.loads(unpacked))

    def _sign(self, body: bytes) -> bytes:
        signature = self._about.copy()
        signature.update(body)
        return signature.digest()


class Reply:
    """Where the Link header goes: relative to the request, so that it holds behind every proxy and prefix."""

    def __init__(self, request: Request, response: Response) -> None:
        self._filters = filters_of(request)
        self._response = response

    def link(self, limit: int, cursor: str) -> None:
        """Add the link to the next page."""
        query = urlencode([*self._filters, ("limit", str(limit)), ("cursor", cursor)])
        self._response.headers.append("Link", f'<?{query}>; rel="next"')


def filters_of(request: Request) -> list[tuple[str, str]]:
    """The query parameters that choose the list, in the order given."""
    return [(name, value) for name, value in request.query_params.multi_items() if name not in ("limit", "cursor")]


async def read_page(
    request: Request,
    response: Response,
    limit: Annotated[
        int, Query(ge=1, le=LARGEST_LIMIT, description=f"Rows of a page; more than {LARGEST_LIMIT} is refused.")
    ] = DEFAULT_LIMIT,
    cursor: Annotated[
        str | None, Query(max_length=LONGEST_CURSOR, description="`next` of the page before; leave it out to start.")
    ] = None,
) -> PageRequest:
    """The dependency behind `Paging`."""
    about = f"{request.scope['path']}?{urlencode(sorted(filters_of(request)))}"
    cursors = Cursors(request.app.state.cursor_secret, about)
    return PageRequest(limit, cursors.open(cursor) if cursor else None, cursors, Reply(request, response))


Paging = Annotated[PageRequest, Depends(read_page)]


@lru_cache(16)
def _key_of(secret: bytes) -> bytes:
    # A key of its own, so that a cursor is never mistaken for another signature made with the same secret.
    return hmac.digest(secret, b"nms cursor", sha256)


def _refuse() -> CursorRefused:
    return CursorRefused("This cursor is not one of this list.", pointers=[Pointer("/cursor", "not ours", "query")])


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"time": value.isoformat()}
    if isinstance(value, UUID):
        return {"uuid": str(value)}
    return value


def _from_json(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return datetime.fromisoformat(value["time"]) if "time" in value else UUID(value["uuid"])

"""What an endpoint takes at most: kinds of content, bytes on the wire and unpacked, depth, requests in a time."""

import asyncio
import math
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Final

from starlette.types import Receive

from nms.common import strict_json
from nms.common.budget import Budget, opened_budget
from nms.common.cache.bucket import Bucket
from nms.common.document import EndpointDocument
from nms.common.egress.inflate import Inflater, Unpackable
from nms.common.settings import Settings
from nms.inbox.check import Check, Request
from nms.inbox.cloudevent import media_type
from nms.inbox.problems import (
    BodyTooLarge,
    CallerGone,
    CodingRefused,
    ContentTypeRefused,
    TooManyEvents,
    WebhookUnreadable,
)

CODINGS: Final = "gzip, deflate"


def check_content_type(document: EndpointDocument, request: Request) -> None:
    """Raise ContentTypeRefused for a kind of content that is told twice, or is not on the list where there is one."""
    # Whoever reads on might take the other one.
    if len(request.named) < len(request.headers) and request.count(b"content-type") > 1:
        raise ContentTypeRefused("The Content-Type stands there more than once.")
    if document.content_types and media_type(request) not in document.content_types:
        taken = ", ".join(document.content_types)
        raise ContentTypeRefused(f"The Content-Type must be one of {taken}.", taken=list(document.content_types))


def check_announced(document: EndpointDocument, request: Request) -> None:
    """Raise BodyTooLarge for a body that is announced as larger than the endpoint takes, before it comes."""
    told = request.named.get(b"content-length", b"")
    if told.isdigit() and int(told[:20]) > document.largest:
        raise _too_large(document.largest)


async def read_body(receive: Receive, request: Request, check: Check, largest: int) -> bytes:
    """The body, unpacked, verified while it comes: what is signed is the content, not how it was packed.

    What is packed is unpacked when all of it came: until then a bomb is no larger than what was sent.
    Raises BodyTooLarge, CodingRefused, WebhookUnreadable, CallerGone.
    """
    inflater = _inflater_of(request)
    chunks: list[bytes] = []
    came = 0
    is_over = False
    while not is_over:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGone("The caller went away before the body was whole.")
        chunk: bytes = message.get("body", b"")
        is_over = not message.get("more_body", False)
        came += len(chunk)
        if came > largest:
            raise _too_large(largest)
        if inflater is None:
            check.update(chunk)
        chunks.append(chunk)
    raw = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    return raw if inflater is None else _unpacked(inflater, raw, check, largest)


def check_size(document: EndpointDocument, raw: bytes) -> None:
    """Raise BodyTooLarge for a body that is there and larger than the endpoint takes."""
    if len(raw) > document.largest:
        raise _too_large(document.largest)


def check_depth(document: EndpointDocument, raw: bytes) -> None:
    """Raise WebhookUnreadable for brackets that stand deeper than the endpoint takes; looks at any kind of content."""
    if document.depth is None:
        return
    try:
        strict_json.check_depth(raw.decode("utf-8", "replace"), document.depth)
    except strict_json.TooDeep as error:
        raise WebhookUnreadable(f"The body is not taken: {error}.") from None


class Rates:
    """The shares of endpoints, over all processes; where they are kept is opened for the first that has one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened = AsyncExitStack()
        self._budget: Budget | None = None
        self._opening = asyncio.Lock()

    async def check(self, document: EndpointDocument) -> None:
        """Raise TooManyEvents when the endpoint has had its share; only what is believed counts."""
        if document.rate is None:
            return
        limit, seconds = document.rate.limit, document.rate.per
        bucket = Bucket(f"inbox:{document.name}", limit / seconds, float(limit))
        booking = await (await self._open()).book(bucket, ahead=0.0)
        if not booking.granted:
            wait = max(1, math.ceil(booking.wait))
            raise TooManyEvents(f"At most {limit} requests are taken in {seconds:g} s.", retry_after=wait)

    async def close(self) -> None:
        """Close what was opened."""
        await self._opened.aclose()

    async def _open(self) -> Budget:
        async with self._opening:
            if self._budget is None:
                self._budget = await self._opened.enter_async_context(opened_budget(self._settings))
        return self._budget


def _unpacked(inflater: Inflater, packed: bytes, check: Check, largest: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    for piece in _unpack(inflater, packed):
        size += len(piece)
        if size > largest:
            raise _too_large(largest)
        check.update(piece)
        pieces.append(piece)
    return b"".join(pieces)


def _unpack(inflater: Inflater, packed: bytes) -> Iterator[bytes]:
    try:
        yield from inflater.feed(packed)
        yield inflater.end()
    except Unpackable as error:
        raise WebhookUnreadable(f"The body cannot be unpacked: {error}.") from None


def _inflater_of(request: Request) -> Inflater | None:
    if b"content-encoding" not in request.named:
        return None
    told = [value for name, value in request.headers if name.lower() == b"content-encoding"]
    try:
        inflater = Inflater(b",".join(told).decode("latin-1"))
    except Unpackable:
        raise CodingRefused(f"The Content-Encoding must be one of {CODINGS}.") from None
    return inflater if inflater.unpacks else None


def _too_large(largest: int) -> BodyTooLarge:
    return BodyTooLarge(f"At most {largest} bytes are taken.", limit=largest)

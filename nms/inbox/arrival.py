"""What arrives at an endpoint, and what became of it."""

import time
from dataclasses import dataclass
from datetime import datetime
from random import getrandbits
from typing import Literal
from uuid import UUID

from nms.common.db.identity import uuid_of

LOW = (1 << 62) - 1


@dataclass(frozen=True, slots=True)
class ListRequest:
    """A request that brought a list, kept once for all its events, so that its signature can be checked again.

    `url` is as it was signed, values of its query and secrets hidden; `headers` are lines, `body` the bytes signed,
    `arrived` is in seconds since 1970.
    """

    id: UUID
    endpoint: str
    method: str
    url: str
    headers: bytes
    body: bytes
    arrived: float

    @property
    def mark(self) -> bytes:
        """What stands in the place of headers of its events; headers never begin so."""
        return b"\0" + self.id.bytes


# Not frozen, as nothing here that is made for each request: that would take three times as long.
@dataclass(slots=True)
class Arrival:
    """One event as it came, verified and not yet stored.

    `key` is what a duplicate has in common with it, `digest` the SHA-256 of the body; `headers` are those of the
    request as lines, `item` its place in a batch; one that came with a list has the `mark` of its request for headers.
    """

    id: UUID
    endpoint: str
    key: bytes
    digest: bytes
    type: str
    content_type: str
    headers: bytes
    body: bytes
    item: int = 0
    request: ListRequest | None = None


@dataclass(frozen=True, slots=True)
class KeptRequest(ListRequest):
    """Such a request as it is kept."""

    received_at: datetime


@dataclass(slots=True)
class Receipt:
    """What became of an arrival: stored under its own id, known as an earlier one, or its key has another body."""

    id: UUID
    kind: Literal["new", "known", "other"]


@dataclass(frozen=True, slots=True)
class Unsent:
    """A stored event that is to be passed on; `run` is that of the replay that asked for it once more."""

    number: int
    id: UUID
    endpoint: str
    type: str
    item: int
    content_type: str
    key: bytes
    body: bytes
    received_at: datetime
    run: int | None


def new_event_id() -> UUID:
    """A UUID of version 7 (RFC 9562 section 5.7): it begins with the time, so that an index grows at its end."""
    # Nobody gains by guessing one; asking the system for chance costs more than all the rest.
    chance = getrandbits(74)
    made = time.time_ns() // 1_000_000 << 80 | 0x7 << 76 | chance >> 62 << 64 | 0x2 << 62 | chance & LOW
    return uuid_of(made.to_bytes(16, "big"))


def storable(text: str, longest: int | None = None) -> str:
    """A text of a stranger as PostgreSQL can hold it, so many characters of it at most."""
    text = text[:longest]
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()

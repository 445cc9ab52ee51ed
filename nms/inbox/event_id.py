"""Ids of events: UUIDs that begin with the time (RFC 9562 section 5.7), so that an index over them grows at its end."""

import os
import time
from uuid import UUID


def new_event_id() -> UUID:
    """A UUID of version 7: 48 bits of milliseconds, 74 bits of chance."""
    number = int.from_bytes(os.urandom(10), "big") | time.time_ns() // 1_000_000 << 80
    return UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)

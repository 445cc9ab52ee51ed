"""Unpacking what a remote packed, piece by piece, so that a bomb is met by the cap and not by the memory."""

import zlib
from collections.abc import Iterator
from typing import Final

ACCEPTED: Final = "gzip, deflate"
"""What requests ask for (RFC 9110 section 12.5.3)."""
PIECE: Final = 256 * 1024
"""The most that one step unpacks, in bytes."""

_GZIP, _ZLIB, _RAW = 31, 15, -15


class Unpackable(ValueError):
    """The content is not packed as it says, or in a way that was not asked for; the text names no content."""


class Inflater:
    """Unpacks one body of content coding `gzip`, `deflate` (RFC 1950, and RFC 1951 as some send it) or none."""

    def __init__(self, coding: str) -> None:
        self._coding = coding.strip().lower().replace("x-gzip", "gzip") or "identity"
        if self._coding not in ("gzip", "deflate", "identity"):
            raise Unpackable("it has a content coding that was not asked for")
        self._unpacker: zlib._Decompress | None = None
        self._head = b""

    @property
    def unpacks(self) -> bool:
        """Whether one part that is fed may become many."""
        return self._coding != "identity"

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pieces that come out of the next bytes; raises Unpackable."""
        if self._coding == "identity":
            yield data
            return
        while data:
            if self._unpacker is None:
                self._head += data
                if len(self._head) < 2:
                    return
                data, self._head = self._head, b""
                self._unpacker = zlib.decompressobj(self._window(data))
            try:
                piece = self._unpacker.decompress(data, PIECE)
            except zlib.error:
                raise Unpackable("its content is not packed as it says") from None
            data = self._unpacker.unconsumed_tail
            if self._unpacker.eof:
                data = self._next_member()
            if piece:
                yield piece

    def end(self) -> bytes:
        """What is left when the body is over; raises Unpackable when something is missing."""
        if self._unpacker is None:
            if self._head:
                raise Unpackable("its packed content is cut short")
            return b""
        rest = self._unpacker.flush()
        if not self._unpacker.eof:
            raise Unpackable("its packed content is cut short")
        return rest

    def _window(self, data: bytes) -> int:
        if self._coding == "gzip":
            return _GZIP
        return _ZLIB if data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0 else _RAW

    def _next_member(self) -> bytes:
        assert self._unpacker is not None
        rest = self._unpacker.unused_data
        if rest and self._coding != "gzip":
            raise Unpackable("something follows its packed content")
        if rest:
            self._unpacker = None
        return rest

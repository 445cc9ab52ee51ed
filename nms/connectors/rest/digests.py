"""A set of keys in little memory: eight bytes of digest for each, in an array with open addresses (pure)."""

from array import array
from collections.abc import Iterable
from typing import Final

FULL: Final = 0.66
_LEAST: Final = 1 << 10


class Digests:
    """Which keys were seen. Ten million take 128 MB; two keys in 10^12 of them are taken for one.

    Digests are those of `hash`, so they mean nothing in another process.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * _LEAST))
        self._mask = _LEAST - 1
        self.count = 0

    @property
    def nbytes(self) -> int:
        """The memory that they take."""
        return len(self._slots) * self._slots.itemsize

    def add(self, keys: Iterable[tuple[str, ...]]) -> int:
        """Take note of keys; gives how many of them were there already."""
        twice = 0
        for key in keys:
            if self.count >= FULL * (self._mask + 1):
                self._grow()
            slots, digest = self._slots, _digest(key)
            at = self._find(digest)
            if slots[at]:
                twice += 1
            else:
                slots[at] = digest
                self.count += 1
        return twice

    def __contains__(self, key: tuple[str, ...]) -> bool:
        return bool(self._slots[self._find(_digest(key))])

    def _find(self, digest: int) -> int:
        """Where a digest stands, or the free place where it belongs."""
        slots, mask = self._slots, self._mask
        at = digest & mask
        while slots[at] and slots[at] != digest:
            at = (at + 1) & mask
        return at

    def _grow(self) -> None:
        before, size = self._slots, 2 * (self._mask + 1)
        self._slots, self._mask = array("Q", [0]) * size, size - 1
        for digest in before:
            if digest:
                self._slots[self._find(digest)] = digest


def _digest(key: tuple[str, ...]) -> int:
    # Zero says that a place is free.
    return hash(key) & 0xFFFFFFFFFFFFFFFF or 1

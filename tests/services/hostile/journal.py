"""What a hostile API was asked and what it did: every request, and every effect on a record."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

Act = Literal["create", "update", "delete"]


@dataclass(slots=True)
class Entry:
    """One request: when (seconds since the start), what, and what was answered (status 0: no whole answer)."""

    number: int
    at: float
    method: str
    target: str
    idempotency_key: str = ""
    behaviour: str = ""
    status: int = 0


@dataclass(frozen=True, slots=True)
class Effect:
    """One write that happened: `request` is the entry's number, 0 when a test wrote past HTTP.

    `client_key` is the value of the collection's `client_field`; `same` says that the write changed nothing.
    """

    number: int
    request: int
    collection: str
    act: Act
    id: int
    client_key: str
    same: bool = False


class Journal:
    """Requests and effects in the order they came."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.effects: list[Effect] = []
        self._start = time.monotonic()

    def enter(self, method: str, target: str, idempotency_key: str) -> Entry:
        """Note a request that came in."""
        at = time.monotonic() - self._start
        self.entries.append(Entry(len(self.entries) + 1, at, method, target, idempotency_key))
        return self.entries[-1]

    def note(self, effect: Effect) -> None:
        """Note a write that happened."""
        self.effects.append(effect)

    def of(self, collection: str = "", *, by_client: bool = True) -> Iterator[Effect]:
        """Effects of a collection (of all when empty), those of clients only or all."""
        return (
            effect
            for effect in self.effects
            if collection in ("", effect.collection) and (effect.request > 0 or not by_client)
        )

    def counts(self, collection: str = "") -> dict[str, dict[str, int]]:
        """How often clients created, updated and deleted: client key -> act -> number."""
        found: dict[str, Counter[str]] = {}
        for effect in self.of(collection):
            found.setdefault(effect.client_key, Counter())[effect.act] += 1
        return {key: dict(counter) for key, counter in found.items()}

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """Entries after a number."""
        return [asdict(entry) for entry in self.entries[since:]]

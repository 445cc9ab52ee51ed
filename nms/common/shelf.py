"""Everything that is sealed in our databases, shelf by shelf, and sealing it anew with the key of today.

What names another key is taken up in small transactions. The rows themselves say what is left to do, so that whoever is
killed goes on where he was, and a row that is written meanwhile is left as it is written.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Protocol, Self

from nms.common import faults
from nms.common.db.queries import load
from nms.common.db.repositories import BaseAuthRepository, BaseNmsRepository
from nms.common.seal import SealBroken, Sealer

PIECE: Final = 100
"""What one transaction seals anew."""

_queries = load("nms.common")


@dataclass(frozen=True, slots=True)
class Stale:
    """A value that was sealed with another key: its row, and what it was sealed for."""

    id: str
    about: str
    sealed: bytes = field(repr=False)


class Shelf(Protocol):
    """Sealed values of one kind as a repository; `shelf` is their name in the words of people."""

    shelf: ClassVar[str]
    connection: Any

    @classmethod
    async def open(cls) -> Self:
        """Over the pool of its database."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Self]:
        """The same in one transaction."""
        ...

    async def list_stale(self, key_id: str, after: str | None, size: int) -> list[Stale]:
        """The next `size` behind an id that name another key than this."""
        ...

    async def update_stale(self, ids: list[str], befores: list[bytes], afters: list[bytes]) -> int:
        """Put the sealed values in place of those before; gives how many were still the same."""
        ...


class SecretShelf(BaseNmsRepository):
    """Data keys of stored secrets."""

    shelf: ClassVar[str] = "secrets"

    async def list_stale(self, key_id: str, after: str | None, size: int) -> list[Stale]:
        """The next `size` behind an id that name another key than this."""
        rows = await _queries.list_stale_secrets(self.connection, key_id=key_id, after=after, size=size)
        return [Stale(**row) for row in rows]

    async def update_stale(self, ids: list[str], befores: list[bytes], afters: list[bytes]) -> int:
        """Put the sealed values in place of those before; gives how many were still the same."""
        return int(await _queries.update_stale_secrets(self.connection, ids=ids, befores=befores, afters=afters))


class TokenShelf(BaseNmsRepository):
    """Refresh tokens that APIs rotate."""

    shelf: ClassVar[str] = "refresh tokens of APIs"

    async def list_stale(self, key_id: str, after: str | None, size: int) -> list[Stale]:
        """The next `size` behind an id that name another key than this."""
        rows = await _queries.list_stale_tokens(self.connection, key_id=key_id, after=after, size=size)
        return [Stale(**row) for row in rows]

    async def update_stale(self, ids: list[str], befores: list[bytes], afters: list[bytes]) -> int:
        """Put the sealed values in place of those before; gives how many were still the same."""
        return int(await _queries.update_stale_tokens(self.connection, ids=ids, befores=befores, afters=afters))


class QuarantineShelf(BaseNmsRepository):
    """What refused webhooks showed."""

    shelf: ClassVar[str] = "credentials of refused requests"

    async def list_stale(self, key_id: str, after: str | None, size: int) -> list[Stale]:
        """The next `size` behind an id that name another key than this."""
        rows = await _queries.list_stale_quarantined(self.connection, key_id=key_id, after=after, size=size)
        return [Stale(**row) for row in rows]

    async def update_stale(self, ids: list[str], befores: list[bytes], afters: list[bytes]) -> int:
        """Put the sealed values in place of those before; gives how many were still the same."""
        return int(await _queries.update_stale_quarantined(self.connection, ids=ids, befores=befores, afters=afters))


class KeyShelf(BaseAuthRepository):
    """Private keys of access tokens."""

    shelf: ClassVar[str] = "signing keys"

    async def list_stale(self, key_id: str, after: str | None, size: int) -> list[Stale]:
        """The next `size` behind an id that name another key than this."""
        rows = await _queries.list_stale_keys(self.connection, key_id=key_id, after=after, size=size)
        return [Stale(**row) for row in rows]

    async def update_stale(self, ids: list[str], befores: list[bytes], afters: list[bytes]) -> int:
        """Put the sealed values in place of those before; gives how many were still the same."""
        return int(await _queries.update_stale_keys(self.connection, ids=ids, befores=befores, afters=afters))


SHELVES: Final[tuple[type[Shelf], ...]] = (SecretShelf, TokenShelf, QuarantineShelf, KeyShelf)


@dataclass(frozen=True, slots=True)
class Renewed:
    """What one transaction did: so many were sealed anew, so many cannot be opened with any key that we have."""

    renewed: int = 0
    unopened: int = 0


async def renew(shelf: type[Shelf], sealer: Sealer) -> AsyncIterator[Renewed]:
    """Seal a shelf anew, transaction by transaction; raises Problems of its database."""
    repository = await shelf.open()
    after: str | None = None
    while True:
        async with repository.transaction() as tx:
            rows = await tx.list_stale(sealer.key_id, after, PIECE)
            if not rows:
                return
            done = await _renew_rows(tx, sealer, rows)
        faults.point("shelf.renewed")
        after = rows[-1].id
        yield done


async def _renew_rows(tx: Shelf, sealer: Sealer, rows: Sequence[Stale]) -> Renewed:
    fresh: dict[str, tuple[bytes, bytes]] = {}
    for row in rows:
        try:
            fresh[row.id] = row.sealed, sealer.reseal(row.sealed, row.about)
        except SealBroken:
            continue
    befores, afters = [each[0] for each in fresh.values()], [each[1] for each in fresh.values()]
    renewed = await tx.update_stale(list(fresh), befores, afters)
    return Renewed(renewed, len(rows) - len(fresh))

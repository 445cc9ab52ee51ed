"""Keeping the vault of a process up to date with the stored secrets that cfg publishes."""

from typing import Any

from nms.common.db.queries import load
from nms.common.db.repositories import BaseNmsRepository
from nms.common.seal import Envelope
from nms.common.vault import Sealed, own_vault

_queries = load("nms.common")


async def read_secrets(repository: BaseNmsRepository) -> None:
    """Take over the stored secrets as they are now; `repository` may be any of the database `nms`."""
    ticket = own_vault().ticket()
    rows = await _queries.list_sealed_secrets(repository.connection)
    own_vault().take(ticket, [_sealed(row) for row in rows])


class Custody:
    """Follows the stored secrets, so that a rotated password is taken up at the next connection."""

    name = "secrets"
    channel = "nms_cfg"

    def __init__(self) -> None:
        self._is_read = False

    @property
    def is_read(self) -> bool:
        """Whether they were ever read."""
        return self._is_read

    async def look(self) -> None:
        """Take over what is there now; raises a Problem where it cannot be read."""
        await read_secrets(await BaseNmsRepository.open())
        self._is_read = True

    async def source(self) -> Any:
        """The pool of their database."""
        return (await BaseNmsRepository.open()).connection


def _sealed(row: Any) -> Sealed:
    envelope = None if row["sealed"] is None else Envelope(row["wrapped"], row["sealed"])
    return Sealed(row["name"], row["version"], envelope, tuple(row["origins"]))

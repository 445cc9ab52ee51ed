"""Changing the key of secrets at rest while everything runs: what is sealed with another one is sealed anew."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from time import monotonic
from typing import Final

from pydantic import BaseModel, Field

from nms.cfg import audit
from nms.cfg.audit import Act
from nms.common.db.repositories import BaseNmsRepository
from nms.common.problem import Problem
from nms.common.seal import Sealer
from nms.common.settings import get_settings
from nms.common.shelf import SHELVES, Shelf, renew

SECONDS: Final = 5.0
"""How long one request works at it; the next one goes on."""


class Shelved(BaseModel):
    """What became of the sealed values of one kind."""

    what: str = Field(examples=["secrets"])
    renewed: int = Field(0, description="Sealed anew with `SECRETS_KEY`.")
    unopened: int = Field(0, description="Opened by no key that is set: whoever used them sets them anew.")
    problem: str | None = Field(None, description="Why they could not be read, as a code.")

    @property
    def is_through(self) -> bool:
        """Whether every one that can be opened names the key of today."""
        return self.problem is None


class Rotation(BaseModel):
    """How far the change of the key is; what is not `done` goes on when it is asked for again."""

    key_id: str = Field(description="The name of the key of today; it tells nothing of the key.")
    shelves: list[Shelved]
    done: bool = Field(description="Nothing is left that an earlier key opens.")

    @property
    def verdict(self) -> str:
        """A sentence on whether the earlier keys may go."""
        if not self.done:
            return "Not all is through: the earlier keys are still needed; ask again."
        lost = sum(each.unopened for each in self.shelves)
        told = f" {lost} can be opened by none of the keys." if lost else ""
        return (
            f"All is sealed with the key {self.key_id}: the earlier keys may go from SECRETS_KEY_BEFORE.{told} "
            "Whoever is logged in by a refresh token of before logs in again then."
        )


async def rotate(shelves: Sequence[type[Shelf]] = SHELVES) -> AsyncGenerator[Rotation, None]:
    """Seal everything anew; gives how far it is after each transaction, and at last that it is done or what is away."""
    sealer = Sealer(*get_settings().sealing_keys())
    told = [Shelved(what=shelf.shelf) for shelf in shelves]
    for number, shelf in enumerate(shelves):
        try:
            async for renewed, unopened in _renew_all(shelf, sealer):
                if renewed and not any(each.renewed for each in told):
                    await _note(sealer)
                told[number] = Shelved(what=shelf.shelf, renewed=renewed, unopened=unopened)
                yield Rotation(key_id=sealer.key_id, shelves=told, done=False)
        except Problem as problem:
            told[number] = told[number].model_copy(update={"problem": problem.code})
    yield Rotation(key_id=sealer.key_id, shelves=told, done=all(each.is_through for each in told))


async def _renew_all(shelf: type[Shelf], sealer: Sealer) -> AsyncIterator[tuple[int, int]]:
    """Go through a shelf until nothing is left; gives what was renewed in all, and what cannot be opened."""
    renewed = 0
    while True:
        before, unopened = renewed, 0
        async for piece in renew(shelf, sealer):
            renewed, unopened = renewed + piece.renewed, unopened + piece.unopened
            yield renewed, unopened
        # A process that still seals with an earlier key may have written meanwhile.
        if renewed == before:
            return


async def rotate_for(seconds: float = SECONDS) -> Rotation:
    """The same for so long at most."""
    began = monotonic()
    async with aclosing(rotate()) as steps:
        async for rotation in steps:
            if not rotation.done and monotonic() - began > seconds:
                break
    return rotation


async def _note(sealer: Sealer) -> None:
    await audit.note(await BaseNmsRepository.open(), Act("secret.rotate", facts={"key": sealer.key_id}))

"""Rotated refresh tokens: one process renews at a time, and what came is kept sealed before it is used.

A remote that rotates takes each refresh token once. Between its answer and our commit there is a gap that no client can
close: whoever dies there has used up the old token and lost the new one. It is marked beforehand, so that it can be
told from a token that was withdrawn: `token-lost` either way, and the reference in the document must be set anew.
Tokens that grew from another reference stand in rows of their own: a process that still has the old one harms nobody.
"""

import asyncio
import random
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final, Self

import orjson

from nms.common import faults
from nms.common.db.queries import load
from nms.common.db.repositories import BaseNmsRepository
from nms.common.document.rest import RefreshLogin, RestSystem
from nms.common.problem import Problem, Retry
from nms.common.seal import Sealer
from nms.common.secret import resolve
from nms.common.settings import get_settings
from nms.connectors.rest.ask import origin_of
from nms.connectors.rest.grants import Granted, ask_token
from nms.connectors.rest.problems import RemoteLoginAway, RemoteLoginRefused, TokenLost

WAIT_SECONDS: Final = 0.2
"""How often a process looks whether another one that renews is through."""
WRITES: Final = 6
"""How often what came is tried to be written, over some ten seconds: it is the only copy."""

_queries = load("nms.connectors.rest")


@dataclass(frozen=True, slots=True)
class Kept:
    """What stands in the table: the newest refresh token, and the access token that came with it."""

    refresh: str
    access: str | None = None
    until: float | None = None
    renewing: bool = False

    def __repr__(self) -> str:
        return f"Kept(renewing={self.renewing})"

    @property
    def granted(self) -> Granted | None:
        """The access token, where it may still be used."""
        granted = None if self.access is None else Granted(self.access, self.until)
        return None if granted is None or granted.is_over else granted


class RefreshTokens:
    """The refresh token of one system, shared by all processes of this installation."""

    def __init__(self, system: RestSystem, login: RefreshLogin, repository: BaseNmsRepository) -> None:
        self._system = system
        self._login = login
        self._repository = repository
        self._sealer = Sealer(*get_settings().sealing_keys())
        self._reference = resolve(login.refresh_token, *system.origins).get_secret_value()
        self._line = _line_of(system, login, self._reference)

    @classmethod
    async def open(cls, system: RestSystem, login: RefreshLogin) -> Self:
        """Over the database `nms`; raises SecretMissing."""
        return cls(system, login, await BaseNmsRepository.open())

    async def renew(self, refused: str | None) -> Granted:
        """An access token other than the refused one: of another process where one is there, else a new one.

        Raises TokenLost, RemoteLoginRefused, RemoteLoginAway, SealBroken, Unavailable.
        """
        while True:
            async with self._repository.transaction() as tx:
                if await _queries.lock_token(tx.connection, system=self._system.name):
                    kept = await self._read()
                    granted = kept.granted
                    if granted is not None and granted.access != refused:
                        return granted
                    return await self._renew(kept)
            granted = (await self._read()).granted
            if granted is not None and granted.access != refused:
                return granted
            await asyncio.sleep(WAIT_SECONDS * random.uniform(0.5, 1.5))

    async def _renew(self, kept: Kept) -> Granted:
        await self._write(replace(kept, access=None, renewing=True))
        try:
            form = {"grant_type": "refresh_token", "refresh_token": kept.refresh}
            granted = await ask_token(self._system, self._login, form)
        except RemoteLoginRefused as problem:
            await self._write(replace(kept, access=None))
            if problem.facts.get("error") == "invalid_grant":
                raise self._lost(kept) from problem
            raise
        except RemoteLoginAway as problem:
            if not problem.facts["used"]:
                await self._write(replace(kept, access=None))
            raise
        faults.point("rest.token_answered")
        new = Kept(granted.refresh or kept.refresh, granted.access, granted.until)
        await self._write_surely(new)
        return granted

    async def _read(self) -> Kept:
        """What is kept; the reference of the document where nothing is yet."""
        row = await _queries.get_token(self._repository.connection, system=self._system.name, line=self._line)
        if row is None:
            return Kept(self._reference)
        return Kept(**orjson.loads(self._sealer.open(row["sealed"], self._about)), renewing=row["renewing"])

    async def _write(self, kept: Kept) -> None:
        held: dict[str, Any] = {"refresh": kept.refresh, "access": kept.access, "until": kept.until}
        await _queries.upsert_token(
            self._repository.connection,
            system=self._system.name,
            line=self._line,
            sealed=self._sealer.seal(orjson.dumps(held), self._about),
            renewing=kept.renewing,
        )

    async def _write_surely(self, kept: Kept) -> None:
        for attempt in range(WRITES):
            try:
                return await self._write(kept)
            except Problem as problem:
                if problem.retry is Retry.NEVER or attempt == WRITES - 1:
                    raise
                await asyncio.sleep(0.2 * 2.0**attempt)
        return None

    @property
    def _about(self) -> str:
        return f"token {self._system.name} {self._line}"

    def _lost(self, kept: Kept) -> TokenLost:
        name = self._system.name
        if kept.renewing:
            return TokenLost(f"{name}: a renewal was cut off between its answer and our commit.", system=name)
        return TokenLost(f"{name}: its refresh token is used up or withdrawn.", system=name)


def _line_of(system: RestSystem, login: RefreshLogin, reference: str) -> str:
    """What names the tokens that grow from one another: with another client or host a reference begins anew."""
    parts = [origin_of(system.url), login.token_url, login.client_id, reference]
    return sha256("\0".join(parts).encode()).hexdigest()[:32]

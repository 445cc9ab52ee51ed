"""Looking up service tokens: what comes together is asked together, what was asked is remembered for a moment."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nms.common import service_token
from nms.common.guard import Caller, Kind, TokenRefused
from nms.common.problem import Problem

FRESH_SECONDS = 30.0
STALE_SECONDS = 600.0
"""While the database is away a known token goes on as long as an access token would."""
MISSING_SECONDS = 5.0
REMEMBERED = 4096
BATCH = 500


@dataclass(frozen=True, slots=True)
class Service:
    """One secret of a service token, as auth keeps it; `expires_at` is in seconds since 1970, None is never."""

    hash: bytes
    id: str
    name: str
    scopes: list[str]
    expires_at: float | None

    def to_caller(self) -> Caller:
        """Whom it speaks for."""
        expires = math.inf if self.expires_at is None else self.expires_at
        return Caller(self.name, self.id, frozenset(self.scopes), expires, Kind.SERVICE)


Fetch = Callable[[list[bytes]], Awaitable[list[Service]]]


@dataclass(frozen=True, slots=True)
class _Found:
    caller: Caller
    asked_at: float


class ServiceLookup:
    """Answers by hash, with one query under way at a time however many ask."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._found: dict[bytes, _Found] = {}
        self._missing: dict[bytes, float] = {}
        self._used: dict[bytes, float] = {}
        self._wanted: dict[bytes, asyncio.Future[None]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._forgotten = 0

    async def find(self, token: str) -> tuple[Caller, float]:
        """Whom a token speaks for, and until when that may be remembered; raises TokenRefused, or what fetching raised.

        Use is noted here, so the time of the last use is exact to FRESH_SECONDS.
        """
        if not service_token.is_well_formed(token):
            raise TokenRefused("The service token is malformed or mistyped.")
        name = service_token.hash_of(token)
        found = await self._find(name)
        now = self._clock()
        if found is None:
            raise TokenRefused("The service token is not known, expired or revoked.")
        if now >= found.caller.expires_at:
            raise TokenRefused("The service token is expired.")
        self._used[name] = now
        fresh_until = found.asked_at + FRESH_SECONDS
        return found.caller, min(fresh_until if fresh_until > now else now + MISSING_SECONDS, found.caller.expires_at)

    def forget(self, ids: Collection[str]) -> None:
        """Ask anew when these service tokens come again."""
        if ids:
            self._forgotten += 1
            self._found = {name: found for name, found in self._found.items() if found.caller.token_id not in ids}

    def take_used(self) -> Mapping[bytes, float]:
        """The hashes used since the last call, and when."""
        used, self._used = self._used, {}
        return used

    def give_back(self, used: Mapping[bytes, float]) -> None:
        """What was taken and could not be told."""
        self._used = {**used, **self._used}

    async def _find(self, name: bytes) -> _Found | None:
        now = self._clock()
        found = self._found.get(name)
        if found is not None and now < found.asked_at + FRESH_SECONDS:
            return found
        if self._missing.get(name, 0.0) > now:
            return None
        try:
            await self._ask(name)
            while name not in self._found and name not in self._missing:
                # It was forgotten between the answer and this line: nobody was told that it is not good.
                await self._ask(name)
        except Problem:
            found = self._found.get(name)
            if found is None or now >= found.asked_at + STALE_SECONDS:
                raise
            return found
        return self._found.get(name)

    async def _ask(self, name: bytes) -> None:
        waiting = self._wanted.get(name)
        if waiting is None:
            waiting = self._wanted[name] = asyncio.get_running_loop().create_future()
            # Nobody may be left to hear what went wrong.
            waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._keep_asking(), name="look-up-services")
        await asyncio.shield(waiting)

    async def _keep_asking(self) -> None:
        while self._wanted:
            names, turn = list(self._wanted)[:BATCH], self._forgotten
            error: Exception | None = None
            try:
                rows = await self._fetch(names)
            except Exception as raised:
                error = raised
            else:
                if turn != self._forgotten:
                    # The answer may be older than what was to be forgotten.
                    continue
                self._keep(names, rows)
            for name in names:
                _tell(self._wanted.pop(name), error)

    def _keep(self, names: Iterable[bytes], services: Iterable[Service]) -> None:
        now = self._clock()
        there = {service.hash: _Found(service.to_caller(), now) for service in services}
        for name in names:
            self._found.pop(name, None)
            self._missing.pop(name, None)
            if name in there:
                _put(self._found, name, there[name])
            else:
                _put(self._missing, name, now + MISSING_SECONDS)


def _tell(waiting: asyncio.Future[None], error: Exception | None) -> None:
    if waiting.done():
        return
    if error is None:
        waiting.set_result(None)
    else:
        waiting.set_exception(error)


def _put(memory: dict[bytes, Any], name: bytes, value: Any) -> None:
    memory.pop(name, None)
    if len(memory) >= REMEMBERED:
        del memory[next(iter(memory))]
    memory[name] = value

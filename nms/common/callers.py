"""Who is connected to this process: how long a caller may take for what he owes, and who goes when too many came."""

import asyncio
import heapq
import resource
from collections.abc import Iterable
from typing import ClassVar, Final, Protocol
from weakref import WeakKeyDictionary

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from uvicorn.server import ServerState

from nms.common.settings import read_settings

LOOK_SECONDS: Final = 0.5
OWN_FILES: Final = 200
"""Descriptors that are kept for everything else: databases, brokers, logs."""
SHED: Final = 20
"""One in so many goes at once when there are too many: the search costs as much for one."""


class HttpSettings(BaseSettings):
    """How patient a process is with callers (`nms.common.strict_http`), prefixed `HTTP_`."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_file=".env", extra="ignore", env_ignore_empty=True, env_prefix="HTTP_", frozen=True
    )

    head_seconds: float = Field(10.0, gt=0, description="seconds from the first byte of a request to its last header")
    body_seconds: float = Field(20.0, gt=0, description="seconds for a body, besides those of `HTTP_RATE`")
    rate: int = Field(1000, ge=1, description="bytes a second that earn a body, or a reader of an answer, more time")
    head_size: int = Field(32_768, ge=1024, description="bytes of names and values of all headers of a request")
    bodies: int = Field(
        268_435_456, ge=1 << 20, description="bytes of unanswered bodies in memory; beyond, the slowest go"
    )
    connections: int = Field(
        4000, ge=1, description="connections of a process, at most its limit of files less 200; then the slowest go"
    )


class Caller(Protocol):
    """One connection, as it is watched."""

    since: float
    held: int

    @property
    def owes(self) -> bool:
        """Whether a request of his is not whole, or none has begun."""

    def look(self, now: float) -> None:
        """End it if its time is over."""

    def drop(self) -> None:
        """End it at once."""


class Callers:
    """All connections of one server, looked at twice a second: a timer for each request would cost more."""

    def __init__(self, connections: Iterable[Caller], settings: HttpSettings) -> None:
        self.settings = settings
        self.held = 0
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._next: float | None = None
        self._was_late = False
        self._most = min(settings.connections, max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OWN_FILES))

    def join(self, count: int) -> None:
        """Watch, now that there are so many; the newest is among them."""
        if self._next is None:
            self._wait()
        if count > self._most:
            owing = [caller for caller in self._connections if caller.owes]
            for caller in heapq.nsmallest(max(1, len(owing) // SHED), owing, key=_began):
                caller.drop()

    def hold(self, size: int) -> None:
        """Count bytes of bodies, negative when they are let go; those who took longest make room."""
        self.held += size
        if self.held > self.settings.bodies:
            for caller in sorted((one for one in self._connections if one.owes and one.held), key=_began):
                if self.held <= self.settings.bodies:
                    return
                caller.drop()

    def _wait(self) -> None:
        self._next = self._loop.time() + LOOK_SECONDS
        self._loop.call_at(self._next, self._look)

    def _look(self) -> None:
        now, planned = self._loop.time(), self._next
        self._next = None
        assert planned is not None
        callers = list(self._connections)
        # When we are late ourselves, what he sent may wait unread: that look is left out, the next one is not.
        self._was_late = not self._was_late and now - planned > LOOK_SECONDS
        if not self._was_late:
            for caller in callers:
                caller.look(now)
        if callers:
            self._wait()


def _began(caller: Caller) -> float:
    return caller.since


_of_servers: WeakKeyDictionary[ServerState, Callers] = WeakKeyDictionary()


def callers_of(server: ServerState, connections: Iterable[Caller]) -> Callers:
    """Those of a server; the settings are read with its first connection."""
    callers = _of_servers.get(server)
    if callers is None:
        callers = _of_servers[server] = Callers(connections, read_settings(HttpSettings))
    return callers

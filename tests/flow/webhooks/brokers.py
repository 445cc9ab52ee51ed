"""The broker of the campaign: one that is stopped and killed, or one of the session that is cut off."""

import asyncio
import signal
from pathlib import Path
from typing import Protocol

from tests.services.door import Door
from tests.services.rabbitmq import RabbitServer


class Broker(Protocol):
    """RabbitMQ as the installation sees it."""

    @property
    def dsn(self) -> str:
        """What the installation is told."""

    @property
    def direct(self) -> str:
        """Where it really is."""

    async def start(self) -> None:
        """Let it answer."""

    async def stop(self, *, crash: bool) -> None:
        """Let nobody reach it."""

    async def close(self) -> None:
        """Leave nothing."""


class OwnBroker:
    """A RabbitMQ of its own: stopped as by its operator, or killed."""

    def __init__(self, directory: Path) -> None:
        self._server = RabbitServer(directory)

    @property
    def dsn(self) -> str:
        return self._server.dsn()

    @property
    def direct(self) -> str:
        return self._server.dsn()

    async def start(self) -> None:
        await asyncio.to_thread(self._server.launch)

    async def stop(self, *, crash: bool) -> None:
        await asyncio.to_thread(self._server.end, signal.SIGKILL if crash else signal.SIGTERM)

    async def close(self) -> None:
        await asyncio.to_thread(self._server.end, signal.SIGKILL)


class SharedBroker:
    """A virtual host of a RabbitMQ that others use too, behind a door that can be shut."""

    def __init__(self, dsn: str) -> None:
        self.direct = dsn
        self._door = Door(dsn)

    @property
    def dsn(self) -> str:
        return self._door.dsn

    async def start(self) -> None:
        await self._door.open()

    async def stop(self, *, crash: bool) -> None:
        await self._door.shut()

    async def close(self) -> None:
        await self._door.shut()

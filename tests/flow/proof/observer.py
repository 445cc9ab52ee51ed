"""Readers at the target that look for half of a source transaction, again and again."""

import asyncio
from typing import Any

import asyncpg

from tests.flow.proof.digest import MONEY
from tests.flow.proof.writers import LOST_CONNECTION


class Observer:
    """Takes snapshots of the target; `money` is the sum that every whole source transaction leaves."""

    def __init__(self, dsn: str, money: int) -> None:
        self.dsn = dsn
        self.money = money
        self.snapshots = 0
        self.wrong: list[str] = []
        self.connection: Any = None

    async def look(self) -> None:
        """One snapshot; a lost server only costs the connection."""
        try:
            if self.connection is None:
                self.connection = await asyncpg.connect(self.dsn, timeout=5, command_timeout=30)
            found = int(await self.connection.fetchval(MONEY))
        except (*LOST_CONNECTION, asyncpg.PostgresError):
            self.leave()
            return
        self.snapshots += 1
        if found != self.money:
            self.wrong.append(f"a snapshot of the target holds {found} instead of {self.money}")

    async def run(self, stop: asyncio.Event, pause: float = 0.02) -> None:
        """Look until told to stop."""
        while not stop.is_set():
            await self.look()
            await asyncio.sleep(pause)
        self.leave()

    def leave(self) -> None:
        if self.connection is not None:
            self.connection.terminate()
        self.connection = None

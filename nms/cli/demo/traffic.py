"""What the company writes while NMS works: pgbench's own transactions, and changes of subscriptions."""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from nms.cli.demo.process import Process, run_together
from nms.cli.demo.stage import Stage, queries
from nms.connectors.postgres.catalog import Connection

CLIENTS = 4
CHANGES_OF_PGBENCH = 4
"""A transaction of pgbench updates an account, a teller and a branch, and inserts a row of history."""
WRITERS = 2
PAUSE_SECONDS = 0.01
STATUSES = ("active", "paused", "cancelled", "trial")
PLANS = ("basic", "team", "business")

_PROGRESS = re.compile(r"progress: [\d.]+ s, (?P<rate>[\d.]+) tps")
_DONE = re.compile(r"number of transactions actually processed: (?P<count>\d+)")


@dataclass
class Written:
    """What was committed at the source so far, by the writers' own count."""

    pgbench_rate: float = 0.0
    pgbench_transactions: int = 0
    subscription_transactions: int = 0
    subscription_changes: int = 0

    @property
    def changes(self) -> int:
        """Row changes: rows inserted, updated and deleted."""
        return self.pgbench_transactions * CHANGES_OF_PGBENCH + self.subscription_changes


@dataclass
class Writer:
    """Changes subscriptions of its own, so that no writer waits for another; `emails` are those that exist."""

    connection: Connection
    emails: list[str]
    written: Written
    chance: random.Random
    name: str
    made: int = 0
    gone: list[str] = field(default_factory=list)

    async def write(self) -> None:
        """One transaction: a single kind of change, or several of them together."""
        acts: Sequence[Callable[[], Awaitable[int]]] = (
            self.change_statuses,
            self.subscribe,
            self.unsubscribe,
            self.move,
            self.succeed,
            self.come_back,
        )
        chosen = self.chance.choices(acts, weights=(9, 4, 2, 2, 1, 1), k=self.chance.choice((1, 1, 1, 2, 4)))
        async with self.connection.transaction():
            changes = sum([await act() for act in chosen])
        self.written.subscription_transactions += 1
        self.written.subscription_changes += changes

    async def change_statuses(self) -> int:
        """Some subscriptions change their status."""
        emails = list({self.chance.choice(self.emails) for _ in range(self.chance.randint(1, 5))})
        status = self.chance.choice(STATUSES)
        count: int = await queries.update_statuses(self.connection, emails=emails, status=status)
        return count

    async def subscribe(self) -> int:
        """New subscriptions."""
        return await self._insert([self._new() for _ in range(self.chance.randint(1, 3))])

    async def unsubscribe(self) -> int:
        """Some subscriptions are deleted."""
        return await self._delete([self._take() for _ in range(self.chance.randint(1, 2))])

    async def move(self) -> int:
        """One gets a new e-mail address, which is its key."""
        old, new = self._take(), self._new()
        count: int = await queries.update_email(self.connection, old=old, new=new)
        self.emails.append(new)
        return count

    async def succeed(self) -> int:
        """One gets a new key and another takes over the old one, in one transaction."""
        old, new = self._take(), self._new()
        count: int = await queries.update_email(self.connection, old=old, new=new)
        self.emails.append(new)
        return count + await self._insert([old])

    async def come_back(self) -> int:
        """One that was deleted subscribes again under its key; or one is deleted and does so at once."""
        deleted = 0 if self.gone else await self._delete([self._take()])
        return deleted + await self._insert([self.gone.pop()])

    def _take(self) -> str:
        place = self.chance.randrange(len(self.emails))
        self.emails[place], self.emails[-1] = self.emails[-1], self.emails[place]
        return self.emails.pop()

    def _new(self) -> str:
        self.made += 1
        return f"new.{self.name}.{self.made}@example.org"

    async def _insert(self, emails: list[str]) -> int:
        plan = self.chance.choice(PLANS)
        count: int = await queries.insert_subscriptions(self.connection, emails=emails, plan=plan)
        self.emails += emails
        return count

    async def _delete(self, emails: list[str]) -> int:
        count: int = await queries.delete_subscriptions(self.connection, emails=emails)
        self.gone += emails
        return count


async def write_for(stage: Stage, seconds: float, written: Written) -> None:
    """Write on the source from all clients at once for so many seconds; `written` grows meanwhile."""
    command = ("-n", "-c", str(CLIENTS), "-j", "1", "-P", "1", "-T", str(max(1, round(seconds))))
    pgbench = await stage.start_pgbench("billing", *command)
    try:
        writers = [_write_subscriptions(stage, seconds, written, number) for number in range(WRITERS)]
        await run_together(_follow(pgbench, written), *writers)
    finally:
        await pgbench.end()


async def _follow(pgbench: Process, written: Written) -> None:
    began = asyncio.get_running_loop().time()
    async for line in pgbench.lines():
        if found := _PROGRESS.match(line):
            now = asyncio.get_running_loop().time()
            written.pgbench_rate = float(found["rate"])
            written.pgbench_transactions += round(written.pgbench_rate * (now - began))
            began = now
    if found := _DONE.search(await pgbench.finish()):
        written.pgbench_transactions = int(found["count"])
    written.pgbench_rate = 0.0


async def _write_subscriptions(stage: Stage, seconds: float, written: Written, number: int) -> None:
    connection = await stage.connect("billing")
    try:
        emails = [row["email"] for row in await queries.list_emails(connection)][number::WRITERS]
        writer = Writer(connection, emails, written, random.Random(number), str(number))
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            await writer.write()
            await asyncio.sleep(PAUSE_SECONDS)
    finally:
        await connection.close()

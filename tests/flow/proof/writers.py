"""Writers at the source: seeded, mixed, and each commit logged inside its own transaction."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg

LOST_CONNECTION = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)
WRITER = 1_000_000_000


@dataclass(frozen=True)
class Plan:
    """How much is written; rate is transactions a second of all writers together, 0 means as fast as they can."""

    seed: int = 1
    writers: int = 8
    rate: float = 100.0
    transactions: int | None = None
    accounts: int = 2_000
    big: int = 20_000
    hold: float = 2.0
    wipes: float = 0.3


@dataclass
class Tally:
    """What the writers know themselves: whose commit was answered, and whose answer never came."""

    acknowledged: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    rolled_back: int = 0
    refused: int = 0
    kinds: dict[str, int] = field(default_factory=dict)


class RollBack(Exception):
    """The writer changed its mind."""


class Writer:
    """One client of the source."""

    def __init__(self, dsn: str, number: int, plan: Plan) -> None:
        self.dsn = dsn
        self.number = number
        self.plan = plan
        self.random = random.Random(plan.seed * 1000 + number)
        self.tally = Tally()
        self.connection: Any = None
        self.turn = 0
        self.kinds: dict[Callable[[], Awaitable[None]], float] = {
            self.change_account: 22, self.change_note: 6, self.transfer: 22, self.subscribe: 8,
            self.cancel: 4, self.replace_subscription: 5, self.rename: 6, self.swap: 3,
            self.change_lines: 6, self.move_line: 3, self.open_account: 5, self.close_account: 3, self.log_events: 6,
            self.give_up: 4, self.save_point: 6, self.scribble: 3, self.wipe: plan.wipes, self.write_much: 0.1,
            self.take_long: 0.3,
        }  # fmt: skip

    async def run(self, stop: asyncio.Event) -> None:
        """Write until told to stop or until the plan's number of transactions; a lost server is waited for."""
        pause = self.plan.writers / self.plan.rate if self.plan.rate else 0.0
        clock = asyncio.get_running_loop().time
        due = clock()
        while not stop.is_set() and (self.plan.transactions is None or self.turn < self.plan.transactions):
            if self.connection is None and not await self.connect():
                await asyncio.sleep(0.1)
                continue
            await self.transact(self.random.choices(list(self.kinds), list(self.kinds.values()))[0])
            due = max(due + pause, clock() - 1.0)
            await asyncio.sleep(max(0.0, due - clock()))
        if self.connection is not None:
            self.connection.terminate()

    async def connect(self) -> bool:
        try:
            self.connection = await asyncpg.connect(self.dsn, timeout=5, command_timeout=60)
        except (*LOST_CONNECTION, asyncpg.PostgresError):
            self.connection = None
        return self.connection is not None

    async def transact(self, kind: Callable[[], Awaitable[None]]) -> None:
        self.turn += 1
        txid = self.number * WRITER + self.turn
        name = getattr(kind, "__name__", "")
        try:
            async with self.connection.transaction():
                await self.connection.execute("select proof.begin_transaction($1, $2)", txid, name)
                await kind()
        except RollBack:
            self.tally.rolled_back += 1
        except LOST_CONNECTION:
            self.tally.unknown.append(txid)
            self.connection.terminate()
            self.connection = None
        except asyncpg.PostgresError:
            self.tally.refused += 1
        else:
            self.tally.acknowledged.append(txid)
            self.tally.kinds[name] = self.tally.kinds.get(name, 0) + 1

    # What is picked may be gone when it is written: then the whole transaction is given up, so that money is kept.

    async def fetch(self, query: str, *values: object) -> Any:
        found = await self.connection.fetchval(query, *values)
        if found is None:
            raise RollBack
        return found

    async def pick_account(self) -> int:
        at = self.random.randrange(self.plan.accounts)
        return int(await self.fetch("select id from account where id >= $1 order by id limit 1", at))

    async def pick_email(self) -> str:
        at = self.any_email()
        return str(await self.fetch("select email from subscription where email >= $1 order by email limit 1", at))

    def any_email(self) -> str:
        return f"user{self.random.randrange(self.plan.accounts):07d}@example.test"

    def any_text(self) -> str:
        return self.random.randbytes(self.random.randrange(1_200, 3_000)).hex()

    async def change_account(self) -> None:
        picks = sorted({await self.pick_account() for _ in range(self.random.randrange(1, 4))})
        for pick in picks:
            details = f'{{"n": {self.turn}, "by": "writer {self.number}", "nested": [1, null, "ü"]}}'
            await self.connection.execute(
                "update account set payload = $2, details = $3::text::jsonb where id = $1",
                pick,
                f"p{self.turn}",
                details,
            )

    async def change_note(self) -> None:
        note = None if self.random.random() < 0.1 else self.any_text()
        await self.connection.execute("update account set note = $2 where id = $1", await self.pick_account(), note)

    async def transfer(self) -> None:
        amount, share = self.random.randrange(1, 1000), self.random.randrange(0, 500)
        account = await self.pick_account()
        query = "update account set balance = balance - $2 where id = $1 returning 1"
        await self.fetch(query, account, amount)
        query = """update line set amount = amount + $2 where (account, n) = (
                   select account, n from line where account >= $1 order by account, n limit 1) returning 1"""
        await self.fetch(query, account, share)
        query = "update subscription set amount = amount + $2 where email = $1 returning 1"
        await self.fetch(query, await self.pick_email(), amount - share)
        await self.log_events()

    async def subscribe(self) -> None:
        query = """insert into subscription (email, plan) values ($1, 9.90)
                   on conflict (email) do update set status = 'paused'"""
        await self.connection.execute(query, self.any_email())

    async def cancel(self) -> None:
        gone = await self.fetch("delete from subscription where email = $1 returning amount", await self.pick_email())
        query = "update account set balance = balance + $2 where id = $1 returning 1"
        await self.fetch(query, await self.pick_account(), gone)

    async def replace_subscription(self) -> None:
        email = await self.pick_email()
        gone = await self.fetch("delete from subscription where email = $1 returning amount", email)
        query = "insert into subscription (email, status, amount) values ($1, 'replaced', $2)"
        await self.connection.execute(query, email, gone)

    async def rename(self) -> None:
        query = "update subscription set email = $2 where email = $1"
        await self.connection.execute(query, await self.pick_email(), self.any_email())

    async def swap(self) -> None:
        left, right = await self.pick_email(), await self.pick_email()
        if left == right:
            raise RollBack
        for old, new in ((left, f"~{self.number}"), (right, left), (f"~{self.number}", right)):
            query = "update subscription set email = $2 where email = $1 returning email"
            await self.fetch(query, old, new)

    async def change_lines(self) -> None:
        account = await self.pick_account()
        query = "delete from line where account = $1 and n = 1 returning amount"
        gone = await self.connection.fetchval(query, account) or 0
        query = "insert into line (account, n, amount, item) values ($1, 1, $2, $3)"
        await self.connection.execute(query, account, gone, f"again {self.turn}")

    async def move_line(self) -> None:
        query = "update line set n = $2 where account = $1 and n = (select max(n) from line where account = $1)"
        await self.connection.execute(query, await self.pick_account(), self.random.randrange(1, 6))

    async def open_account(self) -> None:
        account = self.random.randrange(self.plan.accounts * 2)
        query = "insert into account (id, payload, note) values ($1, 'opened', $2)"
        await self.connection.execute(query, account, self.any_text())
        query = "insert into line (account, n, item) select $1, g, 'first' from generate_series(1, $2) g"
        await self.connection.execute(query, account, self.random.randrange(4))

    async def close_account(self) -> None:
        account, heir = await self.pick_account(), await self.pick_account()
        if account == heir:
            raise RollBack
        query = """with gone as (delete from line where account = $1 returning amount)
                   select coalesce(sum(amount), 0) from gone"""
        money = await self.fetch(query, account)
        money += await self.fetch("delete from account where id = $1 returning balance", account)
        await self.fetch("update account set balance = balance + $2 where id = $1 returning 1", heir, int(money))

    async def log_events(self) -> None:
        query = (
            """insert into event_log (kind, body) select $1, jsonb_build_object('g', g) from generate_series(1, $2) g"""
        )
        await self.connection.execute(query, f"turn {self.turn}", self.random.randrange(1, 4))

    async def give_up(self) -> None:
        await self.transfer()
        await self.subscribe()
        raise RollBack

    async def save_point(self) -> None:
        await self.change_account()
        try:
            async with self.connection.transaction():
                await self.transfer()
                raise RollBack
        except RollBack:
            self.tally.rolled_back += 1
        async with self.connection.transaction():
            await self.transfer()

    async def scribble(self) -> None:
        query = """insert into scratch (id, payload) select g, $2 from generate_series($1::int, $1 + 4) g
                   on conflict (id) do update set payload = excluded.payload"""
        await self.connection.execute(query, self.random.randrange(40), f"scratch {self.turn}")

    async def wipe(self) -> None:
        await self.connection.execute("truncate scratch")
        if self.random.random() < 0.5:
            await self.scribble()
        await self.transfer()

    async def write_much(self) -> None:
        await self.connection.execute("select pg_advisory_xact_lock(77)")
        start = self.random.randrange(self.plan.big)
        query = """insert into bulk (id, payload) select g, md5(g::text || $3) from generate_series($1::int, $2::int) g
                   on conflict (id) do update set payload = excluded.payload"""
        await self.connection.execute(query, start, start + self.plan.big, str(self.turn))
        if self.random.random() < 0.5:
            await self.connection.execute("delete from bulk where id % 3 = $1", self.random.randrange(3))
        await self.transfer()

    async def take_long(self) -> None:
        await self.transfer()
        await asyncio.sleep(self.random.uniform(0, self.plan.hold))
        await self.log_events()


async def write(dsn: str, plan: Plan, stop: asyncio.Event) -> Tally:
    """Run all writers of a plan; afterwards the source is what recovery made of it."""
    writers = [Writer(dsn, number, plan) for number in range(1, plan.writers + 1)]
    await asyncio.gather(*(writer.run(stop) for writer in writers))
    total = Tally()
    for tally in (writer.tally for writer in writers):
        total.acknowledged += tally.acknowledged
        total.unknown += tally.unknown
        total.rolled_back += tally.rolled_back
        total.refused += tally.refused
        for kind, count in tally.kinds.items():
            total.kinds[kind] = total.kinds.get(kind, 0) + count
    return total

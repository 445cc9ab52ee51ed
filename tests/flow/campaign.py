"""A fault campaign: writers write, workers die, servers stop, and after each round the checker judges."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import asyncpg

from tests.flow.drivers import Driver, Sides
from tests.flow.proof import checker, writers
from tests.flow.proof.observer import Observer
from tests.flow.proof.records import Fault, Verdict
from tests.services.postgres import PostgresServer

PATIENCE = 90.0
"""Seconds after a fault within which something must come into effect again."""


class Blow(StrEnum):
    """What is done to the pipeline."""

    KILL = "worker killed"
    KILL_AT = "worker killed at a fault point"
    FREEZE = "worker frozen and thawed"
    SOURCE = "source stopped"
    TARGET = "target stopped"
    OWN = "own PostgreSQL stopped"


@dataclass(frozen=True)
class Orders:
    """How much of what; numbers are for the whole campaign and spread over its rounds."""

    seed: int = 1
    rounds: int = 5
    worker_kills: int = 100
    source_stops: int = 20
    target_stops: int = 20
    own_stops: int = 20
    freezes: int = 1
    accounts: int = 40_000
    rate: float = 60.0
    calm: float = 1.0
    through: float = 180.0


@dataclass
class Report:
    """What was done and what came of it."""

    verdict: Verdict = field(default_factory=Verdict)
    blows: Counter[tuple[Blow, bool]] = field(default_factory=Counter)
    recoveries: list[tuple[float, Blow]] = field(default_factory=list)
    rounds: int = 0

    def count(self, *blows: Blow, backfill: bool | None = None) -> int:
        """How often, of all or of one phase."""
        return sum(n for (blow, early), n in self.blows.items() if blow in blows and backfill in (None, early))

    def absorb(self, verdict: Verdict) -> None:
        """Add a round's verdict."""
        for fault in Fault:
            self.verdict.counts[fault] += verdict.counts[fault]
            self.verdict.examples[fault] += verdict.examples[fault]
        for name, number in verdict.facts.items():
            self.verdict.facts[name] = self.verdict.facts.get(name, 0) + number
        self.rounds += 1


class Round:
    """One pipeline from its first chunk to its last change."""

    def __init__(
        self, sides: Sides, driver: Driver, orders: Orders, report: Report, say: Callable[[str], None]
    ) -> None:
        self.sides, self.driver, self.orders, self.report, self.say = sides, driver, orders, report, say
        self.random = random.Random(orders.seed * 100 + report.rounds)
        self.backfilled = False
        self.over = asyncio.Event()
        self.observer: Observer | None = None

    async def run(self, blows: list[Blow]) -> None:
        """Set up, strike, wait until everything is through, judge."""
        sides, orders = self.sides, self.orders
        await sides.source.create_database(sides.database)
        await sides.target.create_database(sides.database)
        await checker.prepare_source(sides.source_dsn)
        await checker.prepare_target(sides.target_dsn)
        money = await checker.seed_source(sides.source_dsn, orders.accounts)
        self.observer = Observer(sides.target_dsn, money)
        plan = writers.Plan(
            seed=orders.seed + self.report.rounds, rate=orders.rate, accounts=orders.accounts, big=5_000, hold=3.0
        )
        enough = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(writers.write(sides.source_dsn, plan, enough))
            await self.driver.begin(sides)
            watching = group.create_task(self.watch())
            half = len(blows) // 2
            for blow in blows[:half]:
                await self.strike(blow)
            await self.finish_backfill()
            for blow in blows[half:]:
                await self.strike(blow)
            enough.set()
            tally = await writing
            self.say(f"writers done: {len(tally.acknowledged)} commits, {len(tally.unknown)} with unknown outcome")
            await self.wait_until_through()
            self.over.set()
            await watching
        verdict = await checker.check(sides.source_dsn, sides.target_dsn, [self.observer], tally)
        for complaint in await self.driver.complaints():
            verdict.add(Fault.LOST, f"held back: {complaint}")
        self.report.absorb(verdict)
        if not verdict.clean:
            self.say(await self.driver.explain())
        self.say(f"round {self.report.rounds}: {verdict}")

    async def finish_backfill(self) -> None:
        """The second half of the blows falls on the stream."""
        if not self.backfilled:
            await self.driver.hurry()
        await self.wait_for_mark()

    async def wait_for_mark(self) -> None:
        deadline = time.monotonic() + self.orders.through
        while not self.backfilled:
            if time.monotonic() > deadline:
                raise checker.Stalled(f"the backfill is not over; {await self.driver.explain()}")
            await asyncio.sleep(0.1)

    async def wait_until_through(self) -> None:
        try:
            await checker.wait_until_through(self.sides.source_dsn, self.sides.target_dsn, self.orders.through)
        except checker.Stalled as stalled:
            raise checker.Stalled(f"{stalled}; {await self.driver.explain()}") from None

    async def watch(self) -> None:
        """Set the mark when the backfill is over, then observe."""
        while not self.backfilled and not self.over.is_set():
            try:
                if await self.driver.is_backfilled():
                    await checker.mark_backfill_over(self.sides.target_dsn)
                    self.backfilled = True
                    self.say("backfill over")
            except (*writers.LOST_CONNECTION, asyncpg.PostgresError):
                pass  # a server is down; ask again
            await asyncio.sleep(0.2)
        if self.observer is not None:
            await self.observer.run(self.over, pause=0.05)

    async def strike(self, blow: Blow) -> None:
        """One fault; mostly waits until the pipeline moves again, sometimes strikes on while it is down."""
        await asyncio.sleep(self.random.uniform(0, self.orders.calm))
        early = not self.backfilled
        start = time.monotonic()
        await self.deal(blow)
        self.report.blows[blow, early] += 1
        if self.random.random() < 0.2:
            self.say(f"{blow}{' during backfill' if early else ''}; no rest")
            return
        await self.wait_for_progress(blow)
        taken = time.monotonic() - start
        self.report.recoveries.append((taken, blow))
        self.say(f"{blow}{' during backfill' if early else ''}; moves again after {taken:.1f} s")

    async def deal(self, blow: Blow) -> None:
        match blow:
            case Blow.KILL:
                await self.driver.kill()
            case Blow.KILL_AT:
                points = self.driver.points if self.backfilled else self.driver.points + self.driver.backfill_points
                point, nth = self.random.choice(points), self.random.randrange(1, 5)
                if not await self.driver.kill_at(point, nth):
                    self.say(f"{point} was not reached; killed from outside")
            case Blow.FREEZE:
                await self.driver.freeze()
                await self.wait_for_progress(blow)
                await self.driver.thaw()
            case Blow.SOURCE:
                await self.restart(self.sides.source)
            case Blow.TARGET:
                await self.restart(self.sides.target)
            case Blow.OWN:
                await self.restart(self.sides.own)

    async def restart(self, server: PostgresServer) -> None:
        await server.stop("immediate")
        await asyncio.sleep(self.random.uniform(0, 0.5))
        await server.start()

    async def progress(self) -> int:
        """The last effect at the target; -1 while it cannot be told."""
        try:
            connection = await asyncpg.connect(self.sides.target_dsn, timeout=5)
        except (*writers.LOST_CONNECTION, asyncpg.PostgresError):
            return -1
        try:
            return int(await connection.fetchval("select coalesce(max(seq), 0) from proof.effect") or 0)
        except (*writers.LOST_CONNECTION, asyncpg.PostgresError):
            return -1
        finally:
            connection.terminate()

    async def wait_for_progress(self, blow: Blow) -> None:
        """Wait for new effects; what was in flight when the blow fell does not count."""
        deadline = time.monotonic() + PATIENCE
        await asyncio.sleep(0.3)
        before = await self.progress()
        while await self.progress() <= before:
            if time.monotonic() > deadline:
                raise checker.Stalled(
                    f"nothing moved for {PATIENCE:.0f} s after: {blow}; {await self.driver.explain()}"
                )
            await asyncio.sleep(0.1)


def plan_blows(orders: Orders, points: tuple[str, ...], *, may_freeze: bool) -> list[list[Blow]]:
    """The blows of each round, shuffled; every third kill falls at a named point where there are any."""
    dice = random.Random(orders.seed)
    kills = [Blow.KILL_AT if points and n % 3 == 0 else Blow.KILL for n in range(orders.worker_kills)]
    blows = kills + [Blow.SOURCE] * orders.source_stops + [Blow.TARGET] * orders.target_stops
    blows += [Blow.OWN] * orders.own_stops + [Blow.FREEZE] * (orders.freezes if may_freeze else 0)
    dice.shuffle(blows)
    return [blows[n :: orders.rounds] for n in range(orders.rounds)]

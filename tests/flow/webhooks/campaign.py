"""The campaign: a sender sends, role processes are killed, servers stop in turn, and at the end all is compared."""

import asyncio
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from nms.common.waiting import first_of
from tests.flow.proof.checker import Stalled
from tests.flow.proof.records import Verdict
from tests.flow.webhooks.judge import Evidence, judge
from tests.flow.webhooks.sender import Plan
from tests.flow.webhooks.stage import QUEUE, ROOT, Role, Stage

Say = Callable[[str], None]
PATIENCE = 120.0
"""Seconds without any progress after which nothing is waited for any more."""
LOOK_SECONDS = 0.3


@dataclass(frozen=True)
class Orders:
    """How much of what. The sender goes on until all blows have fallen and the seconds are over."""

    seed: int = 1
    seconds: float = 60.0
    rate: float = 300.0
    doubles: float = 0.05
    kill_every: float = 3.0
    stop_every: float = 10.0
    down: float = 2.0

    @property
    def kills(self) -> int:
        """How often a role process is killed."""
        return max(1, int(self.seconds / self.kill_every))

    @property
    def stops(self) -> int:
        """How often a server is stopped, PostgreSQL and RabbitMQ in turn."""
        return max(2, int(self.seconds / self.stop_every))


@dataclass
class Report:
    """What was done and what came of it."""

    verdict: Verdict = field(default_factory=Verdict)
    blows: Counter[str] = field(default_factory=Counter)
    tally: dict[str, Any] = field(default_factory=dict)
    drained: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong, and every webhook got its answer."""
        return self.verdict.clean and not self.tally["unanswered"]


class Campaign:
    """One run over one installation."""

    def __init__(self, stage: Stage, orders: Orders, say: Say) -> None:
        self.stage, self.orders, self.say = stage, orders, say
        self.dice = random.Random(orders.seed)
        self.report = Report()
        self._calm, self._over = asyncio.Event(), asyncio.Event()
        self._starting = asyncio.Lock()
        self._began = time.monotonic()

    async def run(self) -> Report:
        """Send, strike, wait until everything is through, judge; raises Stalled when it does not get through."""
        supervising = asyncio.create_task(self._supervise())
        try:
            await self._strike()
            await self._conclude()
        finally:
            self._over.set()
            await supervising
        return self.report

    async def _strike(self) -> None:
        plan = Plan(self.stage.ports, rate=self.orders.rate, doubles=self.orders.doubles, seed=self.orders.seed)
        sender = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.flow.webhooks.sender", json.dumps(asdict(plan))),
            cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 28,
        )  # fmt: skip
        assert sender.stdin is not None
        try:
            await asyncio.gather(self._kill(), self._stop(), self._pass())
            self._tell("no more blows; the sender finishes")
            sender.stdin.close()
            output, _ = await asyncio.wait_for(sender.communicate(), 3 * PATIENCE)
        finally:
            if sender.returncode is None:
                sender.kill()
                await sender.wait()
        self.report.tally = json.loads(output)

    async def _pass(self) -> None:
        while (left := self.orders.seconds - self._elapsed()) > 0:
            await self._rest(min(left, 5.0))
            self._tell(f"{await self.stage.count_arrived():,} events at the target")

    async def _kill(self) -> None:
        turn: list[Role] = []
        for _ in range(self.orders.kills):
            await self._rest(self.orders.kill_every)
            turn = turn or self.dice.sample(self.stage.roles, len(self.stage.roles))
            role = turn.pop()
            async with self._starting:
                what = await asyncio.to_thread(role.kill, self.dice)
            self.report.blows[f"{role.name} killed"] += 1
            self._tell(f"killed: {what}")

    async def _supervise(self) -> None:
        while not await first_of(self._over, timeout=LOOK_SECONDS):
            for role in self.stage.roles:
                async with self._starting:
                    revived = await asyncio.to_thread(role.revive)
                if revived:
                    self.report.blows[f"{role.name} ended and started again"] += 1
                    self._tell(f"{role.name} had ended of its own")

    async def _stop(self) -> None:
        for number in range(self.orders.stops):
            await self._rest(self.orders.stop_every * self.dice.uniform(0.6, 1.0))
            crash, down = self.dice.random() < 0.5, self.orders.down * self.dice.random()
            name = "RabbitMQ" if number % 2 else "PostgreSQL"
            if name == "PostgreSQL":
                await self.stage.own.stop("immediate" if crash else "fast")
                await self._rest(down)
                await self.stage.own.start()
            else:
                await self.stage.broker.stop(crash=crash)
                await self._rest(down)
                await self.stage.broker.start()
            self.report.blows[f"{name} stopped"] += 1
            self._tell(f"{name} {'crashed' if crash else 'stopped'} and started again")

    async def _conclude(self) -> None:
        began = time.monotonic()
        stored = await self.stage.list_stored()
        delivered = await self._drain({event.id for event in stored})
        await self._await_target(len(stored))
        self.report.drained = round(time.monotonic() - began, 1)
        arrived: list[str] = []
        customers: dict[int, list[str]] = defaultdict(list)
        for table, id_, event in await self.stage.list_history():
            (arrived if table == "arrived" else customers[id_]).append(event)
        acknowledged = {int(webhook): ids for webhook, ids in self.report.tally["acknowledged"].items()}
        unanswered = frozenset(self.report.tally["unanswered"])
        self.report.verdict = judge(Evidence(acknowledged, stored, delivered, arrived, customers, unanswered))

    async def _drain(self, wanted: set[str]) -> list[str]:
        """The ids in the queue, in its order, until all that are wanted have come, or none for PATIENCE."""
        found: list[str] = []
        missing, fresh = set(wanted), asyncio.Event()

        async def take(message: AbstractIncomingMessage) -> None:
            found.append(str(message.message_id))
            missing.discard(found[-1])
            fresh.set()

        connection = await aio_pika.connect(self.stage.broker.direct)
        async with connection:
            queue = await (await connection.channel()).get_queue(QUEUE, ensure=False)
            await queue.consume(take, no_ack=True)
            while missing and await first_of(fresh, timeout=PATIENCE):
                fresh.clear()
                await self._rest(LOOK_SECONDS)
        self._tell(f"{len(found):,} messages in the queue, {len(missing)} missing")
        return found

    async def _await_target(self, wanted: int) -> None:
        count, moved = -1, time.monotonic()
        while (now := await self.stage.count_arrived()) < wanted:
            if now != count:
                count, moved = now, time.monotonic()
            if time.monotonic() - moved > PATIENCE:
                raise Stalled(f"{now} of {wanted} events are at the target\n{self.stage.explain()}")
            await self._rest(LOOK_SECONDS)
        self._tell(f"{now:,} events at the target")

    async def _rest(self, seconds: float) -> None:
        await first_of(self._calm, timeout=seconds)

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _tell(self, what: str) -> None:
        self.say(f"{self._elapsed():6.1f} s  {what}")

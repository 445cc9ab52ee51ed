"""A provider of webhooks, in a process of its own: `python -m tests.flow.webhooks.sender ORDERS` (JSON).

It sends at a rate over several connections, some deliveries twice at the same moment, and sends each again until it is
acknowledged. It ends when its input ends and everything that was begun is acknowledged, and prints what it was told.
"""

import asyncio
import hashlib
import hmac
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from nms.common.waiting import first_of

SECRET = "a-secret-of-a-campaign"
PATH = "/in/shop"
ANSWER_SECONDS, LONGEST_PAUSE, PATIENCE = 10.0, 1.0, 240.0
ERRORS = (OSError, EOFError, ValueError, IndexError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


@dataclass(frozen=True)
class Plan:
    """Where and how much is sent; `doubles` is the share of deliveries that are sent twice at once."""

    ports: Sequence[int]
    rate: float = 300.0
    doubles: float = 0.05
    customers: int = 200
    lanes: int = 24
    seed: int = 1


@dataclass
class Tally:
    """What came of it: ids by webhook, webhooks without an answer, how often something was sent again, and why."""

    acknowledged: dict[int, list[str]] = field(default_factory=dict)
    unanswered: list[int] = field(default_factory=list)
    doubles: int = 0
    retries: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, why: str) -> None:
        self.retries[why] = self.retries.get(why, 0) + 1


class Connection:
    """HTTP/1.1 over one connection that is kept, and opened anew after anything strange."""

    def __init__(self) -> None:
        self._port = 0
        self._writer: asyncio.StreamWriter | None = None
        self._reader = asyncio.StreamReader()

    async def post(self, port: int, body: bytes, delivery: str) -> tuple[int, bytes]:
        """Status and body of the answer; raises one of ERRORS."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if self._writer is None or port != self._port:
                    self.close()
                    self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
                    self._port = port
                self._writer.write(compose(body, delivery))
                return await self._read()
        except BaseException:
            self.close()
            raise

    async def _read(self) -> tuple[int, bytes]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        if b"connection: close" in head:
            self.close()
        return status, body

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None


def compose(body: bytes, delivery: str) -> bytes:
    """A request as GitHub signs it."""
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    lines = (
        f"POST {PATH} HTTP/1.1",
        "Host: hooks.test",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"X-Hub-Signature-256: sha256={signature}",
        f"X-GitHub-Delivery: {delivery}",
        "X-GitHub-Event: customer.changed",
    )
    return "\r\n".join((*lines, "", "")).encode() + body


class Sender:
    """Sends webhook 0, 1, 2, ... when each is due, over whatever lane is free."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.tally = plan, Tally()
        self._random = random.Random(plan.seed)
        self._enough = asyncio.Event()
        self._began = time.monotonic()
        self._next = 0

    async def run(self) -> Tally:
        """Send until the input ends, then until all is acknowledged."""
        lanes = [asyncio.create_task(self._drive()) for _ in range(self.plan.lanes)]
        listening = asyncio.create_task(self._listen())
        await asyncio.gather(*lanes, listening)
        self.tally.seconds = round(time.monotonic() - self._began, 1)
        return self.tally

    async def _listen(self) -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await reader.read()
        self._enough.set()

    async def _drive(self) -> None:
        own, other = Connection(), Connection()
        while not self._enough.is_set():
            webhook, self._next = self._next, self._next + 1
            wait = self._began + webhook / self.plan.rate - time.monotonic()
            if wait > 0 and await first_of(self._enough, timeout=wait):
                break
            twice = self._random.random() < self.plan.doubles
            self.tally.doubles += twice
            await asyncio.gather(*(self._deliver(one, webhook) for one in ((own, other) if twice else (own,))))
        own.close()
        other.close()

    async def _deliver(self, connection: Connection, webhook: int) -> None:
        record = {"id": webhook % self.plan.customers, "webhook": webhook}
        body = json.dumps({"customer": record}).encode()
        until, pause = time.monotonic() + PATIENCE, 0.05
        while True:
            id_ = await self._attempt(connection, webhook, body)
            if id_ is not None:
                self.tally.acknowledged.setdefault(webhook, []).append(id_)
                return
            if time.monotonic() > until:
                self.tally.unanswered.append(webhook)
                return
            await pausing(pause * self._random.uniform(0.5, 1))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _attempt(self, connection: Connection, webhook: int, body: bytes) -> str | None:
        try:
            status, answer = await connection.post(
                self._random.choice(self.plan.ports), body, f"{self.plan.seed}-{webhook}"
            )
            if status in (200, 202):
                return str(json.loads(answer)["id"])
        except ERRORS as error:
            self.tally.count(type(error).__name__)
            return None
        self.tally.count(str(status))
        return None


async def pausing(seconds: float) -> None:
    """Wait before something is sent again."""
    await first_of(asyncio.Event(), timeout=seconds)


def main(orders: str) -> None:
    tally = asyncio.run(_send(Plan(**json.loads(orders))))
    sys.stdout.write(json.dumps(tally.__dict__) + "\n")


async def _send(plan: Plan) -> Tally:
    return await Sender(plan).run()


if __name__ == "__main__":
    main(sys.argv[1])

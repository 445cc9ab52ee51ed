"""A process for tests: relays the outbox of `nms` and delivers to the subscriber `counter` until SIGTERM."""

import asyncio
import signal
import sys
from typing import Any

from nms.common.bus.bus import open_bus
from nms.common.bus.subscription import Subscription
from nms.common.db.pool import close_pools
from nms.common.db.repositories import BaseDwhRepository, BaseNmsRepository
from nms.common.event import Envelope
from nms.common.settings import get_settings

TOPOLOGY = {"counter": ["test.*"]}


async def note(tx: Any, envelope: Envelope) -> None:
    """Append the event to the table `effect`."""
    await tx.connection.execute(
        "insert into effect (key, number) values ($1, $2)", envelope.key, envelope.payload["number"]
    )


async def main(parts: list[str]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    outbox, target = await BaseNmsRepository.open(), await BaseDwhRepository.open()
    bus = open_bus(get_settings(), outbox, TOPOLOGY)
    duties = []
    if "relay" in parts:
        duties.append(bus.relay(outbox, stop))
    if "deliver" in parts:
        duties.append(bus.deliver(Subscription("counter", TOPOLOGY["counter"], target, note), stop))
    await asyncio.gather(*duties)
    await close_pools()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))

"""A worker process for tests: works on runs of kind `count` until it is told to stop (SIGTERM) or dies."""

import asyncio
import os
import signal
import sys
from contextlib import suppress

from nms.common.db.pool import close_pools
from nms.common.run import Claimed, Crew, LeaseLost, RunRepository


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def count(claimed: Claimed) -> None:
    """Count on from the checkpoint, twenty times a second, and say on stdout who does it and why it ends."""
    number = (claimed.run.checkpoint or {}).get("number", 0)
    say(f"start {claimed.run.id} {claimed.epoch}")
    try:
        while not claimed.stopping.is_set():
            number += 1
            await claimed.report({"current": number, "unit": "ticks"}, {"number": number, "by": claimed.run.worker})
            with suppress(TimeoutError):
                await asyncio.wait_for(claimed.stopping.wait(), 0.05)
    except LeaseLost:
        say(f"lost {claimed.run.id} {claimed.epoch}")
        raise
    say(f"{claimed.reason} {claimed.run.id} {claimed.epoch}")


async def main(name: str, lease: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    crew = Crew(await RunRepository.open(), {"count": count}, worker=f"{name}:{os.getpid()}", size=10, lease=lease)
    await crew.run(stop)
    await close_pools()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))

"""A process for tests: two workers send requests as the shared budget allows, and say when.

`python -m tests.contract.budget_worker SHARED SECONDS LIMIT`: `yes` shares the budget, `no` keeps one per process.
"""

import asyncio
import sys
import time

from nms.common.budget import Budget, opened_budget
from nms.common.cache.bucket import Bucket
from nms.common.cache.local import LocalCache
from nms.common.db.pool import close_pools
from nms.common.settings import get_settings

REQUEST_SECONDS = 0.01


async def work(budget: Budget, bucket: Bucket, until: float, sent: list[float]) -> None:
    while time.monotonic() < until:
        await budget.turn(bucket)
        sent.append(time.monotonic())
        await asyncio.sleep(REQUEST_SECONDS)


async def main(shared: str, seconds: float, limit: float) -> None:
    sent: list[float] = []
    async with opened_budget(get_settings()) as opened:
        budget = opened if shared == "yes" else Budget(LocalCache())
        await budget.book(Bucket("warm", 1e6, 1e6))
        tell("ready")
        await asyncio.to_thread(sys.stdin.readline)
        until = time.monotonic() + seconds
        bucket = Bucket.of_limit("system:crm", limit)
        await asyncio.gather(*(work(budget, bucket, until, sent) for _ in range(2)))
    await close_pools()
    tell(" ".join(f"{at:.6f}" for at in sent))


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))

"""A process for tests: asks a REST API again and again, as one pipeline of many.

`python -m tests.service.rest_worker DOCUMENT SECONDS TASKS`: the document as JSON; tells "ready", waits for a line,
then tells how many answers came, or the code of the Problem that ended it.
"""

import asyncio
import json
import sys
import time

from nms.common.db.pool import close_pools
from nms.common.document import RestSystem
from nms.common.egress.shared import close_egress
from nms.common.problem import Problem
from nms.connectors.rest.client import Ask, Client

THING = Ask("GET", "/things", {"per_page": "1"})


async def work(client: Client, until: float) -> None:
    while time.monotonic() < until:
        await client.get(THING)


async def main(document: str, seconds: float, tasks: int) -> None:
    async with Client.opened(RestSystem.model_validate(json.loads(document))) as client:
        try:
            # Connections are made now, so that all begin at once.
            await client.get(THING)
            tell("ready")
            await asyncio.to_thread(sys.stdin.readline)
            until = time.monotonic() + seconds
            async with asyncio.TaskGroup() as group:
                for _ in range(tasks):
                    group.create_task(work(client, until))
            tell(str(client.requests))
        except* Problem as problems:
            tell(next(problem.code for problem in problems.exceptions if isinstance(problem, Problem)))
    await close_egress()
    await close_pools()


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))

"""Documents of REST systems for tests, and processes that work with them."""

import asyncio
import sys
from typing import Any

from nms.common.document import RestSystem
from tests.services.hostile.logins import CLIENT_ID

THINGS = {"things": {"path": "/things", "records": "data"}}


def system_of(url: str, **more: Any) -> RestSystem:
    """A system at a URL, with a resource `things` unless told otherwise."""
    document = {"kind": "system", "name": "shop", "type": "rest", "url": url, "resources": THINGS, **more}
    return RestSystem.model_validate(document)


def refresh_login(url: str, variable: str = "SHOP_REFRESH") -> dict[str, str]:
    """A login by refresh token at a hostile API; the first token stands in a variable."""
    return {
        "type": "oauth2-refresh",
        "token_url": f"{url}/oauth/token",
        "client_id": CLIENT_ID,
        "client_secret": "env://SHOP_SECRET",
        "refresh_token": f"env://{variable}",
    }


async def run_workers(system: RestSystem, *, processes: int, seconds: float, tasks: int = 2) -> list[str]:
    """What workers in processes of their own tell at their end; they begin together. Empty for one that was killed."""
    command = [sys.executable, "-m", "tests.service.rest_worker", system.model_dump_json(), str(seconds), str(tasks)]
    pipe = asyncio.subprocess.PIPE
    started = [await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe) for _ in range(processes)]
    for process in started:
        assert process.stdout is not None
        assert await process.stdout.readline() in (b"ready\n", b"")
    said = await asyncio.gather(*(process.communicate(b"go\n") for process in started))
    return [out.decode().strip() for out, _ in said]

"""`python -m tests.services.hostile [DIRECTORY] [--port N] [--seed N]` serves until it is ended.

The first line printed is the port.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from tests.services.hostile.api import HostileApi
from tests.services.hostile.behaviour import BEHAVIOURS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.services.hostile", description=__doc__)
    parser.add_argument("directory", nargs="?", default=".", type=Path, help="for certificates; default: this one")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--seed", type=int, default=0, help="of everything that happens by chance")
    parser.add_argument("--list", action="store_true", help="print the behaviours")
    told = parser.parse_args()
    if told.list:
        sys.stdout.write("".join(f"{name:20} {one.says}\n" for name, one in BEHAVIOURS.items()))
    else:
        asyncio.run(serve(HostileApi(told.directory, told.seed), told.port))


async def serve(api: HostileApi, port: int) -> None:
    """Serve until the process is ended."""
    await api.start(port)
    sys.stdout.write(f"{api.ports['plain']}\n")
    sys.stdout.flush()
    try:
        await asyncio.Event().wait()
    finally:
        await api.close()


if __name__ == "__main__":
    main()

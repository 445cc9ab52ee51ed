"""`psql copy to stdout | psql copy from stdin`, binary: the limit of a copy, and nothing but a copy."""

import asyncio
import time
from collections.abc import Sequence

from bench.place import Place


class CopyPipe:
    """Two psql and a pipe."""

    name = "copy pipe"

    def __init__(self) -> None:
        self.place: Place | None = None
        self.process: asyncio.subprocess.Process | None = None

    async def prepare(self, place: Place) -> None:
        self.place = place

    async def begin(self, tables: Sequence[str], *, copy: bool) -> float:
        assert copy, "a pipe only copies"
        place = self.place
        assert place is not None
        psql = place.program("psql")
        commands = [
            f"{psql} -X -q '{place.source_dsn}' -c 'copy {table} to stdout (format binary)' | "
            f"{psql} -X -q '{place.target_dsn}' -c 'copy {table} from stdin (format binary)'"
            for table in tables
        ]
        start = time.time()
        self.process = await asyncio.create_subprocess_shell(" && ".join(commands))
        return start

    async def wait_ready(self) -> None:
        assert self.process is not None
        code = await self.process.wait()
        assert code == 0, f"the pipe ended with {code}"

    async def pause(self) -> None:
        raise NotImplementedError("a pipe only copies")

    async def resume(self) -> float:
        raise NotImplementedError("a pipe only copies")

    async def end(self) -> None:
        await self.wait_ready()

    def pids(self) -> Sequence[int]:
        return ()

"""A child process of `nms up`: kept running, started again with growing pauses, ended in time."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from nms.cli import output
from nms.common import clock

STOP_SECONDS = 30.0
HEALTHY_SECONDS = 30.0
LONGEST_PAUSE = 30.0


class Child:
    """`nms <arguments>` in a process and a session of its own, so that Ctrl-C reaches only the parent."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.name = arguments[0]
        self._arguments = (*arguments, "--with-parent")
        self._environment = {**os.environ, **(environment or {})}
        self.failures = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process number; 0 while it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else 0

    async def keep_running(self, stop: asyncio.Event) -> None:
        """Run it until `stop` is set, starting it again whenever it ends; then end it."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                began = time.monotonic()
                self._process = await self._start()
                ended = asyncio.create_task(self._process.wait())
                await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
                if not ended.done():
                    await self._end(self._process)
                    return
                healthy = time.monotonic() - began > HEALTHY_SECONDS
                self.failures = 1 if healthy else self.failures + 1
                pause = clock.backoff(self.failures, base=0.5, cap=LONGEST_PAUSE)
                output.tell(f"{self.name} ended ({_reason(ended.result())}) and is started again in {pause:.1f} s.")
                await asyncio.wait([stopping], timeout=pause)
        finally:
            stopping.cancel()

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "nms", *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            env=self._environment,
            start_new_session=True,
        )

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            with suppress(ProcessLookupError):
                process.send_signal(number)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), seconds)
                return


def _reason(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

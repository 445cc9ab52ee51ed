"""A child process of the demo: its output, its end, and how it is killed."""

import asyncio
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import nms
from nms.common.problem import Problem

STOP_SECONDS = 15.0
OURS = frozenset({"DB_AUTH_DSN", "DB_NMS_DSN", "DB_DWH_DSN", "BILLING_DSN", "CRM_DSN", "NEWSLETTER_DSN", "LOCAL_DSN"})
"""What the demo itself has put into its environment for its workers."""
OF_THE_MACHINE = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "EGRESS_ALLOW"})


class ChildFailed(Problem):
    """A program that the demo needs ended with an error."""

    code, title = "child-failed", "A program of the demo failed"
    remedy = "Its last lines are in `said`; run the demo again, and report it when it stays."


class Process:
    """One child in a session of its own, so that Ctrl-C in the terminal reaches only the demo itself."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self.killed = False
        self._said: deque[str] = deque(maxlen=5)

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        place: Path,
        log: IO[bytes] | None = None,
    ) -> "Process":
        """Start a program in a directory; its output goes to the log, else it is read by `lines` and `finish`."""
        output = asyncio.subprocess.PIPE if log is None else log
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", **environment},
            cwd=place,
            start_new_session=True,
        )
        return cls(name, process)

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def lines(self) -> AsyncIterator[str]:
        """What it says on standard error, line by line, until it ends."""
        stream = self._process.stderr
        while stream is not None and (line := await stream.readline()):
            self._said.append(line.decode(errors="replace").rstrip())
            yield self._said[-1]

    async def finish(self) -> str:
        """Wait for its end and give its standard output; raises ChildFailed."""
        out, err = await self._process.communicate()
        if self._process.returncode:
            self._said.extend((err or b"").decode(errors="replace").splitlines())
            raise ChildFailed(f"{self.name} ended with exit code {self._process.returncode}.", said=list(self._said))
        return (out or b"").decode(errors="replace")

    def kill(self) -> None:
        """SIGKILL: it has no chance to clean up."""
        self.killed = True
        with suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> None:
        """Ask it to stop, and kill it when it does not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.running:
                return
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)


def child_environment(place: Path, lease: float) -> dict[str, str]:
    """The environment of the demo's workers: of this process's own what they need, and nothing else that is set there.

    What the operator has set belongs to other processes, and some of it is secret.
    """
    kept = {name: value for name, value in os.environ.items() if name in OURS or name in OF_THE_MACHINE}
    here = os.pathsep.join(filter(None, (str(Path(nms.__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    return {**kept, "DATA_DIR": str(place), "SYNC_LEASE": str(lease), "PYTHONPATH": here}


async def run_together(*work: Coroutine[Any, Any, Any]) -> None:
    """Run all at once; the first error ends the others and is raised as it was."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

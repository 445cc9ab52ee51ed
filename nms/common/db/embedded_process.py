"""What the lock file of a PostgreSQL data directory says about the process that works on it.

The format is that of `postmaster.pid`, src/include/utils/pidfile.h: one fact per line.
"""

import asyncio
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

READY = "ready"
STOPPING = "stopping"


@dataclass(frozen=True)
class LockFile:
    """The lock file's facts that we use; `status` is `starting`, `ready`, `stopping` or empty."""

    pid: int
    port: int
    status: str


def read_lock(data: Path) -> LockFile | None:
    """The lock file of a data directory, or None when there is none or it is just being written."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return LockFile(abs(int(lines[0])), int(lines[3]), lines[7].strip() if len(lines) > 7 else "")
    except (FileNotFoundError, IndexError, ValueError):
        return None


def is_running(pid: int) -> bool:
    """Whether a process exists and is not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_working_on(pid: int, data: Path) -> bool:
    """Whether a process has this directory as its working directory, as every PostgreSQL process has its data."""
    try:
        return Path(f"/proc/{pid}/cwd").samefile(data)
    except OSError:
        return False


def remove_stale_lock(data: Path) -> bool:
    """Remove a lock file whose process number was given to another program after a restart of the machine.

    PostgreSQL itself would refuse to start. Only done when no process at all works in the directory.
    """
    lock = read_lock(data)
    if lock is None or not is_running(lock.pid):
        return False
    if any(is_working_on(int(entry.name), data) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        return False
    (data / "postmaster.pid").unlink(missing_ok=True)
    return True


async def wait_until_ended(pid: int, seconds: float) -> bool:
    """Wait for a process that need not be our child; answers whether it ended in time."""
    deadline = time.monotonic() + seconds
    while is_running(pid):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


async def end_server(pid: int, seconds: float = 30.0) -> None:
    """End a PostgreSQL: rolling back what is open (fast shutdown), and when that takes too long at once."""
    for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(pid, how)
        if await wait_until_ended(pid, seconds):
            return
        seconds = 5.0

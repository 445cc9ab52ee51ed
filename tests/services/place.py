"""Where servers of tests keep their data: in memory where the machine lends enough of it, else on the disk."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

MEMORY = Path("/dev/shm")
ENOUGH = 4 << 30
"""Bytes: a whole run needs a quarter of it, and others of this machine want some too."""


def find_room() -> Path:
    """The folder for the data of servers: TMPDIR when it is set, a filesystem in memory with room, else the disk's.

    To make a database is to write three hundred small files: in memory that takes a sixth of the time.
    """
    if "TMPDIR" not in os.environ and _lends(MEMORY):
        return MEMORY
    return Path(tempfile.gettempdir())


def make_room(prefix: str) -> Path:
    """A new folder there."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=find_room()))


def _lends(memory: Path) -> bool:
    with suppress(OSError, ValueError):
        facts = os.statvfs(memory)
        free = min(facts.f_bavail * facts.f_frsize, _free_memory())
        return os.access(memory, os.W_OK | os.X_OK) and free >= ENOUGH
    return False


def _free_memory() -> int:
    """Bytes that the kernel could give without swapping (proc_meminfo(5)); ValueError where it does not tell."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    raise ValueError("no MemAvailable")

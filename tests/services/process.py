"""Starting, finding and ending server processes that never outlive their owner."""

import atexit
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nms.common.db.embedded_process import is_running

KEEPER = Path(__file__).with_name("keeper.py")
START_SECONDS = 120
"""Until a server that does not start is told: no promise, a machine may be slow."""
PORTS = range(11_000, 32_000)
"""Below those that the system gives out: a server that is stopped and comes back would find its own in other hands."""


class ServiceFailed(Exception):
    """A server for tests did not start or stop; the message has the end of its log."""


@dataclass(frozen=True)
class Kept:
    """A server process under a keeper; both numbers are process ids."""

    pid: int
    keeper: int


def owner_pid() -> int:
    """The process whose end ends the servers: the test session (its controller under xdist), else this process."""
    return int(os.environ.get("NMS_TEST_OWNER", os.getpid()))


def keep(
    command: Sequence[str | Path],
    directory: Path,
    *,
    stop_signal: signal.Signals,
    account: tuple[int, int] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Kept:
    """Start a server in its directory under a keeper; its output goes to the file `log` there."""
    uid, gid = account or (os.geteuid(), os.getegid())
    keeper = subprocess.Popen(
        [
            *(sys.executable, "-I", "-S", str(KEEPER), str(owner_pid()), str(directory), str(int(stop_signal))),
            *(f"{uid}:{gid}", *map(str, command)),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "TZ": "UTC", "LC_ALL": "C.UTF-8", **(environment or {})},
        start_new_session=True,
    )
    assert keeper.stdout is not None
    with keeper.stdout:
        line = keeper.stdout.readline()
    if not line:
        raise ServiceFailed(f"{command[0]} cannot be started: {log_end(directory)}")
    _keepers.append(keeper)
    return Kept(int(line), keeper.pid)


_keepers: list["subprocess.Popen[bytes]"] = []


@atexit.register
def let_go() -> None:
    """Keepers outlive their starter: that is no fault that Popen should warn of when this process ends."""
    for keeper in _keepers:
        keeper.returncode = keeper.returncode or 0


def reap() -> None:
    """Take note of keepers that ended, so that none stays a zombie."""
    for keeper in [one for one in _keepers if one.poll() is not None]:
        with suppress(ValueError):  # servers are started and stopped in threads: another one may have taken it out
            _keepers.remove(keeper)


def end(kept: Kept, how: signal.Signals, seconds: float = 20.0) -> None:
    """Signal a server and wait until it and its keeper are gone; after the time it is killed."""
    for number in (how, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(kept.pid, number)
        if wait_until(lambda: not is_running(kept.pid) and not is_running(kept.keeper), seconds):
            reap()
            return
    raise ServiceFailed(f"The process {kept.pid} cannot be ended.")


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a state of a process or a file; answers whether it came in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
        reap()
    return True


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now, never given to this process before."""
    for _ in range(1_000):
        # Not the shared generator: Hypothesis sets it back to one state in all workers.
        port = secrets.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port
    raise ServiceFailed("There is no free port on 127.0.0.1.")


_given: set[int] = set()


def accepts(port: int) -> bool:
    """Whether something accepts connections on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def log_end(directory: Path, lines: int = 15) -> str:
    """The last lines a server logged."""
    with suppress(FileNotFoundError):
        return "\n".join((directory / "log").read_text(errors="replace").splitlines()[-lines:])
    return "(it logged nothing)"

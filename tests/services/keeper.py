"""Runs one server as a child and ends it when its owner dies.

Arguments: OWNER_PID DIRECTORY SIGNAL UID:GID COMMAND...
The owner may be killed in any way; the kernel tells us through a pidfd. The directory is removed only then: a server
that ends by itself, or by its owner's will, keeps its data. The first line printed is the server's process number.
A script of its own: started with `-I -S`, it imports nothing but the standard library and is up in a few milliseconds.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 20


def main() -> None:
    owner_pid, directory, stop_signal, account, *command = sys.argv[1:]
    owner = os.pidfd_open(int(owner_pid))
    uid, gid = (int(part) for part in account.split(":"))
    switch: dict[str, Any] = {} if uid == os.geteuid() else {"user": uid, "group": gid, "extra_groups": []}
    libc = ctypes.CDLL(None)
    with Path(directory, "log").open("ab") as log:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            start_new_session=True,
            preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, int(stop_signal)),  # noqa: PLW1509 - one thread
            **switch,
        )
    os.write(1, b"%d\n" % server.pid)
    os.close(1)
    signal.signal(signal.SIGTERM, lambda *_: end(server, int(stop_signal)))
    child = os.pidfd_open(server.pid)
    ready, _, _ = select.select([owner, child], [], [])
    if child not in ready:
        end(server, int(stop_signal))
    sweep(server)
    if child not in ready:
        remove(Path(directory))


def remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    session = directory.parent
    if session.name.startswith("nms-test-"):
        for note in (*session.glob("*.lock"), *session.glob("*.json"), *session.glob("*.count")):
            note.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            session.rmdir()  # the last keeper of the session succeeds


def sweep(server: "subprocess.Popen[bytes]") -> None:
    """End what a killed server left in its process group, such as the machine that RabbitMQ's script had started."""
    server.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)


def end(server: "subprocess.Popen[bytes]", stop_signal: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(server.pid, stop_signal)
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


if __name__ == "__main__":
    main()

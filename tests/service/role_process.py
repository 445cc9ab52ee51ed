"""Roles as users start them: uvicorn or gunicorn in a process of its own, on a free port."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2

from tests.services.process import free_port
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
STRICT_HTTP = "nms.common.strict_http:StrictHttp"
UVICORN = ("uvicorn", "{app}", "--port", "{port}", "--log-config", "loggers.json", "--http", STRICT_HTTP)
GUNICORN = ("gunicorn", "{app}", "--bind", "127.0.0.1:{port}", "--no-control-socket", "-k")
OF_THE_MACHINE = ("PATH", "HOME", "LANG", "LC_ALL", "VIRTUAL_ENV")


class RoleProcess:
    """A running role: its address, how long its first answer took, what it logged, how it ended.

    `first_answer_seconds` leaves out what the process stood in line for a processor: others were at work then.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self.process, self._log = process, log
        self.address = f"http://127.0.0.1:{port}"
        self.first_answer_seconds = 0.0

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def family(self) -> list[int]:
        """The process and its children."""
        pid = self.process.pid
        return [pid, *children_of(pid)]

    async def stop(self) -> int:
        """SIGTERM, and the exit code; fails when it takes longer than 10 s."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, 10)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def queued_seconds(pid: int) -> float:
    """Seconds that a process was ready to run and others ran (proc_pid_schedstat: the second figure, ns)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def launch(app: str, folder: Path, server: Sequence[str], environment: Mapping[str, str]) -> RoleProcess:
    """Start the server process of an app; its output goes to a file in the folder."""
    port = free_port()
    command = [sys.executable, "-m", *(part.format(app=app, port=port) for part in server)]
    inherited = {name: os.environ[name] for name in OF_THE_MACHINE if name in os.environ}
    own = {"ENVIRONMENT": "test", "DATA_DIR": str(folder / "data")}
    log = folder / f"role-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, env={**inherited, **own, **environment}
        )
    return RoleProcess(process, port, log)


@asynccontextmanager
async def running(
    app: str, folder: Path, *, server: Sequence[str] = UVICORN, environment: Mapping[str, str] | None = None
) -> AsyncIterator[RoleProcess]:
    """An app that has given its first answer; it is killed at the end, with its children, if it still runs."""
    began = time.monotonic()
    role = launch(app, folder, server, environment or {})
    process = role.process
    try:
        async with httpx2.AsyncClient(base_url=role.address) as client:

            async def answers() -> bool:
                if process.poll() is not None:
                    raise AssertionError(f"{app} ended with {process.returncode}: {role.log}")
                try:
                    return (await client.get("/healthz")).status_code == 200
                except httpx2.TransportError:
                    return False

            await eventually(answers)
        role.first_answer_seconds = time.monotonic() - began - queued_seconds(process.pid)
        yield role
    finally:
        if process.poll() is None:
            # A killed gunicorn does not take its workers along.
            for pid in role.family():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()

"""NMS as an operator runs it: own databases, `nms` commands, worker processes; nothing is imported from inside."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from tests.services.postgres import PostgresServer

ROOT = Path(__file__).parents[2]
NMS = (sys.executable, "-m", "nms")
WORKER = (*NMS, "worker", "sync")
HOLDER = "select worker from common.run where subject = $1 and state in ('running', 'cancelling')"
STANDING = """
select phase, position, status, problem, extract(epoch from now() - updated_at)::int as age
from sync.pipeline where name = $1
"""


@dataclass
class Worker:
    """One worker process."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()


class Installation:
    """One installation on its own server, with any number of workers; systems are passed to them as environment."""

    def __init__(self, own: PostgresServer, systems: Mapping[str, str], *, lease: float = 15.0) -> None:
        self.own = own
        self.directory = Path(tempfile.mkdtemp(prefix="nms-flow-"))
        self.workers: list[Worker] = []
        mark = uuid.uuid4().hex[:8]
        self.databases = {kind: f"{kind}_{mark}" for kind in ("auth", "nms", "dwh")}
        self.environment = {
            "PATH": os.environ["PATH"],
            "ENVIRONMENT": "test",
            "SYNC_LEASE": str(lease),
            **{f"DB_{kind.upper()}_DSN": own.dsn(name) for kind, name in self.databases.items()},
            **{f"{name.upper()}_DSN": dsn for name, dsn in systems.items()},
        }

    async def set_up(self) -> None:
        """Create and migrate the own databases."""
        for name in self.databases.values():
            await self.own.create_database(name)
        await self.call("db", "up")

    async def call(self, *arguments: str) -> str:
        """Run one `nms` command and answer what it printed; raises with all output when it fails."""
        process = await asyncio.create_subprocess_exec(
            *NMS,
            *arguments,
            cwd=ROOT,
            env={**self.environment, "DATA_DIR": str(self.directory / "data")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise AssertionError(f"nms {' '.join(arguments)} ended with {process.returncode}: {output.decode()}")
        return output.decode()

    async def apply(self, pipeline: str, tables: Sequence[str], *, copy: bool = True, **parts: Any) -> None:
        """Apply a pipeline of these tables from the system `source` to the system `target`."""
        documents = [
            *(
                {"kind": "system", "name": n, "type": "postgres", "dsn": f"env://{n.upper()}_DSN"}
                for n in ("source", "target")
            ),
            {
                "kind": "pipeline",
                "name": pipeline,
                "source": "source",
                "target": "target",
                "datasets": [{"source": f"public.{table}"} for table in tables],
                "initial": "copy" if copy else "none",
                **parts,
            },
        ]
        path = self.directory / f"{pipeline}.yaml"
        path.write_text("\n---\n".join(json.dumps(document) for document in documents))
        await self.call("apply", "-f", str(path))

    def start_worker(self, faults: str = "") -> Worker:
        """Start one more worker, with armed fault points when given."""
        number = f"worker-{uuid.uuid4().hex[:6]}"
        log = self.directory / f"{number}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                WORKER,
                cwd=ROOT,
                env={**self.environment, "DATA_DIR": str(self.directory / number), "NMS_FAULTS": faults},
                stdout=output,
                stderr=output,
            )
        self.workers.append(Worker(process, log))
        return self.workers[-1]

    def forget(self, worker: Worker) -> None:
        """Drop a dead worker and what it left on disk."""
        self.workers.remove(worker)
        shutil.rmtree(self.directory / worker.log.stem, ignore_errors=True)

    async def holder(self, pipeline: str) -> Worker | None:
        """The worker that has the pipeline, where the own database can tell."""
        try:
            name = await self.ask(HOLDER, pipeline)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return None
        return next((one for one in self.workers if name and name.endswith(f":{one.pid}")), None)

    async def standing(self, pipeline: str) -> dict[str, Any]:
        """Phase, position, status and problem of a pipeline."""
        connection = await asyncpg.connect(self.own.dsn(self.databases["nms"]), timeout=5)
        try:
            row = await connection.fetchrow(STANDING, pipeline)
        finally:
            await connection.close()
        return dict(row) if row else {}

    async def ask(self, query: str, *values: object) -> Any:
        """One value from the own database nms."""
        connection = await asyncpg.connect(self.own.dsn(self.databases["nms"]), timeout=5)
        try:
            return await connection.fetchval(query, *values)
        finally:
            await connection.close()

    def tails(self, lines: int = 5) -> str:
        """The last lines of the logs of the workers that are there."""
        return "\n".join(
            f"{one.log.name}: {line}"
            for one in self.workers
            for line in one.log.read_text("utf-8", "replace").splitlines()[-lines:]
        )

    async def tear_down(self) -> None:
        """Kill the workers, drop the databases, remove the files."""
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.kill()
        self.workers.clear()
        for name in self.databases.values():
            await self.own.drop_database(name)
        shutil.rmtree(self.directory, ignore_errors=True)

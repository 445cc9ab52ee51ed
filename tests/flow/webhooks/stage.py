"""The installation that is ill-treated: two inbox processes as users run them, a sync worker, their servers."""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika
import asyncpg

from nms.cfg.documents import apply_changeset
from nms.cfg.models import Changeset
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import Draft
from nms.common.db.embedded_process import is_running
from nms.common.db.migrations import upgrade
from nms.common.db.pool import prepare_connection
from tests.flow.proof.checker import Stalled
from tests.flow.webhooks.brokers import Broker
from tests.flow.webhooks.judge import Stored
from tests.flow.webhooks.sender import SECRET
from tests.service.role_process import children_of
from tests.services.postgres import PostgresServer
from tests.services.process import Kept, accepts, end, free_port, keep, log_end, wait_until

ROOT = Path(__file__).parents[3]
MIGRATIONS, PREPARE = ROOT / "db/nms/migrations", ROOT / "nms/connectors/postgres/prepare.sql"
QUEUE, EXCHANGE, PIPELINE = "of-the-campaign", "nms.inbox", "webhooks"
FIELDS = {"webhook": "webhook", "$event.id": "event"}
DOCUMENTS: tuple[dict[str, Any], ...] = (
    {"kind": "endpoint", "name": "shop", "scheme": {"type": "github", "secrets": ["env://SHOP_HOOK"]}},
    {
        "kind": "system",
        "name": "hooks",
        "type": "inbox",
        "resources": {
            "arrivals": {"endpoint": "shop", "records": "customer", "key": ["$event.id"]},
            "customers": {"endpoint": "shop", "records": "customer", "key": ["id"]},
        },
    },
    {"kind": "system", "name": "target", "type": "postgres", "dsn": "env://TARGET_DSN"},
    {
        "kind": "pipeline",
        "name": PIPELINE,
        "source": "hooks",
        "target": "target",
        "capture": "feed",
        "datasets": [
            {"source": "arrivals", "target": "public.arrived", "fields": FIELDS},
            {"source": "customers", "target": "public.customer", "fields": {"id": "id", **FIELDS}},
        ],
    },
)
LOGGERS = str(ROOT / "loggers.json")
UVICORN = ("uvicorn", "nms.inbox.main:app", "--port", "{port}", "--log-config", LOGGERS)
GUNICORN = (
    *("gunicorn", "nms.inbox.main:app", "--bind", "127.0.0.1:{port}", "--no-control-socket"),
    *("-k", "uvicorn_worker.UvicornWorker", "--log-config-json", LOGGERS),
)
START_SECONDS = 120.0
WORKER = ("nms", "worker", "sync")


@dataclass
class Role:
    """One process that a supervisor would start again; its output is kept in a file of its folder."""

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    port: int = field(default_factory=free_port)
    kept: Kept | None = None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", *(part.format(port=self.port) for part in self.command)]
        environment = {**self.environment, "DATA_DIR": str(self.folder / "data"), "PYTHONPATH": str(ROOT)}
        self.kept = keep(command, self.folder, stop_signal=signal.SIGKILL, environment=environment)

    def kill(self, dice: random.Random) -> str:
        """SIGKILL the process with its children, or one child alone; tells which."""
        assert self.kept is not None
        children: list[int] = []
        with suppress(OSError):
            children = children_of(self.kept.pid)
        if children and dice.random() < 0.5:
            with suppress(ProcessLookupError):
                os.kill(children[0], signal.SIGKILL)
            return f"{self.name}, a child"
        self.end(children)
        self.start()
        return self.name

    def revive(self) -> bool:
        """Start it again where it ended of its own, as a worker does that finds no database; tells whether it did."""
        if self.kept is None or is_running(self.kept.pid):
            return False
        self.start()
        return True

    def end(self, children: Sequence[int] = ()) -> None:
        if self.kept is None:
            return
        kept, self.kept = self.kept, None
        with suppress(OSError):
            children = children or children_of(kept.pid)
        end(kept, signal.SIGKILL)
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Stage:
    """One installation; `own` holds the inbox and the target, since both are stopped as one."""

    def __init__(self, own: PostgresServer, broker: Broker, folder: Path) -> None:
        self.own, self.broker, self.folder = own, broker, folder
        self.nms, self.target = "", ""
        self.roles: list[Role] = []

    async def set_up(self) -> None:
        """Start servers and processes; the queue is bound before the first event."""
        await asyncio.gather(self.own.start(), self.broker.start())
        self.nms, self.target = await self.own.create_database(), await self.own.create_database()
        await upgrade(self.nms, MIGRATIONS)
        for script in (PREPARE, Path(__file__).with_name("target.sql")):
            await self._run(self.target, script.read_text())
        await self._apply()
        await self._bind()
        environment = {
            "PATH": os.environ["PATH"],
            "ENVIRONMENT": "test",
            "SYNC_LEASE": "2",
            "SHOP_HOOK": SECRET,
            "DB_NMS_DSN": self.nms,
            "TARGET_DSN": self.target,
            "AMQP_DSN": self.broker.dsn,
        }
        for name, command in (("uvicorn", UVICORN), ("gunicorn", GUNICORN), ("sync", WORKER)):
            self.roles.append(Role(name, command, self.folder / name, environment))
        for role in self.roles:
            role.start()
        if not await asyncio.to_thread(wait_until, lambda: all(map(accepts, self.ports)), START_SECONDS):
            raise Stalled(f"an inbox process does not start\n{self.explain()}")

    @property
    def ports(self) -> list[int]:
        """Where webhooks are taken."""
        return [role.port for role in self.roles if role.command != WORKER]

    async def tear_down(self) -> None:
        """End every process and every server."""
        for role in self.roles:
            await asyncio.to_thread(role.end)
        await asyncio.gather(self.own.close(), self.broker.close())

    def explain(self) -> str:
        """The last lines of every process."""
        return "\n".join(f"--- {role.name}\n{log_end(role.folder, 8)}" for role in self.roles)

    async def list_stored(self) -> list[Stored]:
        """What the inbox holds."""
        rows = await self._fetch(
            self.nms,
            "select number, id::text, (convert_from(body, 'UTF8')::jsonb -> 'customer' ->> 'webhook')::bigint,"
            " (convert_from(body, 'UTF8')::jsonb -> 'customer' ->> 'id')::bigint from inbox.event order by number",
        )
        return [Stored(*row) for row in rows]

    async def list_history(self) -> list[asyncpg.Record]:
        """What was written at the target, in order: table, customer, event."""
        return await self._fetch(self.target, "select tablename, id, event::text from history order by place")

    async def count_arrived(self) -> int:
        """Rows that came to the target; 0 while it does not answer."""
        try:
            return int((await self._fetch(self.target, "select count(*) from arrived"))[0][0])
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return 0

    async def _bind(self) -> None:
        connection = await aio_pika.connect(self.broker.direct)
        async with connection:
            channel = await connection.channel()
            await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
            queue = await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
            await queue.bind(EXCHANGE, "shop.#")

    async def _apply(self) -> None:
        connection = await asyncpg.connect(self.nms)
        await prepare_connection(connection)
        drafts = [Draft(json.loads(json.dumps(one))) for one in DOCUMENTS]
        await apply_changeset(DocumentRepository(connection), Changeset(drafts, author="campaign"))
        await connection.close()

    async def _run(self, dsn: str, script: str) -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(script)
        await connection.close()

    async def _fetch(self, dsn: str, sql: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(dsn, timeout=5)
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()

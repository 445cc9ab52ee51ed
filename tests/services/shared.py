"""Servers shared by all workers of one test session: started on first use, once, under a file lock."""

import fcntl
import json
import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tests.services.kafka import KafkaServer
from tests.services.node import NodeServer
from tests.services.place import find_room
from tests.services.postgres import ForeignServer, PostgresServer
from tests.services.rabbitmq import RabbitServer
from tests.services.redis import RedisServer


class Startable(Protocol):
    """A server that one process starts and others use."""

    def launch(self) -> Any: ...
    def to_dict(self) -> dict[str, Any]: ...


S = TypeVar("S", bound=Startable)


class Session:
    """The servers of one test session; its directory and its owner travel to workers in the environment."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def begin(cls) -> "Session":
        """Begin a session, or join the one whose worker this process is; nothing is started yet."""
        os.environ.setdefault("NMS_TEST_OWNER", str(os.getpid()))
        root = find_room() / f"nms-test-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        return cls(Path(os.environ.setdefault("NMS_TEST_ROOT", str(root))))

    def postgres(self, version: str, worker: str = "") -> PostgresServer:
        """The shared PostgreSQL of a version; a crash loses its data, so crash a server of your own.

        With `worker` it is shared by the tests of one worker only.
        """
        dsn = os.environ.get("TEST_PG_DSN")
        if dsn and version == "foreign":
            return ForeignServer(dsn)
        name = f"pg{version}{worker}"
        return self._shared(name, PostgresServer.from_dict, lambda place: PostgresServer(version, place, durable=False))

    def rabbitmq(self) -> RabbitServer:
        """The shared RabbitMQ."""
        return self._shared("rabbitmq", RabbitServer.from_dict, RabbitServer)

    def redis(self) -> RedisServer:
        """The shared Redis."""
        return self._shared("redis", RedisServer.from_dict, RedisServer)

    def kafka(self) -> KafkaServer:
        """The shared Kafka."""
        return self._shared("kafka", KafkaServer.from_dict, KafkaServer)

    def jsonplaceholder(self, worker: str = "") -> NodeServer:
        """A worker's JSONPlaceholder: it forgets a write with the next request."""
        return self._shared(f"jsonplaceholder{worker}", NodeServer.from_dict, NodeServer)

    def number(self, name: str) -> int:
        """The next number of a counter shared by the session's workers, from 1."""
        with self.locked(name):
            path = self.root / f"{name}.count"
            count = int(path.read_text()) + 1 if path.exists() else 1
            path.write_text(str(count))
            return count

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold a lock among the session's workers."""
        if not self.root.exists():
            self.root.mkdir(exist_ok=True)
            self.root.chmod(0o711)
        with (self.root / f"{name}.lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def end(self) -> None:
        """End all servers at once, for nobody needs their data; called by the session's owner only."""
        for state in self.root.glob("*.json"):
            facts = json.loads(state.read_text())
            if state.stem == "rabbitmq":
                RabbitServer.from_dict(facts).end(signal.SIGKILL)
            elif state.stem == "redis":
                RedisServer.from_dict(facts).end(signal.SIGKILL)
            elif state.stem == "kafka":
                KafkaServer.from_dict(facts).end(signal.SIGKILL)
            elif state.stem.startswith("jsonplaceholder"):
                NodeServer.from_dict(facts).end(signal.SIGKILL)
            else:
                PostgresServer.from_dict(facts).end("immediate")
        shutil.rmtree(self.root, ignore_errors=True)

    def _shared(self, name: str, join: Callable[[Mapping[str, Any]], S], make: Callable[[Path], S]) -> S:
        with self.locked(name):
            state = self.root / f"{name}.json"
            if state.exists():
                return join(json.loads(state.read_text()))
            server = make(self.root / name)
            server.launch()
            state.write_text(json.dumps(server.to_dict()))
            return server

"""A private Kafka: librdkafka's mock cluster in a process of its own (see kafka_broker.py)."""

import json
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.services.process import (
    START_SECONDS,
    Kept,
    ServiceFailed,
    accepts,
    end,
    free_port,
    keep,
    log_end,
    wait_until,
)

BROKER = Path(__file__).with_name("kafka_broker.py")


class KafkaServer:
    """A cluster of mock brokers on free ports; it speaks Kafka's protocol and keeps everything in memory.

    It makes topics on first use, as brokers do by default, and takes no administration requests, no logins, no TLS.
    """

    def __init__(self, directory: Path, port: int = 0, kept: Kept | None = None, *, brokers: int = 3) -> None:
        self.directory, self.port, self._kept, self.brokers = directory, port, kept, brokers

    def launch(self) -> "KafkaServer":
        """Start and wait until it takes commands; a second launch has other ports and no data."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._kept = kept = keep(
            [sys.executable, "-I", BROKER, str(self.brokers), str(self.port)],
            self.directory,
            stop_signal=signal.SIGKILL,
        )
        if not wait_until(lambda: accepts(self.port), START_SECONDS):
            end(kept, signal.SIGKILL)
            raise ServiceFailed(f"The mock cluster did not start:\n{log_end(self.directory)}")
        return self

    @property
    def servers(self) -> list[str]:
        """host:port of each broker."""
        return list(self.call("servers"))

    def create_topic(self, name: str, partitions: int = 4) -> str:
        """Make a topic and answer its name."""
        self.call("create_topic", name, partitions)
        return name

    def set_down(self) -> None:
        """Cut the connections of all brokers and refuse new ones; data stay."""
        for broker in range(1, self.brokers + 1):
            self.call("set_down", broker)

    def set_up(self) -> None:
        """Let all brokers answer again."""
        for broker in range(1, self.brokers + 1):
            self.call("set_up", broker)

    def call(self, *command: Any) -> Any:
        """Give a command of kafka_broker.Cluster; answers what it answers."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(json.dumps(command).encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer = json.loads(answers.readline())
        if isinstance(answer, dict) and "error" in answer:
            raise ServiceFailed(answer["error"])
        return answer

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it with all that it holds."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            end(kept, how)

    def to_dict(self) -> dict[str, Any]:
        assert self._kept is not None
        return {
            "directory": str(self.directory),
            "port": self.port,
            "kept": [self._kept.pid, self._kept.keeper],
            "brokers": self.brokers,
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "KafkaServer":
        return cls(Path(facts["directory"]), facts["port"], Kept(*facts["kept"]), brokers=facts["brokers"])

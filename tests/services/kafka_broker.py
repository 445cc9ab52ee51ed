"""The process behind `KafkaServer`: librdkafka's mock cluster, from the library in confluent-kafka's wheel.

`python kafka_broker.py BROKERS PORT` listens on PORT of 127.0.0.1 for lines of JSON, `[command, argument, ...]`, and
answers each with a line: the command's answer, or `{"error": ...}`. What topics hold is in memory, so that a killed
process is a wiped cluster.
"""

import ctypes
import importlib.util
import json
import socketserver
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PRODUCER = 0


class Cluster:
    """A mock cluster (librdkafka's rdkafka_mock.h); commands are its methods."""

    def __init__(self, brokers: int) -> None:
        self._library = ctypes.CDLL(str(find_library()))
        for name in ("rd_kafka_new", "rd_kafka_conf_new", "rd_kafka_mock_cluster_new", "rd_kafka_last_error"):
            getattr(self._library, name).restype = ctypes.c_void_p
        self._library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        reason = ctypes.create_string_buffer(512)
        conf = ctypes.c_void_p(self._library.rd_kafka_conf_new())
        handle = self._library.rd_kafka_new(PRODUCER, conf, reason, ctypes.c_size_t(len(reason)))
        if handle is None:
            raise RuntimeError(reason.value.decode())
        self._cluster = ctypes.c_void_p(
            self._library.rd_kafka_mock_cluster_new(ctypes.c_void_p(handle), ctypes.c_int(brokers))
        )

    def servers(self) -> list[str]:
        """host:port of each broker, the first one first."""
        return str(self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()).split(",")

    def create_topic(self, name: str, partitions: int) -> None:
        """Make a topic."""
        self._call("topic_create", name.encode(), ctypes.c_int(partitions), ctypes.c_int(1))

    def delete_topic(self, name: str) -> None:
        """Remove a topic and what it holds."""
        self._call("topic_delete", name.encode())

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Remove what stands before an offset, as retention does."""
        self._call("partition_delete_records", topic.encode(), ctypes.c_int32(partition), ctypes.c_int64(before))

    def set_up(self, broker: int) -> None:
        """Let a broker (from 1) answer again."""
        self._call("broker_set_up", ctypes.c_int32(broker))

    def set_down(self, broker: int) -> None:
        """Cut all connections of a broker (from 1) and refuse new ones."""
        self._call("broker_set_down", ctypes.c_int32(broker))

    def set_address(self, broker: int, host: str, port: int) -> None:
        """Tell clients another address of a broker (from 1): that of a proxy before it."""
        self._call("broker_set_host_port", ctypes.c_int32(broker), host.encode(), ctypes.c_int(port))

    def fail(self, request: int, errors: list[int]) -> None:
        """Answer the next requests of a kind (its API key) with these error codes."""
        codes = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(request), ctypes.c_size_t(len(errors)), codes
        )

    def _call(self, name: str, *arguments: Any) -> None:
        error = getattr(self._library, f"rd_kafka_mock_{name}")(self._cluster, *arguments)
        if error:
            raise RuntimeError(f"{name} answers {error}")


def find_library() -> Path:
    """The librdkafka that confluent-kafka's wheel brings."""
    spec = importlib.util.find_spec("confluent_kafka")
    if spec is None or spec.origin is None:
        raise RuntimeError("confluent-kafka is not installed: run `make setup`")
    package = Path(spec.origin).parent
    for folder in (package.with_name("confluent_kafka.libs"), package / ".dylibs"):
        for found in sorted(folder.glob("librdkafka*")):
            return found
    raise RuntimeError("the wheel of confluent-kafka has no librdkafka here")


class Commands(socketserver.StreamRequestHandler):
    """Lines of commands, one answer each."""

    def handle(self) -> None:
        for line in self.rfile:
            name, *arguments = json.loads(line)
            command: Callable[..., Any] = getattr(cluster, name)
            try:
                answer = command(*arguments)
            except RuntimeError as error:
                answer = {"error": str(error)}
            self.wfile.write(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    cluster = Cluster(int(sys.argv[1]))
    socketserver.TCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[2])), Commands) as server:
        server.serve_forever()

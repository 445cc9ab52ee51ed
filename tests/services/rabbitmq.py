"""A private RabbitMQ from the installed package: own ports, own epmd, own cookie; any user may run it."""

import base64
import json
import shutil
import signal
import urllib.error
import urllib.request
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

USER = PASSWORD = "guest"
PLUGINS = ("rabbitmq_management", "rabbitmq_prometheus", "rabbitmq_stream", "rabbitmq_consistent_hash_exchange")
ERLANG = "+S 1:1 +sbwt none -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"


class RabbitServer:
    """A RabbitMQ on free ports; virtual hosts are made and removed through its management API."""

    def __init__(self, directory: Path, ports: Mapping[str, int] | None = None, kept: tuple[Kept, ...] = ()) -> None:
        self.directory = directory
        self.ports = dict(ports or {})
        self._kept = kept

    def launch(self) -> "RabbitServer":
        """Start and wait until it answers; a second launch keeps ports and data."""
        programs = _find_programs()
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.ports:
            self.ports = {name: free_port() for name in ("amqp", "dist", "epmd", "api", "stream", "prometheus")}
        self._write_configuration()
        epmd = keep(
            [_find("epmd"), "-port", str(self.ports["epmd"]), "-address", "127.0.0.1"],
            self.directory,
            stop_signal=signal.SIGKILL,
        )
        broker = keep(
            [programs / "rabbitmq-server"],
            self.directory,
            stop_signal=signal.SIGKILL,
            environment=self._environment(),
        )
        self._kept = (broker, epmd)
        if not wait_until(self._answers, START_SECONDS):
            self.end(signal.SIGKILL)
            raise ServiceFailed(f"RabbitMQ did not start:\n{log_end(self.directory)}")
        return self

    def dsn(self, vhost: str = "/") -> str:
        """The AMQP DSN of one virtual host."""
        quoted = "%2F" if vhost == "/" else vhost
        return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.ports['amqp']}/{quoted}"

    def create_vhost(self, name: str) -> str:
        """Make a virtual host and answer its DSN."""
        self.call("PUT", f"/vhosts/{name}")
        self.call("PUT", f"/permissions/{name}/{USER}", {"configure": ".*", "write": ".*", "read": ".*"})
        return self.dsn(name)

    def drop_vhost(self, name: str) -> None:
        """Remove a virtual host with its queues and connections."""
        self.call("DELETE", f"/vhosts/{name}")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call the management API; answers its JSON, or None when it has none."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['api']}/api{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "content-type": "application/json",
                "authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(),
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop broker and epmd; SIGKILL is a crash. The data stay."""
        kept, self._kept = self._kept, ()
        for one in kept:
            end(one, how, 60)
            how = signal.SIGKILL

    def to_dict(self) -> dict[str, Any]:
        return {
            "directory": str(self.directory),
            "ports": self.ports,
            "kept": [[one.pid, one.keeper] for one in self._kept],
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "RabbitServer":
        return cls(Path(facts["directory"]), facts["ports"], tuple(Kept(*one) for one in facts["kept"]))

    def _answers(self) -> bool:
        if not accepts(self.ports["amqp"]):
            return False
        try:
            self.call("GET", "/overview")
        except (OSError, urllib.error.URLError):
            return False
        return True

    def _write_configuration(self) -> None:
        ports = self.ports
        lines = (
            f"listeners.tcp.1 = 127.0.0.1:{ports['amqp']}",
            "management.tcp.ip = 127.0.0.1",
            f"management.tcp.port = {ports['api']}",
            f"stream.listeners.tcp.1 = 127.0.0.1:{ports['stream']}",
            "prometheus.tcp.ip = 127.0.0.1",
            f"prometheus.tcp.port = {ports['prometheus']}",
            "disk_free_limit.absolute = 50MB",
            "log.console = true",
            "log.console.level = warning",
            "log.file = false",
        )
        (self.directory / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self.directory / "enabled_plugins").write_text(f"[{','.join(PLUGINS)}].\n")

    def _environment(self) -> dict[str, str]:
        home = self.directory
        return {
            "HOME": str(home),
            "ERL_EPMD_PORT": str(self.ports["epmd"]),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": "nms@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.ports["amqp"]),
            "RABBITMQ_DIST_PORT": str(self.ports["dist"]),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "logs"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG,
        }


def _find(program: str) -> Path:
    found = shutil.which(program, path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin:/opt/homebrew/sbin")
    found = found or shutil.which(program)
    if found is None:
        raise ServiceFailed(f"{program} is not installed: run `make services`, or set TEST_AMQP_DSN.")
    return Path(found)


def _find_programs() -> Path:
    """The folder of the real scripts: the wrapper in sbin switches the user and drops the environment."""
    for folder in (Path("/usr/lib/rabbitmq/bin"), _find("rabbitmq-server").resolve().parent):
        if (folder / "rabbitmq-server").exists():
            return folder
    raise ServiceFailed("The scripts of RabbitMQ are not where its package puts them.")

"""A private Redis from the installed `redis-server`."""

import shutil
import signal
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

DATABASES = 4096


class RedisServer:
    """A Redis on a free port with many numbered databases, so that each test has one of its own."""

    def __init__(self, directory: Path, port: int = 0, kept: Kept | None = None) -> None:
        self.directory, self.port, self._kept = directory, port, kept

    def launch(self) -> "RedisServer":
        """Start and wait until it accepts connections; a second launch keeps port and data."""
        program = shutil.which("redis-server")
        if program is None:
            raise ServiceFailed("redis-server is not installed: run `make services`, or set TEST_REDIS_DSN.")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        self._kept = kept = keep(
            [
                *(program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.directory, "--save", ""),
                *("--appendonly", "yes", "--appendfsync", "no", "--databases", str(DATABASES)),
            ],
            self.directory,
            stop_signal=signal.SIGTERM,
        )
        if not wait_until(lambda: accepts(self.port), START_SECONDS):
            end(kept, signal.SIGKILL)
            raise ServiceFailed(f"Redis did not start:\n{log_end(self.directory)}")
        return self

    def dsn(self, database: int = 0) -> str:
        """The DSN of one numbered database."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop it; SIGKILL is a crash. Its data stay."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            end(kept, how)

    def to_dict(self) -> dict[str, Any]:
        assert self._kept is not None
        return {"directory": str(self.directory), "port": self.port, "kept": [self._kept.pid, self._kept.keeper]}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "RedisServer":
        return cls(Path(facts["directory"]), facts["port"], Kept(*facts["kept"]))

"""The hostile API in a process of its own: for several clients in several processes, and for measuring."""

import json
import os
import signal
import sys
import urllib.error
import urllib.request
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

ROOT = Path(__file__).parents[2]


class HostileServer:
    """A hostile API on a free port of 127.0.0.1; `call` has the controls of `HostileApi`."""

    def __init__(self, directory: Path, *, seed: int = 0) -> None:
        self.directory, self.seed, self.port = directory, seed, 0
        self._kept: Kept | None = None

    def launch(self) -> "HostileServer":
        """Start and wait until it accepts connections; a second launch keeps the port and forgets everything."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        self._kept = kept = keep(
            [sys.executable, "-m", "tests.services.hostile", "--port", str(self.port), "--seed", str(self.seed)],
            self.directory,
            stop_signal=signal.SIGTERM,
            environment={"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        )
        if not wait_until(lambda: accepts(self.port), START_SECONDS):
            end(kept, signal.SIGKILL)
            raise ServiceFailed(f"The hostile API did not start:\n{log_end(self.directory)}")
        return self

    @property
    def url(self) -> str:
        """Where it answers without TLS, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def call(self, do: str, **arguments: Any) -> Any:
        """Call a control (`CONTROLS` of api.py) and answer what it answers; ids that are names in JSON are texts."""
        body = json.dumps({"do": do, **arguments}).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/_control", body, timeout=60) as answer:
                return json.loads(answer.read())["answer"]
        except urllib.error.HTTPError as refused:
            with refused:
                raise ServiceFailed(refused.read().decode()) from refused

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it with all that it holds."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            end(kept, how)

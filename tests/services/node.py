"""JSONPlaceholder and json-server: the npm packages themselves, locked in tests/services/npm."""

import json
import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.services.process import START_SECONDS, Kept, ServiceFailed, end, free_port, keep, log_end, wait_until

ROOT = Path(__file__).parents[2]
LOCKED = Path(__file__).with_name("npm")
INSTALLED = ROOT / ".tools" / "npm"
STAMP = INSTALLED / ".installed"
SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGES = INSTALLED / "node_modules"
DATA = PACKAGES / "jsonplaceholder" / "data.json"
# Its own index.js listens on every address of the machine. It forgets when a request begins and reads a little later,
# so that one at the same moment could see what another one wrote: here they come one after the other.
PLACEHOLDER = """
const app = require('jsonplaceholder/src/app')
let last = Promise.resolve()
require('http').createServer((request, response) => {
    const over = new Promise(end => { response.once('finish', end); response.once('close', end) })
    last = last.then(() => {
        if (request.socket.destroyed) return
        app(request, response)
        return over
    })
}).listen(Number(process.argv[1]), '127.0.0.1')
"""


class NodeServer:
    """A server of Node.js on a free port of 127.0.0.1: JSONPlaceholder, or json-server over a copy of its data."""

    def __init__(self, directory: Path, port: int = 0, kept: Kept | None = None, *, keeps_writes: bool = False) -> None:
        self.directory, self.port, self._kept, self.keeps_writes = directory, port, kept, keeps_writes

    @property
    def url(self) -> str:
        """Where it answers, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> dict[str, list[dict[str, Any]]]:
        """What it holds, collection by collection, as it stands in its file (json-server only)."""
        held: dict[str, list[dict[str, Any]]] = json.loads((self.directory / "db.json").read_text())
        return held

    def launch(self) -> "NodeServer":
        """Start and wait until it answers; a second launch keeps the port, and json-server its data."""
        if not is_installed():
            raise ServiceFailed("JSONPlaceholder is not installed: run `make services`.")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        self._kept = kept = keep(
            [find("node"), *(self._keeping() if self.keeps_writes else ["-e", PLACEHOLDER, str(self.port)])],
            self.directory,
            stop_signal=signal.SIGKILL,
            environment={"NODE_PATH": str(PACKAGES), "NODE_ENV": "production", "NO_UPDATE_NOTIFIER": "1"},
        )
        if not wait_until(self._answers, START_SECONDS):
            end(kept, signal.SIGKILL)
            raise ServiceFailed(f"The server of Node.js did not start:\n{log_end(self.directory)}")
        return self

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it; json-server's data stay."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            end(kept, how)

    def to_dict(self) -> dict[str, Any]:
        assert self._kept is not None
        return {"directory": str(self.directory), "port": self.port, "kept": [self._kept.pid, self._kept.keeper]}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "NodeServer":
        return cls(Path(facts["directory"]), facts["port"], Kept(*facts["kept"]))

    def _keeping(self) -> list[str | Path]:
        if not (self.directory / "db.json").exists():
            shutil.copyfile(DATA, self.directory / "db.json")
        program = PACKAGES / "json-server" / "lib" / "cli" / "bin.js"
        return [program, "--quiet", "--host", "127.0.0.1", "--port", str(self.port), "db.json"]

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/posts/1", timeout=5) as answer:
            return bool(answer.status == 200)
        return False


def find(program: str) -> str:
    """The path of `node` or `npm`; raises ServiceFailed."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SYSTEM}")
    if path is None:
        raise ServiceFailed(
            f"`{program}` is not installed: install the packages nodejs and npm, and run `make services`."
        )
    return path


def is_installed() -> bool:
    """Whether the packages of the lock are in .tools."""
    return STAMP.is_file() and STAMP.read_bytes() == (LOCKED / "package-lock.json").read_bytes()


def install() -> None:
    """Install the packages of the lock into .tools; raises ServiceFailed."""
    shutil.rmtree(INSTALLED, ignore_errors=True)
    shutil.copytree(LOCKED, INSTALLED)
    command = [find("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    done = subprocess.run(
        command,
        cwd=INSTALLED,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ServiceFailed("\n".join(["`npm ci` failed:", *done.stdout.splitlines()[-15:]]))
    shutil.copyfile(LOCKED / "package-lock.json", STAMP)

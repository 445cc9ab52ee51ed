"""json-server as a child of the demo: a REST API that keeps what is written to it."""

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nms
from nms.cli.demo.process import ChildFailed, Process
from nms.common.egress.exchange import Request
from nms.common.egress.shared import get_egress
from nms.common.problem import Problem

PACKAGES = Path(nms.__file__).parents[1] / ".tools" / "npm" / "node_modules"
PATIENCE_SECONDS, LOOK_SECONDS = 30.0, 0.2
# It ends with the demo, also when that is killed.
PROGRAM = "process.stdin.on('end', () => process.exit()).resume(); require(process.env.DEMO_SERVER)"


class NodeMissing(Problem):
    """Node.js, or the packages that the demo needs of it, are not installed."""

    code, title = "node-missing", "json-server is not installed"
    remedy = "Install Node.js and npm, run `make services` in a checkout of NMS, then the demo again."


class JsonServer:
    """The running server and what it holds."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def list(self, name: str) -> dict[int, dict[str, Any]]:
        """The records of a collection by their id."""
        answer = await get_egress().send(Request("GET", f"{self.url}/{name}"))
        return {one["id"]: one for one in json.loads(answer.body)}

    async def answers(self) -> bool:
        """Whether it can be asked by now."""
        try:
            return (await get_egress().send(Request("GET", f"{self.url}/posts/1"))).status == 200
        except Problem:
            return False


def find_node() -> str:
    """The program `node`; raises NodeMissing."""
    node = shutil.which("node")
    if node is None:
        raise NodeMissing("There is no `node` on the PATH.")
    for name in ("json-server", "jsonplaceholder"):
        if not (PACKAGES / name).is_dir():
            raise NodeMissing(f"The package {name} is not in {PACKAGES}.", path=str(PACKAGES))
    return node


@asynccontextmanager
async def open_json_server(place: Path) -> AsyncIterator[JsonServer]:
    """JSONPlaceholder's posts and comments on a free port of 127.0.0.1, in a directory; raises NodeMissing."""
    node = find_node()
    await asyncio.to_thread(shutil.copyfile, PACKAGES / "jsonplaceholder" / "data.json", place / "db.json")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["json-server", "--quiet", "--host", "127.0.0.1", "--port", str(port), "db.json"]
    program = str(PACKAGES / "json-server" / "lib" / "cli" / "bin.js")
    environment = {"DEMO_SERVER": program, "NODE_ENV": "production", "NO_UPDATE_NOTIFIER": "1"}
    log = place / "json-server.log"
    with log.open("ab") as file:
        process = await Process.start("json-server", [node, "-e", PROGRAM, *words], environment, place, file)
    try:
        yield await _wait_for(JsonServer(f"http://127.0.0.1:{port}"), process, log)
    finally:
        await process.end()


async def _wait_for(server: JsonServer, process: Process, log: Path) -> JsonServer:
    for _ in range(int(PATIENCE_SECONDS / LOOK_SECONDS)):
        if await server.answers():
            return server
        if not process.running:
            break
        await asyncio.sleep(LOOK_SECONDS)
    said = (await asyncio.to_thread(log.read_text, errors="replace")).splitlines()[-5:]
    raise ChildFailed("json-server did not start.", said=said)


def allow_loopback() -> None:
    """Let this process and its children ask APIs of this machine: elsewhere that is for its owner to allow."""
    os.environ["EGRESS_ALLOW"] = "127.0.0.1"

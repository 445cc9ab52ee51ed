"""What the guard adds to a request: the same endpoint bare and guarded, in turns of a few calls.

Two meters: the app called in a loop without a server, in seconds of this thread's CPU, and the app behind a real
uvicorn on loopback, in seconds of the server's CPU. Seconds of CPU, since neighbours on the machine cost none of them.
"""

import logging
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.types import Message, Scope

from bench.auth.connection import HOST, Connection, connect, get
from bench.auth.doors import SCOPE, Doors
from bench.auth.figure import Figure
from nms.common.log import JsonFormatter
from nms.common.settings import Settings
from nms.common.token import mint_token
from tests.service.role_process import UVICORN, running

KEY = "only-for-a-measurement-on-loopback-0123456789"
DOORS = ("bare", "guarded", "caller", "empty")
ROUNDS, CALLS = 40, 50
BAR = 5.0
"""Percent of the bare endpoint."""

Block = Callable[[str, int], Awaitable[float]]
"""Makes so many calls of a door, and answers the seconds they took."""


async def measure_guard(folder: Path, trials: int, *, short: bool) -> list[Figure]:
    """The figures of the guard, with a door behind an empty dependency of FastAPI beside them."""
    settings = Settings(environment="test", data_dir=folder, jwt_secret_key=KEY)  # type: ignore[arg-type]
    token = mint_token(settings, [SCOPE], subject="bench", seconds=3600)
    rounds = 6 if short else ROUNDS
    with quiet_access_log():
        doors = Doors(settings)
        looped = [await take_turns(looping(doors, token), rounds) for _ in range(trials)]
    environment = {"JWT_SECRET_KEY": KEY}
    async with running("bench.auth.doors:Doors", folder, server=(*UVICORN, "--factory"), environment=environment) as up:
        connection = await connect(int(up.address.rpartition(":")[2]))
        served = [await take_turns(serving(connection, token, up.process.pid), rounds) for _ in range(trials)]
        connection.close()
    return [*figures("in a loop", looped), *figures("behind uvicorn", served)]


def figures(where: str, trials: list[dict[str, float]]) -> list[Figure]:
    """How much more than bare each door costs, in percent."""
    added = {door: [(one[door] / one["bare"] - 1) * 100 for one in trials] for door in DOORS[1:]}
    micro = {door: statistics.median(one[door] for one in trials) * 1e6 for door in DOORS}
    more = {f"{door}, us": micro[door] for door in ("bare", "guarded", "caller")}
    return [
        Figure(f"guard {where}: `dependencies=(requires())` over bare", "%", added["guarded"], BAR, more=more),
        Figure(f"guard {where}: `caller = requires()` over bare", "%", added["caller"], BAR),
        Figure(f"(beside it, {where}: an empty dependency of FastAPI over bare)", "%", added["empty"]),
    ]


async def take_turns(block: Block, rounds: int) -> dict[str, float]:
    """Seconds a call of each door: the median of many short turns."""
    for door in DOORS:
        await block(door, CALLS)
    found: dict[str, list[float]] = {door: [] for door in DOORS}
    for turn in range(rounds):
        for step in range(len(DOORS)):
            door = DOORS[(turn + step) % len(DOORS)]
            found[door].append(await block(door, CALLS) / CALLS)
    return {door: statistics.median(seconds) for door, seconds in found.items()}


def looping(doors: Doors, token: str) -> Block:
    """Calls of the apps themselves."""
    headers = [(b"host", HOST.encode()), (b"accept", b"*/*"), (b"authorization", f"Bearer {token}".encode())]

    async def block(door: str, calls: int) -> float:
        app, began = doors.apps[door], time.thread_time()
        for _ in range(calls):
            await app(scope_of(headers), receive, send)
        return time.thread_time() - began

    return block


def scope_of(headers: list[tuple[bytes, bytes]]) -> Scope:
    """What uvicorn gives an app for GET /thing."""
    where = {"server": (HOST, 4000), "client": (HOST, 50000), "scheme": "http", "root_path": "", "http_version": "1.1"}
    what = {"method": "GET", "path": "/thing", "raw_path": b"/thing", "query_string": b"", "headers": [*headers]}
    return {"type": "http", "asgi": {"version": "3.0"}, "state": {}, **where, **what}


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Message) -> None:
    assert message.get("status", 200) == 200, message


def serving(connection: Connection, token: str, pid: int) -> Block:
    """Requests through a server, by the seconds of CPU it used."""

    async def block(door: str, calls: int) -> float:
        request, began = get(f"/{door}/thing", token), cpu_of(pid)
        for _ in range(calls):
            answer = await connection.ask(request)
            assert answer.status == 200, answer
        return cpu_of(pid) - began

    return block


def cpu_of(pid: int) -> float:
    """Seconds of CPU of a process's first thread, to the nanosecond (proc(5), schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


class quiet_access_log:  # noqa: N801
    """The access log is written as in a role, but to nowhere."""

    def __enter__(self) -> None:
        self._root, self._logger = logging.getLogger(), logging.getLogger("nms")
        self._before = self._root.handlers[:], self._logger.level
        self._stream = Path(os.devnull).open("w")
        handler = logging.StreamHandler(self._stream)
        handler.setFormatter(JsonFormatter())
        self._root.handlers[:] = [handler]
        self._logger.setLevel(logging.INFO)

    def __exit__(self, *_: object) -> None:
        self._root.handlers[:], level = self._before
        self._logger.setLevel(level)
        self._stream.close()

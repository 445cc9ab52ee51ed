"""Refreshes and logins as fast as they go, and what a flood of logins does."""

import asyncio
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bench.auth.connection import Answer, Connection, connect, get, post_form
from bench.auth.figure import Figure
from bench.auth.place import PASSWORD, Place
from bench.meter import Meter

TOKEN, REFRESH, KEYS = "/token", "/token/refresh", "/.well-known/jwks.json"
REFRESHES, LOGINS, MEMORY = 1_500.0, 60.0, 400.0
"""The bars: a second, a second, MiB."""


@dataclass
class Laps:
    """How long each of many requests took, in seconds, until the deadline."""

    deadline: float
    seconds: list[float] = field(default_factory=list)

    async def add(self, asked: Awaitable[Answer]) -> Answer:
        """Wait for an answer and note how long it took; it must be a good one."""
        began = time.perf_counter()
        answer = await asked
        self.seconds.append(time.perf_counter() - began)
        assert answer.status == 200, (answer.head, answer.body)
        return answer

    def running(self) -> bool:
        return time.perf_counter() < self.deadline


def login_form(email: str, password: str = PASSWORD) -> bytes:
    """A login (RFC 6749 section 4.3.2)."""
    return post_form(TOKEN, {"grant_type": "password", "username": email, "password": password})


def refresh_form(token: str) -> bytes:
    """A refresh (RFC 6749 section 6)."""
    return post_form(REFRESH, {"grant_type": "refresh_token", "refresh_token": token})


async def measure_rate(
    place: Place, clients: int, seconds: float, client: Callable[[Laps], Awaitable[None]]
) -> tuple[float, dict[str, float]]:
    """Requests a second of so many clients at once, and beside it their times and the CPU of the role."""
    meters = {"role": Meter(place.role.family()), "PostgreSQL": Meter(place.backends()), "load": Meter([os.getpid()])}
    began = time.perf_counter()
    laps = Laps(began + seconds)
    await asyncio.gather(*(client(laps) for _ in range(clients)))
    taken, count = time.perf_counter() - began, len(laps.seconds)
    cuts = statistics.quantiles(laps.seconds, n=100)
    each = {f"cpu of {who}, us": meter.read().cpu_seconds / count * 1e6 for who, meter in meters.items()}
    return count / taken, {"p50, ms": cuts[49] * 1e3, "p99, ms": cuts[98] * 1e3, **each}


async def measure_refreshes(place: Place, trials: int, sessions: int, seconds: float) -> Figure:
    """Each session sends its newest refresh token as soon as it has it."""
    tokens: list[str] = []
    for email in await place.add_accounts("refresh", sessions):
        connection = await place.connect_anew()
        answer = await connection.ask(login_form(email))
        assert answer.status == 200, (answer.head, answer.body)
        tokens.append(json.loads(answer.body)["refresh_token"])
        connection.close()

    async def session(laps: Laps) -> None:
        connection, token = await connect(place.port), tokens.pop()
        while laps.running():
            answer = await laps.add(connection.ask(refresh_form(token)))
            following = json.loads(answer.body)["refresh_token"]
            assert following != token, "a refresh gave the same token"
            token = following
        tokens.append(token)
        connection.close()

    await measure_rate(place, sessions, seconds / 4, session)
    measured = [await measure_rate(place, sessions, seconds, session) for _ in range(trials)]
    more = {"sessions": sessions, **measured[-1][1]}
    return Figure("refreshes", "/s", [rate for rate, _ in measured], REFRESHES, floor=True, more=more)


async def measure_logins(place: Place, trials: int, clients: int, seconds: float) -> Figure:
    """Good logins of different accounts from different addresses, one after the other in each client."""
    emails = await place.add_accounts("login", 2_000 * trials)

    async def client(laps: Laps) -> None:
        while laps.running():
            connection = await place.connect_anew()
            await laps.add(connection.ask(login_form(emails.pop())))
            connection.close()

    measured = [await measure_rate(place, clients, seconds, client) for _ in range(trials)]
    more = {"clients": clients, **measured[-1][1]}
    return Figure("logins", "/s", [rate for rate, _ in measured], LOGINS, floor=True, more=more)


async def measure_flood(place: Place, trials: int, logins: int) -> list[Figure]:
    """So many logins in the same moment, each of another account and address, while others read the keys."""
    emails = await place.add_accounts("flood", logins * trials)
    memory, wrong, waits, answered = [], [], [], Counter[str]()
    for trial in range(trials):
        chosen = emails[trial * logins : (trial + 1) * logins]
        connections = [await place.connect_anew() for _ in chosen]
        meter = Meter(place.role.family())
        other = asyncio.create_task(read_keys(place))
        answers = await asyncio.gather(
            *(one.ask(login_form(email)) for one, email in zip(connections, chosen, strict=True))
        )
        other.cancel()
        times = await other
        memory.append(meter.read().peak_mib)
        waits.append(statistics.quantiles(times, n=100)[98] * 1e3)
        kinds = Counter(kind_of(answer) for answer in answers)
        wrong.append(float(kinds["wrong"]))
        answered += kinds
        for connection in connections:
            connection.close()
    each = {f"answers {kind}": float(count) for kind, count in sorted(answered.items())}
    return [
        Figure(f"flood of {logins} logins: peak resident, all processes of the role", "MiB", memory, MEMORY, more=each),
        Figure(f"flood of {logins} logins: answers beside 200, 429, 503 with Retry-After", "", wrong, 0.0),
        Figure(f"flood of {logins} logins: p99 of others meanwhile", "ms", waits),
    ]


def kind_of(answer: Answer) -> str:
    """What became of a login in the flood; an overloaded server says when to come again."""
    if answer.status == 200:
        return "200"
    polite = b"\r\nretry-after:" in answer.head.lower()
    return str(answer.status) if polite and answer.status in (429, 503) else "wrong"


async def read_keys(place: Place) -> list[float]:
    """Somebody else reads the public keys all the while, until he is told to end."""
    connection: Connection = await connect(place.port)
    times: list[float] = []
    try:
        while True:
            began = time.perf_counter()
            answer = await connection.ask(get(KEYS))
            times.append(time.perf_counter() - began)
            assert answer.status == 200, answer
            await asyncio.sleep(0.002)
    except asyncio.CancelledError:
        return times
    finally:
        connection.close()

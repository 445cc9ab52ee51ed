"""The key of secrets is changed as docs/how-to/keep-secrets.md says, while a real pipeline runs on one of them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio import create_subprocess_exec
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import asyncpg
import pytest

from nms.cfg.secret import SecretRepository
from nms.cfg.secrets import set_secret
from nms.common.seal import Sealer, SealKeyChanged
from nms.common.settings import Settings, get_settings
from tests.conftest import MakeDatabase
from tests.service.stage import Stage, pipeline, without_password
from tests.waiting import eventually

PAGE = Path(__file__).parents[2] / "docs/how-to/keep-secrets.md"
KEYS = {"old": "an-old-key-of-48-letters-or-so-Kx4mP8sL1dH6", "new": "the-new-key-of-48-letters-or-so-Wy7nQ2gF5jT3"}
LAST = "select coalesce(max(id), 0) from public.item"
IDS = "select id from public.item order by id"
TOKENS = "insert into sync.token (system, line, sealed, renewing) values ($1, $2, $3, false)"
COUNT = 250
HELD = "select worker || ' since epoch ' || epoch from common.run where subject = 'items' and state = 'running'"
READER = "select active_pid from pg_replication_slots where database = current_database()"


class Step(NamedTuple):
    """A row of the table on the page: keys by their words, and what is done with them."""

    key: str
    before: str
    action: str

    @property
    def environment(self) -> dict[str, str]:
        return {"SECRETS_KEY": KEYS[self.key], "SECRETS_KEY_BEFORE": KEYS.get(self.before, "")}

    @property
    def sealer(self) -> Sealer:
        words = (KEYS[word].encode() for word in (self.key, self.before) if word)
        return Sealer(*words)


def read_page() -> list[Step]:
    rows = [line.strip("| ").split("|") for line in PAGE.read_text().splitlines() if line[:3].strip("| ").isdigit()]
    return [Step(*(cell.strip(" `") for cell in row[1:])) for row in rows]


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A pipeline whose target is a stored secret, sealed with the old key, among others so sealed."""
    use(monkeypatch, Step("old", "", ""))
    stage = await Stage.set(settings, await make_database(), await make_database())
    repository = await SecretRepository.open()
    sealer = Sealer(*get_settings().sealing_keys())
    await set_secret(repository, "target", without_password(stage.target), "test")
    tokens = [("api", f"{number:04}", sealer.seal(b"token", f"token api {number:04}")) for number in range(COUNT)]
    await repository.connection.executemany(TOKENS, tokens)
    target = {"kind": "system", "name": "target", "type": "postgres", "dsn": "secret://target"}
    await stage.apply(*stage.systems(source=stage.source), target, pipeline())
    return stage


def use(monkeypatch: pytest.MonkeyPatch, step: Step) -> None:
    for name, value in step.environment.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()


class Writer:
    """Writes one row after another at the source, until it is told to stop."""

    def __init__(self, dsn: str) -> None:
        self._dsn, self._stop, self.written = dsn, asyncio.Event(), 0

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._write())
        try:
            yield
        finally:
            self._stop.set()
            await task

    async def _write(self) -> None:
        connection = await asyncpg.connect(self._dsn)
        try:
            while not self._stop.is_set():
                await connection.execute("insert into public.item values ($1, 'live')", self.written + 1)
                self.written += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), 0.01)
        finally:
            await connection.close()


async def run(step: Step, *words: str) -> list[Any]:
    """What a command prints line by line with the keys of a step."""
    process = await create_subprocess_exec(
        *(sys.executable, "-m", "nms", *words, "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **step.environment},
    )
    told, trouble = await process.communicate()
    assert process.returncode == 0, trouble.decode()
    return [json.loads(line) for line in [*trouble.splitlines(), *told.splitlines()] if line.startswith(b"{")]


Process: TypeAlias = subprocess.Popen[bytes]


class Workers:
    """Workers in processes of their own, each with the keys of a step."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Process] = []

    def start(self, step: Step) -> Process:
        own = self._folder / f"{step.key}-{step.before}"
        with own.with_suffix(".log").open("wb") as log:
            self._started.append(
                subprocess.Popen(
                    (sys.executable, "-m", "nms", "worker", "sync"),
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **step.environment, "DATA_DIR": str(own)},
                )
            )
        return self._started[-1]

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    made = Workers(tmp_path)
    yield made
    made.close()


async def holding(stage: Stage) -> tuple[str, list[Any]]:
    """Which worker has the pipeline since which epoch, and its reader of the log."""
    repository = await SecretRepository.open()
    return str(await repository.connection.fetchval(HELD) or ""), await stage.at("source", READER)


async def hand_over(stage: Stage, before: Process | None, after: Process) -> None:
    """Stop one worker and wait until the other, which runs beside it, has the pipeline."""
    await eventually(lambda: is_reported(stage, after))
    if before is not None:
        before.send_signal(signal.SIGTERM)

    async def look() -> bool:
        return f":{after.pid} " in (await holding(stage))[0]

    await eventually(look)


async def is_reported(stage: Stage, process: Process) -> bool:
    repository = await SecretRepository.open()
    found = "select exists (select from common.rollout where pid = $1)"
    return bool(await repository.connection.fetchval(found, process.pid))


async def follow(stage: Stage, writer: Writer) -> None:
    """Wait until what is written from now on arrives."""
    written = writer.written

    async def look() -> bool:
        return bool((await stage.at("target", LAST))[0] > written)

    await eventually(look)


async def test_the_page_is_followed_step_by_step_and_a_running_pipeline_loses_nothing(
    stage: Stage, workers: Workers
) -> None:
    writer, running = Writer(stage.source), None
    async with writer.writing():
        for step in read_page():
            if step.action.startswith("nms "):
                await follow(stage, writer)
                before = await holding(stage)
                check_told(await run(step, *step.action.split()[1:]))
                await follow(stage, writer)
                assert before == await holding(stage), "undisturbed"
            else:
                started = workers.start(step)
                await hand_over(stage, running, started)
                await follow(stage, writer)
                running = started
    await stage.arrive(IDS, list(range(1, writer.written + 1)))
    assert (await stage.get()).problem is None


def check_told(told: Sequence[dict[str, Any]]) -> None:
    """Progress is told piece by piece, and at last that the earlier key may go."""
    renewed = [sum(shelf["renewed"] for shelf in each["shelves"]) for each in told]
    assert renewed == [1, 101, 201, 251, 251]
    assert [each["done"] for each in told] == [False, False, False, False, True]
    assert "may go" in told[-1]["detail"]


def test_at_every_step_of_the_page_neighbours_open_what_either_seals() -> None:
    steps = read_page()
    assert [step.action for step in steps].index("nms secrets rotate") == 3
    for one, other in pairwise(steps):
        for sealer, opener in ((one.sealer, other.sealer), (other.sealer, one.sealer)):
            if other is not steps[-1]:
                assert opener.open(sealer.seal(b"value", "a"), "a") == b"value"
    # Only what was rotated can be opened when the old key is gone.
    assert steps[-1].sealer.open(steps[-2].sealer.seal(b"value", "a"), "a") == b"value"
    with pytest.raises(SealKeyChanged):
        steps[-1].sealer.open(steps[0].sealer.seal(b"value", "a"), "a")


async def test_a_worker_left_behind_goes_on_until_its_next_connection_and_says_what_it_lacks(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wrong order: rotated by a process with the new key, while the worker has the old one only."""
    writer = Writer(stage.source)
    async with writer.writing():
        async with stage.working():
            await follow(stage, writer)
            before = await holding(stage)
            check_told(await run(Step("new", "old", ""), "secrets", "rotate"))
            await follow(stage, writer)
            assert before == await holding(stage), "undisturbed"
            await stage.at("source", f"select pg_terminate_backend(active_pid) from ({READER}) as reader")
            halted = await stage.reach("halted")
            assert halted.problem is not None
            assert halted.problem["code"] == "seal-key-changed"
            assert "SECRETS_KEY_BEFORE" in halted.problem["remedy"]
            assert KEYS["old"] not in str(halted.problem)
        use(monkeypatch, Step("new", "", ""))
        async with stage.working():
            assert (await stage.nms("resume", "items")).exit_code == 0
            await follow(stage, writer)
    async with stage.working():
        await stage.arrive(IDS, list(range(1, writer.written + 1)))

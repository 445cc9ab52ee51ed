"""How a fidelity test has rows taken from the source: one line for each capture."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from nms.connectors.postgres.poll.prepare import prepare_source
from tests.contract.compared import OFTEN, going
from tests.contract.pipelines import Pipe
from tests.contract.polls import polling

Settle = Callable[[], Awaitable[object]]


class Open(Protocol):
    """What an open pipeline tells whatever its capture."""

    text_form: bool


# Each version in each role, and one pair that both have XML and extensions; `make fuzz` takes all pairs.
ROLES = ("15-15", "15-16", "16-18", "18-15")


@dataclass(frozen=True)
class Capture:
    """A capture: how a pipeline of it moves, whether rows are there `before` it begins, and its pairs in `make test`.

    What moves gives the open pipeline, and what waits until all that was written so far is at the target.
    """

    name: str
    moves: Callable[[Pipe], AbstractAsyncContextManager[tuple[Open, Settle]]]
    before: bool = False
    quick: Sequence[str] = ROLES
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


@asynccontextmanager
async def _follow(pipe: Pipe) -> AsyncIterator[tuple[Open, Settle]]:
    async with pipe.moves() as opened:
        yield opened, pipe.catch_up


@asynccontextmanager
async def _compare(pipe: Pipe) -> AsyncIterator[tuple[Open, Settle]]:
    async with going(pipe.spec) as rounds:

        async def settle() -> None:
            await rounds.pass_round()
            assert not rounds.refused, rounds.refused

        yield rounds.opened, settle


@asynccontextmanager
async def _poll(pipe: Pipe) -> AsyncIterator[tuple[Open, Settle]]:
    await prepare_source(pipe.spec)
    async with polling(pipe) as rounds:
        yield rounds.opened, rounds.once


CAPTURES = (
    Capture("backfill", _follow, before=True),
    Capture("log", _follow),
    # With its change log, or deletes would not be seen.
    Capture("poll", _poll, quick=("16-15", "15-18"), options={"capture": "poll", "every": 600.0, "change_log": True}),
    Capture("compare", _compare, quick=("15-18", "16-15"), options={"capture": "compare", "every": OFTEN}),
)

"""Comparisons as they run: documents, a worker, quarantine, the example of the periodic check."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from nms.cfg.text import read_drafts
from nms.common.settings import Settings
from tests.conftest import MakeDatabase
from tests.service.stage import Stage, pipeline
from tests.waiting import eventually

EXAMPLE = Path(__file__).parents[2] / "examples/subscriptions-poll.yaml"
TABLE = (files("nms.cli.demo") / "tables.sql").read_text(encoding="utf-8")
CHECK = "subscriptions-check"
STATES = ("active", "inactive", "trial", "paused")
FILL = """
insert into public.subscription
select email, status, 'basic', now(), now(), null, '{}' from unnest($1::text[], $2::text[]) t (email, status)
"""


@pytest.fixture
async def stage(settings: Settings, make_database: MakeDatabase) -> Stage:
    return await Stage.set(settings, await make_database(), await make_database())


async def rounds(stage: Stage, name: str, more: int = 2) -> dict[str, Any]:
    """The status once so many more rounds have ended."""
    before = (await stage.get(name)).status.get("rounds", 0)

    async def look() -> dict[str, Any] | None:
        status: dict[str, Any] = (await stage.get(name)).status
        return status if status.get("rounds", 0) >= before + more else None

    return await eventually(look)


def example(**parts: Any) -> list[dict[str, Any]]:
    """The documents of the example; a pipeline's parts may be others."""
    bodies = [draft.data for draft in read_drafts(EXAMPLE.read_text(), EXAMPLE.name)]
    return [{**body, **parts} if body["kind"] == "pipeline" else body for body in bodies]


@asynccontextmanager
async def both(stage: Stage) -> AsyncIterator[tuple[Any, Any]]:
    """A connection to each side."""
    source, target = await asyncpg.connect(stage.source), await asyncpg.connect(stage.target)
    try:
        yield source, target
    finally:
        await source.close()
        await target.close()


async def fill(side: Any, states: dict[str, str]) -> None:
    """Subscriptions with these states."""
    await side.execute(TABLE)
    await side.execute(FILL, list(states), list(states.values()))


async def states_of(side: Any) -> dict[str, str]:
    return dict(await side.fetch("select email, status from public.subscription"))


async def move(side: Any, seed: int, until: asyncio.Event) -> None:
    """Edit random subscriptions until told to stop, more than 20 in any case."""
    chance, moved = random.Random(seed), 0
    while moved <= 20 or not until.is_set():
        email, state = f"{chance.randrange(60)}@example.org", chance.choice(STATES)
        await side.execute("update public.subscription set status = $2 where email = $1", email, state)
        moved += 1


async def test_the_example_ends_right_while_both_sides_are_edited(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLING_DSN", stage.source)
    monkeypatch.setenv("NEWSLETTER_DSN", stage.target)
    async with both(stage) as (source, target):
        await fill(source, {f"{n}@example.org": STATES[n % 4] for n in range(60)})
        await fill(target, {f"{n}@example.org": STATES[n // 4 % 4] for n in range(5, 70)})
        alone = await source.fetch("select email, status from public.subscription where email ~ '^[0-4]@'")
        async with stage.working():
            await stage.apply(*example(every="10ms"))
            stop = asyncio.Event()
            writers = [asyncio.create_task(move(side, seed, stop)) for seed, side in enumerate((source, target))]
            await rounds(stage, CHECK, 20)
            stop.set()
            await asyncio.gather(*writers)
            status = await rounds(stage, CHECK)
        ours, theirs = await states_of(source), await states_of(target)
        met = ours.keys() & theirs.keys()
        assert [one for one in met if (ours[one] == "inactive") != (theirs[one] == "inactive")] == []
        assert (len(ours), len(theirs)) == (60, 65)
        assert len(alone) == 5
    found = status["compared"]["public.subscription"]
    assert (found["source"]["apart"], found["target"]["apart"]) == (
        len([one for one, state in ours.items() if state == "inactive" and one not in met]),
        len([one for one, state in theirs.items() if state == "inactive" and one not in met]),
    )


async def test_the_example_runs_every_thirty_seconds() -> None:
    (document,) = [body for body in example() if body["kind"] == "pipeline"]
    assert document["every"] == "30s"


async def test_a_refused_row_waits_in_quarantine_and_is_not_given_again(stage: Stage) -> None:
    await stage.at("source", "insert into public.item select n, 'name ' || n from generate_series(1, 20) n")
    await stage.at("target", "alter table public.item add check (id <> 7)")
    await stage.apply(*stage.systems(), pipeline(capture="compare", every="20ms"))
    async with stage.working():
        await rounds(stage, "items", 5)
        held = await stage.answer("quarantine", "list", "items")
        assert [(one["key"], one["op"]) for one in held] == [("7", "insert")]
        assert await stage.at("target", "select count(*) from public.item") == [19]
        await stage.at("target", "alter table public.item drop constraint item_id_check")
        await stage.nms("quarantine", "replay", "items", "--all")
        await stage.arrive("select count(*) from public.item", [20])
        assert (await rounds(stage, "items"))["compared"]["public.item"]["target"]["apart"] == 0

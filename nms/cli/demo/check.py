"""The periodic check on the demo's stage: mock subscriptions on both sides, edited on both, ending right."""

import asyncio
import os
import random
import time
from dataclasses import dataclass
from typing import Any

from nms.cfg.documents import apply_changeset
from nms.cfg.models import Changeset
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import Draft
from nms.cli.demo.process import run_together
from nms.cli.demo.scenes import LEASE_SECONDS, examples
from nms.cli.demo.screen import Screen
from nms.cli.demo.stage import WRITER, Stage, queries
from nms.cli.demo.subscriptions import fill
from nms.cli.demo.watch import DemoStuck
from nms.cli.plan import read_files
from nms.common.db import migrations
from nms.common.db.dsn import DSNType, dsn_of
from nms.common.db.revisions import folder_of
from nms.common.settings import get_settings
from nms.connectors.postgres.catalog import Connection
from nms.sync.models import Pipeline
from nms.sync.pipeline import adopt
from nms.sync.repository import SyncRepository

PIPELINE, DATASET = "subscriptions-check", "public.subscription"
EVERY = "1s"
SHARE = 5
"""Of a hundred subscriptions on each side, how many are made inactive before the first round."""
EDITED = 1_000
"""How many subscriptions the writers choose from."""
STATES = ("active", "inactive", "paused", "trial")
PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Verdict:
    """How the check ended: subscriptions on both sides, edits made meanwhile, what is inactive on one side only."""

    rows: int
    edits: int
    apart_before: int
    apart: int
    rounds: int
    seconds: float

    @property
    def in_sync(self) -> bool:
        """Whether both sides agree which subscriptions are inactive."""
        return not self.apart

    def to_dict(self) -> dict[str, Any]:
        """The document of `--json`."""
        return {
            "in_sync": self.in_sync,
            "rows": self.rows,
            "edits": self.edits,
            "inactive_on_one_side_before": self.apart_before,
            "inactive_on_one_side": self.apart,
            "rounds": self.rounds,
            "seconds": round(self.seconds, 1),
            "detail": self.sentence(),
        }

    def sentence(self) -> str:
        """The last line."""
        word = "in sync" if self.in_sync else "out of sync"
        return (
            f"{word}: {self.rows:,} subscriptions, {self.apart_before:,} inactive on one side only before,"
            f" {self.edits:,} edits, {self.apart:,} inactive on one side only now"
        )


class Check:
    """One performance: fill both sides, let them drift apart, edit both while the check runs, compare."""

    def __init__(self, stage: Stage, rows: int, seconds: float, screen: Screen) -> None:
        self._stage = stage
        self._rows = rows
        self._seconds = seconds
        self._screen = screen
        self._edits = 0

    async def perform(self) -> Verdict:
        """Set up, edit, wait until it is quiet, judge."""
        began = time.monotonic()
        os.environ["NEWSLETTER_DSN"] = self._stage.dsn("crm", WRITER)
        sides = (await self._stage.connect("billing"), await self._stage.connect("crm"))
        try:
            await self._set_up(sides)
            before = await _count_apart(sides)
            self._screen.tell(f"{before:,} subscriptions are inactive on one side only.")
            await self._apply()
            self._screen.tell(f"Both sides are edited for {self._seconds:.0f} s.")
            ending = time.monotonic() + self._seconds
            await run_together(*(self._edit(side, ending, seed) for seed, side in enumerate(sides)), self._tell(ending))
            self._screen.tell(f"{self._edits:,} edits made; waiting for a round that sees them all.")
            # Of the one that is under way nothing is known; the one after it begins behind the last edit.
            last = await self._until((await self._rounds()) + 2)
            apart = await _count_apart(sides)
        finally:
            for side in sides:
                await side.close()
        return Verdict(self._rows, self._edits, before, apart, last, time.monotonic() - began)

    async def _set_up(self, sides: tuple[Connection, Connection]) -> None:
        stage = self._stage
        self._screen.tell(f"PostgreSQL 18 runs on port {stage.server.port}, with databases billing and crm.")
        self._screen.tell(f"Filling both with {self._rows:,} subscriptions.")
        await run_together(self._start_worker(), *(self._fill(at, side) for at, side in enumerate(sides)))
        await stage.run_script("grants.sql", "crm")
        await stage.prepare_target()

    async def _start_worker(self) -> None:
        for kind in DSNType:
            await migrations.upgrade(dsn_of(kind, get_settings()), folder_of(kind) / "migrations")
        await self._stage.start_worker(LEASE_SECONDS)

    async def _fill(self, at: int, side: Connection) -> None:
        await self._stage.run_script("tables.sql", ("billing", "crm")[at])
        await fill(side, self._rows)
        await queries.update_some_inactive(side, salt=at, share=SHARE)

    async def _apply(self) -> None:
        drafts = read_files([examples() / "subscriptions-poll.yaml"])
        often = [Draft({**one.data, "every": EVERY}) if one.data["kind"] == "pipeline" else one for one in drafts]
        repository = await DocumentRepository.open()
        await apply_changeset(repository, Changeset(often, message="demo", author="nms demo"))
        await adopt(repository)
        self._screen.tell(f"Applied examples/subscriptions-poll.yaml, here with a round every {EVERY}.")

    async def _edit(self, side: Connection, ending: float, seed: int) -> None:
        chance = random.Random(seed)
        emails = [row["email"] for row in await queries.list_some_emails(side, count=EDITED)]
        while time.monotonic() < ending:
            some = sorted(chance.sample(emails, min(5, len(emails))))
            self._edits += await queries.update_statuses(side, emails=some, status=chance.choice(STATES))
            await asyncio.sleep(0.005)

    async def _tell(self, ending: float) -> None:
        told = 0
        while time.monotonic() < ending:
            pipeline = await self._look()
            rounds = pipeline.status.get("rounds", 0)
            if rounds > told:
                told = rounds
                self._screen.tell(_describe(pipeline))
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> Pipeline:
        self._stage.check_workers()
        found = await (await SyncRepository.open()).get_pipeline(PIPELINE)
        if found is None or found.phase == "halted":
            reason = "is gone" if found is None else f"halted: {(found.problem or {}).get('detail')}"
            raise DemoStuck(f"{PIPELINE} {reason}", path=str(self._stage.place))
        return found

    async def _rounds(self) -> int:
        return int((await self._look()).status.get("rounds", 0))

    async def _until(self, rounds: int) -> int:
        moved, seen = time.monotonic(), -1
        while True:
            pipeline = await self._look()
            now = int(pipeline.status.get("rounds", 0))
            if now >= rounds:
                self._screen.tell(_describe(pipeline))
                return now
            if now != seen or pipeline.status.get("comparing_for"):
                moved, seen = time.monotonic(), now
            if time.monotonic() - moved > PATIENCE_SECONDS:
                raise DemoStuck(f"No round ended for {PATIENCE_SECONDS:.0f} s.", path=str(self._stage.place))
            await asyncio.sleep(LOOK_SECONDS)


async def _count_apart(sides: tuple[Connection, Connection]) -> int:
    """How many subscriptions are inactive on one side only; both sides have the same ones."""
    left, right = [{row["email"] for row in await queries.list_inactive_emails(side)} for side in sides]
    return len(left ^ right)


def _describe(pipeline: Pipeline) -> str:
    last = pipeline.status.get("compared", {}).get(DATASET)
    if last is None:
        return f"{PIPELINE} {pipeline.phase}"
    return (
        f"Round {pipeline.status['rounds']}: {last['source']['apart'] + last['target']['apart']:,} inactive on one side"
        f" only; billing took {last['source']['taken']:,}, the newsletter {last['target']['update']:,}"
    )

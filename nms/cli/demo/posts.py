"""`nms demo rest`: posts and comments of an API in two tables, changed there, and equal on both sides again."""

import asyncio
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from nms.cfg.documents import apply_changeset
from nms.cfg.models import Changeset
from nms.cfg.repository import DocumentRepository
from nms.cli.demo.node import JsonServer
from nms.cli.demo.scenes import LEASE_SECONDS, examples
from nms.cli.demo.screen import Screen
from nms.cli.demo.stage import READER, Stage, queries
from nms.cli.demo.watch import DemoStuck
from nms.cli.plan import read_files
from nms.cli.round_view import Hindrance, View, far
from nms.cli.rounds import run_in_order
from nms.cli.standing import new_table, plural
from nms.common.db import migrations
from nms.common.db.dsn import DSNType, dsn_of
from nms.common.db.revisions import folder_of
from nms.common.run import Run
from nms.common.settings import get_settings
from nms.connectors.postgres.catalog import Connection
from nms.sync.models import ChangeFilter, SentChange
from nms.sync.pipeline import adopt, get_pipeline, list_changes
from nms.sync.repository import SyncRepository

DOCUMENTS = "jsonplaceholder-tables.yaml"
PIPELINES = ("load-posts", "load-comments")
SQL = ("prepare.sql", "twoway/prepare.sql")
SHOWN = 8
PATIENCE_SECONDS = 60.0
LOOK_SECONDS, TELL_SECONDS = 0.2, 1.0


@dataclass(frozen=True)
class Posts:
    """How the demo ended: what both sides hold, what differs still, and what was sent."""

    posts: int
    comments: int
    apart_before: int
    apart: int
    sent: list[SentChange]
    writes: int
    seconds: float

    @property
    def in_sync(self) -> bool:
        """Whether every record is the same on both sides."""
        return not self.apart

    def to_dict(self) -> dict[str, Any]:
        """The document of `--json`."""
        told = {name: value for name, value in vars(self).items() if name not in ("sent", "seconds")}
        sent = [one.model_dump(mode="json") for one in self.sent]
        return {"in_sync": self.in_sync, **told, "sent": sent, "seconds": round(self.seconds, 1),
                "detail": self.sentence()}  # fmt: skip

    def sentence(self) -> str:
        """The last line."""
        word = "in sync" if self.in_sync else "out of sync"
        return (
            f"{word}: {plural(self.posts, 'post')}, {plural(self.comments, 'comment')}, {self.apart_before:,} changed"
            f" here, {plural(self.writes, 'request')} that write, {self.apart:,} different now"
        )


class PostsDemo:
    """One performance: load, compare, change the tables, wait until the API has followed."""

    def __init__(self, stage: Stage, server: JsonServer, screen: Screen, view: View) -> None:
        self._stage = stage
        self._server = server
        self._screen = screen
        self._view = view

    async def perform(self) -> Posts:
        """Set up, load in order, change, compare record by record."""
        began = time.monotonic()
        await self._set_up()
        repository = await SyncRepository.open()
        self._screen.tell("Runs load-posts, then load-comments: comments refer to posts.")
        if await run_in_order(repository, PIPELINES, self._view):
            raise DemoStuck("The posts and comments could not be loaded.", path=str(self._stage.place))
        tables = await self._stage.connect("billing")
        try:
            await self._until_equal(tables)
            self._screen.tell("Loaded; every record is the same on both sides.")
            await self._stage.run_script("edits.sql", "billing")
            before = sum(len(names) for names in (await self._differences(tables)).values())
            self._screen.tell(f"Changed in the tables: {plural(before, 'record')} differ from the API now.")
            apart = await self._until_equal(tables)
            posts, comments = await queries.list_posts(tables), await queries.list_comments(tables)
        finally:
            await tables.close()
        sent, writes = await self._sent(repository)
        return Posts(len(posts), len(comments), before, apart, sent, writes, time.monotonic() - began)

    async def _set_up(self) -> None:
        stage = self._stage
        self._screen.tell(f"PostgreSQL 18 runs on port {stage.server.port}, json-server at {self._server.url}.")
        os.environ["LOCAL_DSN"] = stage.dsn("billing", READER)
        for kind in DSNType:
            await migrations.upgrade(dsn_of(kind, get_settings()), folder_of(kind) / "migrations")
        await stage.run_script("posts.sql", "billing")
        tables = await stage.connect("billing", READER)
        try:
            for name in SQL:
                await tables.execute((files("nms.connectors.postgres") / name).read_text(encoding="utf-8"))
        finally:
            await tables.close()
        await stage.start_worker(LEASE_SECONDS)
        drafts = read_files([examples() / DOCUMENTS])
        for one in drafts:
            if one.data.get("type") == "rest":
                one.data["url"] = self._server.url
        repository = await DocumentRepository.open()
        await apply_changeset(repository, Changeset(drafts, message="demo", author="nms demo"))
        await adopt(repository)
        self._screen.tell(f"Applied examples/{DOCUMENTS}: two pipelines that go both ways.")

    async def _until_equal(self, tables: Connection) -> int:
        """Wait until nothing differs, telling how much does; gives what still does when nothing moves any more."""
        moved, seen, told = time.monotonic(), -1, 0.0
        while True:
            self._stage.check_workers()
            apart = await self._differences(tables)
            count = sum(len(keys) for keys in apart.values())
            now = time.monotonic()
            if count != seen:
                moved, seen = now, count
                if now - told > TELL_SECONDS and count:
                    told = now
                    self._screen.tell(f"{plural(count, 'record')} to go: " + _describe(apart))
            if not count or now - moved > PATIENCE_SECONDS:
                return count
            await asyncio.sleep(LOOK_SECONDS)

    async def _differences(self, tables: Connection) -> dict[str, set[int]]:
        posts = {row["id"]: json.loads(row["record"]) for row in await queries.list_posts(tables)}
        comments = {row["id"]: json.loads(row["record"]) for row in await queries.list_comments(tables)}
        apart = {}
        for name, here in (("posts", posts), ("comments", comments)):
            there = await self._server.list(name)
            apart[name] = {key for key in here.keys() | there.keys() if here.get(key) != there.get(key)}
        return apart

    async def _sent(self, repository: SyncRepository) -> tuple[list[SentChange], int]:
        """The newest of the archive, and how many requests wrote."""
        found: list[SentChange] = []
        writes = 0
        for name in PIPELINES:
            found += await list_changes(repository, name, ChangeFilter(), (None, SHOWN))
            writes += int(((await get_pipeline(repository, name)).status.get("back") or {}).get("sent") or 0)
        return found, writes


class Told:
    """Tells on the demo's screen how far rounds are."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._told = 0.0

    def show(self, name: str, run: Run, kept_by: Hindrance | None) -> None:
        """How far a round is, not too often."""
        count = (run.progress or {}).get("current")
        if (count or kept_by) and not run.state.ended and time.monotonic() - self._told > TELL_SECONDS:
            self._told = time.monotonic()
            self._screen.tell(f"{name}: {far(run)}" + (f" ({kept_by})" if kept_by else ""))

    def end(self, name: str, run: Run) -> None:
        """What became of a round."""
        count = int((run.progress or {}).get("current") or 0)
        self._screen.tell(f"{name} has {run.state.value}: {plural(count, 'record')}.")

    def fail(self, name: str, run: Run, left: Sequence[str]) -> None:
        """Why a round failed."""
        told = f"; not begun: {', '.join(left)}" if left else ""
        self._screen.tell(f"{name}: {(run.problem or {}).get('detail')}{told}")

    def late(self) -> None:
        """Nothing: nobody sets it a time."""


def draw_sent(found: Posts) -> RenderableType:
    """The newest entries of the archive of what was sent."""
    table = new_table("sent", "request", "answered", "state", "body")
    for one in found.sent:
        request = f"{one.method} {one.path}" if one.method else one.op
        table.add_row(f"{one.dataset} {one.key}", request, str(one.status or "-"), one.state, (one.body or "")[:60])
    return Group(Text(), table, Text()) if found.sent else Text()


def _describe(apart: dict[str, set[int]]) -> str:
    return ", ".join(f"{len(keys):,} of {name}" for name, keys in apart.items() if keys)

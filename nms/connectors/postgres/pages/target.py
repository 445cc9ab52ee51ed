"""Pages of JSON records as they came, each in one statement; what the server objects to goes one change at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from nms.common.flow import Applied, Batch, ChangeRefused, Page, Part, changes_of
from nms.common.problem import Problem
from nms.connectors.postgres.libpq import Command, StepFailed
from nms.connectors.postgres.problems import Refused, SchemaChanged
from nms.connectors.postgres.target import PostgresTarget, objects


@dataclass(slots=True)
class Plan:
    """The commands of the pages of a batch; for each the number of its page and, where it does one, of its change."""

    commands: list[Command] = field(default_factory=list)
    owners: list[tuple[int, int | None]] = field(default_factory=list)
    changes: dict[int, Part] = field(default_factory=dict)

    def add(self, commands: Sequence[Command], owner: tuple[int, int | None]) -> None:
        """Commands of one owner."""
        self.commands += commands
        self.owners += [owner] * len(commands)


class PageObjected(Exception):
    """The target objects to something in this page of a batch; nothing was written."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class PageTarget(PostgresTarget):
    """A target that takes the pages of a batch, too."""

    async def apply(self, batch: Batch) -> Applied:
        """Write a batch; raises ChangeRefused for the one change the target objects to, or a Problem."""
        if not batch.pages:
            return await super().apply(batch)
        slow: set[int] = set()
        while True:
            try:
                return await self._write_pages(batch, slow)
            except PageObjected as objected:
                slow.add(objected.at)
            except Refused:
                # What is only checked at the commit names neither page nor change.
                return await super().apply(replace(batch, parts=lambda: changes_of(batch), small=None, pages=()))

    async def _write_pages(self, batch: Batch, slow: set[int]) -> Applied:
        plan = self._plan(batch.pages, slow)
        applied = Applied(batch.position, changes=sum(page.count for page in batch.pages))
        await self._libpq.prepare(plan.commands)
        await self._libpq.query(self._begin)
        try:
            counts = await self._libpq.run(plan.commands)
            applied.rows = sum(counts)
            async for part in batch.parts():
                done = await self._exact_part(batch, part)
                applied.changes, applied.rows = applied.changes + done.changes, applied.rows + done.rows
                applied.missing += done.missing
            await self._finish(batch)
        except StepFailed as failed:
            await self._rollback()
            raise _blame(plan, failed) from failed
        except Problem:
            await self._rollback()
            raise
        applied.position = batch.position
        return applied

    def _plan(self, pages: Sequence[Page], slow: set[int]) -> Plan:
        plan = Plan()
        for at, page in enumerate(pages):
            command = None if at in slow else self._writer(page.shape).page_command(page)
            if command is not None:
                plan.add([command], (at, None))
                continue
            changes = plan.changes[at] = page.changes()
            for number, change in enumerate(changes):
                plan.add(self._writer(page.shape).commands(change), (at, number))
        return plan


def _blame(plan: Plan, failed: StepFailed) -> Exception:
    problem = failed.problem
    if not 0 <= failed.index < len(plan.owners):
        return problem
    page, change = plan.owners[failed.index]
    if change is None:
        return PageObjected(page) if objects(problem) or isinstance(problem, SchemaChanged) else problem
    return ChangeRefused(plan.changes[page][change], problem) if objects(problem) else problem

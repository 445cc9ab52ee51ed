"""PostgreSQL as a target: whole batches, each in one transaction with its position (DESIGN 4.4)."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NoReturn

from nms.common import faults
from nms.common.change import Change, Op, Shape, compact, segments
from nms.common.flow import Applied, Batch, ChangeRefused, Load, Part, changes_of
from nms.common.problem import Problem, Retry
from nms.common.rows import HEADER, TRAILER
from nms.connectors.postgres import statements
from nms.connectors.postgres.drift import Pause
from nms.connectors.postgres.libpq import BEGIN, COMMIT, Access, Command, Libpq, Statement, StepFailed
from nms.connectors.postgres.problems import DriftRefused, FenceRaised, Refused, SchemaChanged, ServerAway
from nms.connectors.postgres.statements import TargetTable
from nms.connectors.postgres.writer import Writer

EXACT_LIMIT = 400
LOADS_A_FLUSH = 8
_TEXT = (25, 25, 25)
_ADVANCE = Statement("nms_advance", statements.ADVANCE_POSITION, _TEXT)
_HOLD = Statement("nms_hold", statements.HOLD_POSITION, _TEXT[:2])
# A statement at the source that swaps unique values is several here: what may be checked at the end is checked there.
_BEGIN_DEFERRED = "begin; set constraints all deferred"
_STORE_LAYOUT = Statement("nms_layout", statements.STORE_LAYOUT, (*_TEXT, 25))
_STORE_PAUSE = Statement("nms_pause", statements.STORE_PAUSE, (*_TEXT, 25))
_CHECK_NOW = Command(Statement("nms_immediate", "set constraints all immediate"))


@dataclass(frozen=True, slots=True)
class Fence:
    """Which pipeline writes, and the epoch without which its writes do nothing."""

    pipeline: str
    epoch: int


class PostgresTarget:
    """Writes batches over one connection. `writer_of` makes the writer of a shape, in an order parents first.

    With `defers` constraints that may be checked at the commit are checked there.
    """

    def __init__(self, libpq: Libpq, fence: Fence, writer_of: Callable[[Shape], Writer], *, defers: bool) -> None:
        self._libpq = libpq
        self._fence = fence
        self._writer_of = writer_of
        self._begin = _BEGIN_DEFERRED if defers else BEGIN.statement.sql
        self._writers: dict[Shape, Writer] = {}
        self._staged: set[str] = set()
        self._crowded: set[str] = set()
        self.exact_limit = EXACT_LIMIT
        self.staged_above = EXACT_LIMIT // 4
        self._unflushed = 0
        self._settled: set[Shape] = set()
        self._settling: set[Shape] = set()

    @classmethod
    async def open(
        cls, access: Access, fence: Fence, writer_of: Callable[[Shape], Writer], *, name: str, defers: bool = False
    ) -> "PostgresTarget":
        """Connect under a name that a later worker can end us by."""
        libpq = await Libpq.connect(access, name=name)
        return cls(libpq, fence, writer_of, defers=defers)

    async def close(self) -> None:
        """End the connection; an open transaction is rolled back with it."""
        await self._libpq.close()

    async def apply(self, batch: Batch) -> Applied:
        """Write a batch; raises ChangeRefused for the one change the target objects to, or a Problem."""
        if batch.load is not None:
            return await self._load(batch, batch.load)
        if batch.small is not None and len(batch.small) <= self.exact_limit:
            return await self._exact(batch)
        try:
            return await self._bulk(batch)
        except Problem as problem:
            if not (isinstance(problem, SchemaChanged) or objects(problem)):
                raise
            return await self._exact(batch)

    # -- one change at a time, in source order

    async def _exact(self, batch: Batch) -> Applied:
        new = batch.small is not None and any(self._is_new(change.shape) for change in batch.small)
        if batch.small is None or new or self._begin is _BEGIN_DEFERRED:
            return await self._exact_parts(batch)
        changes = batch.small
        owners, commands = self._commands(changes)
        commands.append(self._advance(batch))
        await self._libpq.prepare(commands)
        faults.point("apply.before_commit")
        try:
            counts = await self._libpq.transact(commands)
        except StepFailed as failed:
            await self._rollback()
            if failed.index >= len(commands) and isinstance(failed.problem, Refused):
                return await self._exact_parts(batch, at_once=True)
            raise self._blame(failed, owners, changes) from failed
        faults.point("apply.after_commit")
        return _applied(batch, len(changes), owners, changes, counts)

    async def _exact_parts(self, batch: Batch, *, at_once: bool = False) -> Applied:
        # With `at_once` deferred constraints are checked at once, so that the change they object to can be named.
        applied = Applied(batch.position)
        await self._libpq.query(self._begin)
        if at_once:
            await self._libpq.query(_CHECK_NOW.statement.sql)
        async for part in batch.parts():
            done = await self._exact_part(batch, part)
            applied.changes, applied.rows = applied.changes + done.changes, applied.rows + done.rows
            applied.missing += done.missing
        try:
            await self._finish(batch)
        except StepFailed as failed:
            await self._rollback()
            if at_once or not isinstance(failed.problem, Refused):
                raise failed.problem from failed
            return await self._exact_parts(batch, at_once=True)
        applied.position = batch.position
        return applied

    async def _exact_part(self, batch: Batch, part: Part) -> Applied:
        await self._settle(change.shape for change in part)
        owners, commands = self._commands(part)
        await self._libpq.prepare(commands)
        try:
            counts = await self._libpq.run(commands)
        except StepFailed as failed:
            await self._rollback()
            raise self._blame(failed, owners, part) from failed
        return _applied(batch, len(part), owners, part, counts)

    def _commands(self, changes: Sequence[Change]) -> tuple[list[int], list[Command]]:
        owners: list[int] = []
        commands: list[Command] = []
        emptied: list[TargetTable] = []
        for at, change in enumerate(changes):
            if change.op is Op.TRUNCATE:
                # Tables that refer to each other can only be emptied by one statement, as the source did.
                emptied.append(self._writer(change.shape).table)
                if at + 1 < len(changes) and changes[at + 1].op is Op.TRUNCATE:
                    continue
                made = [Command(Statement("", sql)) for sql in statements.truncate_tables(emptied)]
                emptied = []
            else:
                made = self._writer(change.shape).commands(change)
            commands += made
            owners += [at] * len(made)
        return owners, commands

    def _blame(self, failed: StepFailed, owners: Sequence[int], changes: Sequence[Change]) -> Exception:
        problem = failed.problem
        if objects(problem) and 0 <= failed.index < len(owners):
            return ChangeRefused(changes[owners[failed.index]], problem)
        return problem

    # -- folded and staged

    async def _bulk(self, batch: Batch) -> Applied:
        applied = Applied(batch.position)
        await self._libpq.query(self._begin)
        try:
            async for part in batch.parts():
                await self._settle(change.shape for change in part)
                applied.changes += len(part)
                async for rows in self._segments(part):
                    applied.rows += rows
            await self._finish(batch)
        except StepFailed as failed:
            await self._rollback()
            raise failed.problem from failed
        except Problem:
            await self._rollback()
            raise
        applied.position = batch.position
        applied.folded = applied.changes - applied.rows
        return applied

    async def _segments(self, part: Part) -> AsyncIterator[int]:
        for barrier, changes in segments(part):
            yield await (self._one_by_one(changes) if barrier else self._segment(changes))

    async def _segment(self, changes: list[Change]) -> int:
        if len(changes) <= self.staged_above:
            return await self._one_by_one(changes)
        groups: dict[Shape, list[Change]] = {}
        for change in changes:
            groups.setdefault(change.shape, []).append(change)
        writers = sorted((self._writer(shape) for shape in groups), key=lambda writer: writer.number)
        # Where the target deletes or empties references by itself, children must have left before their parent goes.
        acts = any(writer.table.acts for writer in self._writers.values())
        if not all(writer.table.stageable and not (acts and writer.table.inexact) for writer in writers):
            # A delete behind the write of an equal key would take that too.
            return await self._one_by_one(changes)
        deletes: list[str] = []
        writes: list[str] = []
        rows = 0
        for writer in writers:
            group = groups[writer.shape]
            folded = compact(group) if writer.shape.key else group
            staged = await self._stage(writer, folded)
            deletes[:0] = staged[0]
            writes += staged[1]
            rows += len(folded)
        clears = [statements.clear_stage(writer.table) for writer in writers]
        steps = writes + deletes if acts else deletes + writes
        await self._libpq.run([Command(Statement("", sql)) for sql in steps + clears])
        return rows

    async def _stage(self, writer: Writer, folded: list[Change]) -> tuple[list[str], list[str]]:
        await self._ensure_stage(writer)
        rows, ops = writer.stage_rows(folded)
        await self._libpq.copy_in(
            statements.copy_stage(writer.table, with_op=True), [b"".join((HEADER, *rows, TRAILER))]
        )
        return writer.stage_statements(ops)

    async def _one_by_one(self, changes: Sequence[Change]) -> int:
        if changes:
            _, commands = self._commands(changes)
            await self._libpq.prepare(commands)
            await self._libpq.run(commands)
        return len(changes)

    # -- rows of a backfill

    async def _load(self, batch: Batch, load: Load) -> Applied:
        writer = self._writer(load.shape)
        table = writer.table
        direct = not (table.text_form or table.constants or load.sweep or table.name in self._crowded)
        if load.sweep:
            await self._sweep(writer, load)
        try:
            await self._write_load(batch, load, direct=direct)
        except Problem as problem:
            if not objects(problem):
                raise
            if direct and problem.facts.get("sqlstate") == "23505":
                self._crowded.add(writer.table.name)
                return await self._load(batch, load)
            return await self._exact(replace(batch, parts=lambda: changes_of(batch), small=None))
        return Applied(batch.position, changes=load.rows, rows=load.rows, durable=not self._unflushed)

    async def _write_load(self, batch: Batch, load: Load, *, direct: bool) -> None:
        writer = self._writer(load.shape)
        # Chunks are flushed together: of what a crash takes the position goes too, and it is copied again.
        self._unflushed = 0 if load.upto is None or self._unflushed >= LOADS_A_FLUSH else self._unflushed + 1
        await self._libpq.query(self._begin)
        if self._unflushed:
            await self._libpq.query(statements.NO_FLUSH)
        try:
            await self._settle([load.shape])
            if not direct:
                await self._ensure_stage(writer)
            if direct:
                await self._libpq.copy_in(statements.copy_table(writer.table), load.data)
            else:
                await self._libpq.copy_in(statements.copy_stage(writer.table, with_op=False), load.data)
                await self._libpq.run([Command(Statement("", statements.insert_staged(writer.table)))])
            async for part in batch.parts():
                await self._one_by_one(part)
            faults.point("load.before_commit")
            await self._finish(batch)
        except StepFailed as failed:
            await self._rollback()
            raise failed.problem from failed
        except Problem:
            await self._rollback()
            raise

    async def _sweep(self, writer: Writer, load: Load) -> None:
        # On its own, so that it is done even when rows of the load are refused and held.
        await self._libpq.query(self._begin)
        try:
            await self._settle([load.shape])
            await self._ensure_stage(writer)
            await self._libpq.copy_in(statements.copy_stage(writer.table, with_op=False), load.data)
            swept = Command(Statement("", statements.sweep_range(writer.table, load.after, load.upto)))
            fence = Command(_HOLD, [self._fence.pipeline.encode(), str(self._fence.epoch).encode()])
            await self._libpq.prepare([fence])
            _, held = await self._libpq.run([swept, fence])
            if not held:
                raise FenceRaised(f"{self._fence.pipeline} has gone to another worker")
            await self._libpq.run([COMMIT])
            self._note_settled()
        except StepFailed as failed:
            await self._rollback()
            raise failed.problem from failed
        except Problem:
            await self._rollback()
            raise

    async def _ensure_stage(self, writer: Writer) -> None:
        if writer.table.stage not in self._staged:
            await self._libpq.query(statements.create_stage(writer.table))
            self._staged.add(writer.table.stage)

    # -- tables that changed at the source

    def _is_new(self, shape: Shape) -> bool:
        if shape in self._settled:
            return False
        if self._writer(shape).kept is not None:
            return True
        self._settled.add(shape)
        return False

    async def _settle(self, shapes: Iterable[Shape]) -> None:
        """Have the target follow before the first change of a new shape, in the transaction that is open."""
        for shape in dict.fromkeys(shapes):
            await self._follow(shape)

    async def _follow(self, shape: Shape) -> None:
        if shape in self._settling or not self._is_new(shape):
            return
        writer = self._writer(shape)
        if writer.after is not None:
            # It may have had no change that came here, and what it needed is needed still.
            await self._follow(writer.after)
        try:
            for step in writer.steps:
                await self._libpq.query(step)
        except Problem as problem:
            await self._rollback()
            if problem.retry is not Retry.NEVER:
                raise
            await self._pause(shape.dataset, writer, problem)
        await self._store(_STORE_LAYOUT, writer.kept or ("", ""))
        self._settling.add(shape)

    async def _pause(self, dataset: str, writer: Writer, problem: Problem) -> NoReturn:
        sql = "\n".join(writer.steps)
        pause = Pause("drift-refused", f"{dataset}: the target refused to follow it: {problem.detail}", sql)
        await self._store(_STORE_PAUSE, (dataset, json.dumps(pause.to_dict())))
        raise DriftRefused(pause.detail, dataset=dataset, sql=sql)

    async def _store(self, statement: Statement, what: tuple[str, str]) -> None:
        words = (self._fence.pipeline, str(self._fence.epoch), *what)
        command = Command(statement, [word.encode() for word in words])
        await self._libpq.prepare([command])
        await self._libpq.run([command])

    def _note_settled(self) -> None:
        self._settled |= self._settling
        self._settling.clear()

    # -- all ways

    def _writer(self, shape: Shape) -> Writer:
        writer = self._writers.get(shape)
        if writer is None:
            writer = self._writers[shape] = self._writer_of(shape)
        return writer

    def _advance(self, batch: Batch) -> Command:
        position = json.dumps(batch.position).encode()
        return Command(_ADVANCE, [self._fence.pipeline.encode(), str(self._fence.epoch).encode(), position])

    async def _finish(self, batch: Batch) -> None:
        advance = self._advance(batch)
        await self._libpq.prepare([advance])
        faults.point("apply.before_commit")
        await self._libpq.run([advance, COMMIT])
        self._note_settled()
        faults.point("apply.after_commit")

    async def _rollback(self) -> None:
        # What was made in the transaction is gone with it; a connection that is gone has rolled back already.
        self._staged.clear()
        self._settling.clear()
        with suppress(ServerAway):
            await self._libpq.query("rollback")


def objects(problem: Problem) -> bool:
    """Whether a target objects to what was written, so that no other try will do."""
    # An internal error that a value brings about again and again is a refusal too, such as a trigger's.
    return isinstance(problem, Refused) or problem.facts.get("sqlstate") == "XX000"


def _applied(batch: Batch, count: int, owners: Sequence[int], changes: Part, counts: Sequence[int]) -> Applied:
    hits = dict.fromkeys(owners, 0)
    for at, hit in zip(owners, counts, strict=False):
        hits[at] += hit
    missing = sum(1 for at, hit in hits.items() if not hit and changes[at].op is Op.UPDATE)
    return Applied(batch.position, changes=count, rows=count, missing=missing)

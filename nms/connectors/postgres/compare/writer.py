"""Writes of a comparison: each does nothing unless its row still is as it was seen."""

import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from nms.common.change import Change, Field, Op, split_key
from nms.common.flow import Applied, Batch, ChangeRefused, Part, Position
from nms.connectors.postgres import statements
from nms.connectors.postgres.compare.statements import delete_seen, update_seen
from nms.connectors.postgres.compare.stream import Key
from nms.connectors.postgres.libpq import Command, Statement
from nms.connectors.postgres.problems import ServerBusy
from nms.connectors.postgres.target import PostgresTarget
from nms.connectors.postgres.writer import Writer, command_of

TEXT = 25
# What another change of the same round may make room for: a foreign key, a unique value, an exclusion.
_PASSING = frozenset({"23503", "23505", "23P01"})
# Shorter than a server waits before it looks for deadlocks and ends one of those in it, which may be the other.
PATIENCE = "200ms"
_WAITS = 20


@dataclass(frozen=True, slots=True)
class Mark:
    """A difference as it was seen: dataset, key, hash of the source's row, version of the target's (None: no row)."""

    dataset: str
    key: Key
    row: bytes | None
    version: bytes | None


class Guarded(Change):
    """A change for the version of the target's row that was seen, and no other."""

    __slots__ = ("mark",)

    def __init__(self, mark: Mark, change: Change) -> None:
        super().__init__(change.shape, change.op, change.key, change.values, change.old_key)
        self.mark = mark


class GuardedWriter(Writer):
    """Writes guarded changes one at a time; other changes (replayed ones) as ever."""

    def commands(self, change: Change) -> list[Command]:
        """The statement that does one change, or nothing."""
        if not isinstance(change, Guarded):
            return super().commands(change)
        version = change.mark.version
        if version is None:
            made = self._statement("new", statements.insert_new(self.table), self._oids)
            return [command_of(made, change.values)]
        if change.op is Op.DELETE:
            made = self._statement("delete seen", delete_seen(self.table), (*self._key_oids, TEXT))
            return [_seen(made, split_key(change.key), version)]
        present = self._written(change) if change.old_key is None else self._present(change)
        if not present:
            return []
        types = [*(self._oids[at] for at in present), *self._key_oids, TEXT]
        made = self._statement(("seen", present), update_seen(self.table, present), types)
        return [_seen(made, [*(change.values[at] for at in present), *split_key(change.key)], version)]


class ComparedTarget:
    """A target beside which refused changes wait, while others of the round may make room for them.

    `told` are the differences that were given and not yet written: what was refused for good is not given again.
    """

    def __init__(self, target: PostgresTarget) -> None:
        target.exact_limit = sys.maxsize
        self._target = target
        self.told: set[Mark] = set()
        self.postponed: list[Guarded] = []
        self.patient = True
        self.left = 0

    async def close(self) -> None:
        """End the connection."""
        await self._target.close()

    async def apply(self, batch: Batch) -> Applied:
        """Write a batch; raises ChangeRefused for the one change that the target objects to, or a Problem."""
        changes = list(batch.small or ())
        if not any(isinstance(change, Guarded) for change in changes):
            return await self._target.apply(batch)
        total = Applied(batch.position)
        pieces, waits = [changes], 0
        while pieces:
            piece = pieces.pop()
            try:
                applied = await self._target.apply(replace(batch, small=piece, parts=partial(once, piece)))
            except ChangeRefused as refused:
                at = self._postpone(refused, piece)
                pieces += [rest for rest in (piece[at + 1 :], piece[:at]) if rest]
            except ServerBusy:
                # Somebody else has a row of it. The others are written without it; after some waiting, next time.
                waits += 1
                half = len(piece) // 2
                pieces += [piece[half:], piece[:half]] if half and waits < _WAITS else self._leave(piece)
            else:
                self._count(total, applied, piece)
        return total

    def _leave(self, piece: Sequence[Change]) -> list[list[Change]]:
        self.left += len(piece)
        self._forget(piece)
        return []

    def _postpone(self, refused: ChangeRefused, piece: Sequence[Change]) -> int:
        change = refused.change
        if not (self.patient and isinstance(change, Guarded) and refused.problem.facts.get("sqlstate") in _PASSING):
            raise refused
        self.postponed.append(change)
        self.told.discard(change.mark)
        return next(at for at, one in enumerate(piece) if one is change)

    def _count(self, total: Applied, applied: Applied, piece: Sequence[Change]) -> None:
        total.changes += applied.changes
        total.rows += applied.rows - applied.missing
        # A row that has another version by now is not missing: it is left for the next round.
        self.left += applied.missing
        self._forget(piece)

    def _forget(self, piece: Sequence[Change]) -> None:
        self.told.difference_update(change.mark for change in piece if isinstance(change, Guarded))


def batch_of(position: Position, changes: Part) -> Batch:
    """Changes in memory as a batch."""
    return Batch(position, lambda: once(changes), len(changes), place=position["place"], small=changes)


async def once(part: Part) -> AsyncIterator[Part]:
    """The only part of a batch."""
    yield part


def _seen(statement: Statement, fields: Sequence[Field], version: bytes) -> Command:
    made = command_of(statement, fields)
    return Command(statement, [*made.params, version])

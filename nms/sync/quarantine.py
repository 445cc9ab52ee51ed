"""The quarantine: refused changes and their followers are held per key, until replayed or dropped."""

import base64
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nms.common.change import Change, Field, Op
from nms.common.flow import Batch, Opened, Page, Part, Poison, Position, Sifted, changes_of
from nms.common.problem import Problem
from nms.common.run import Claimed
from nms.sync.changes import Held, encode, encode_message, parts_of
from nms.sync.problems import QuarantineFull
from nms.sync.repository import SyncRepository

Key = tuple[str, bytes]
Mark = tuple[str, int, bytes | tuple[Field, ...]]


@dataclass(slots=True)
class Holder:
    """For whom is held: the run whose fence protects the writes, the pipeline, its generation, the limit.

    `feeds` says that changes are what any sender wrote, so that a truncate, too, may be held; `repeats` that they may
    come again and again.
    """

    claimed: Claimed
    pipeline: str
    generation: int
    limit: int
    feeds: bool = False
    repeats: bool = False


@dataclass(slots=True)
class Reading:
    """One reading of a batch: keys held at this point of it, how often each dataset was emptied, the last part."""

    keys: set[Key] = field(default_factory=set)
    unsaid: dict[Mark, Problem] = field(default_factory=dict)
    emptied: Counter[str] = field(default_factory=Counter)
    part: Part = ()
    before: Counter[str] = field(default_factory=Counter)

    def give(self, part: Part, before: Counter[str]) -> Part:
        """Remember the part that the target gets now."""
        self.part, self.before = part, before
        return part

    def mark(self, change: Change) -> Mark:
        """What tells a refused change apart: a key that is used again behind a truncate is another one."""
        dataset, times = change.shape.dataset, self.before.copy()
        for one in self.part:
            if one is change:
                break
            if one.op is Op.TRUNCATE:
                times[one.shape.dataset] += 1
        return dataset, times[dataset], _name(change)


class Quarantine:
    """Keys held for one pipeline, kept in the own database; changes of held keys are diverted there."""

    def __init__(self, repository: SyncRepository, holder: Holder, opened: Opened) -> None:
        self._repository = repository
        self._holder = holder
        self._opened = opened
        self._keys: set[Key] = set()
        self._batch: Batch | None = None
        self._refused: dict[Mark, Problem] = {}
        self._reading = Reading()
        self._passed = 0
        self._place = 0
        self._written = 0
        self.count = 0

    async def load(self, position: Position) -> None:
        """Read what is held; forget what was held beyond the target's position, it comes again."""
        self._passed = self._opened.place_of(position)
        name = self._holder.pipeline
        async with self._repository.transaction() as tx:
            await self._holder.claimed.fence(tx)
            await tx.mark_settled(position.get("replayed", []), "replayed")
            if not self._holder.feeds:
                # A queue copies nothing anew: what is held of it comes from nowhere else.
                await tx.mark_superseded(name, self._holder.generation)
            await tx.delete_unwritten(name, self._passed)
            self._keys = {(dataset, base64.b64decode(key)) for dataset, key in await tx.list_held_keys(name)}
            self.count = await tx.count_held(name)

    def refuse(self, change: Change, problem: Problem) -> None:
        """Hold this change of the batch, and all that follow on its key; a database's truncate halts the pipeline."""
        mark = self._reading.mark(change)
        if (change.op is Op.TRUNCATE and not self._holder.feeds) or mark in self._refused:
            raise problem
        self._refused[mark] = problem

    def keep(self, position: Position) -> None:
        """Take note that the target has the batch: what was held of it stays held."""
        self._keys = self._reading.keys
        self._passed = self._opened.place_of(position)
        self._batch, self._refused = None, {}

    async def divert(self, batch: Batch) -> Batch:
        """The batch without what must be held; that is written before the target commits."""
        if batch is not self._batch:
            # One place for all tries, although a batch that still arrives learns its end on the way. Until then it
            # stands where its commit begins, and that may be where the one before it ended.
            self._batch, self._refused = batch, {}
            self._place = max(self._opened.place_of(batch.position), self._passed + 1)
        if batch.load is not None and not (self._keys or self._refused):
            self._reading = Reading()
            return batch
        if batch.pages and not (self._keys or self._refused):
            await self._begin()
            await self._hold_messages(batch.poison)
            return batch
        if batch.small is not None and batch.load is None:
            return await self._divert_small(batch, batch.small)

        async def parts() -> AsyncIterator[Part]:
            await self._begin()
            await self._hold_messages(batch.poison)
            async for part in changes_of(batch):
                yield await self._sift(part)
            diverted.position = batch.position

        diverted = replace(batch, parts=parts, load=None, small=None, pages=())
        return diverted

    async def _divert_small(self, batch: Batch, small: Part) -> Batch:
        await self._begin()
        await self._hold_messages(batch.poison)
        pages = [await self._sift_page(page) for page in batch.pages]
        kept = await self._sift(small)
        if kept is small and not pages:
            return batch
        return replace(batch, pages=pages, small=kept, parts=lambda: parts_of(kept))

    async def _sift_page(self, page: Page) -> Page:
        changes = page.changes()
        kept = await self._sift(changes)
        if len(kept) == len(changes):
            return page
        return replace(page, count=len(kept), changes=lambda: list(kept), members=None)

    async def _begin(self) -> None:
        # A batch tried again holds its changes again, each with its reason.
        self._reading = Reading(set(self._keys), dict(self._refused))
        if self._written < self._place:
            return
        async with self._repository.transaction() as tx:
            await self._holder.claimed.fence(tx)
            self.count -= await tx.delete_unwritten(self._holder.pipeline, self._place - 1)
        self._written = 0

    async def _sift(self, part: Part) -> Part:
        reading, before = self._reading, self._reading.emptied.copy()
        if not (reading.keys or self._refused):
            reading.emptied.update(change.shape.dataset for change in part if change.op is Op.TRUNCATE)
            return reading.give(part, before)
        kept = Sifted(part)
        held: list[tuple[Change, Problem | None]] = []
        freed: set[str] = set()
        for change in part:
            if change.op is Op.TRUNCATE and self._mark(change) in self._refused:
                held.append((change, self._refused[self._mark(change)]))
                continue
            if change.op is Op.TRUNCATE:
                # The source emptied the table: what is held of it must not come back by a replay.
                dataset = change.shape.dataset
                reading.emptied[dataset] += 1
                freed.add(dataset)
                held = [one for one in held if one[0].shape.dataset != dataset]
                reading.keys = {key for key in reading.keys if key[0] != dataset}
            if self._follows(change):
                held.append((change, self._reason(change)))
                self._hold(change)
            else:
                kept.append(change)
        if held or freed:
            await self._write(held, freed)
        return reading.give(kept, before)

    async def _write(self, held: Sequence[tuple[Change, Problem | None]], freed: Iterable[str]) -> None:
        name = self._holder.pipeline
        async with self._repository.transaction() as tx:
            await self._holder.claimed.fence(tx)
            for dataset in freed:
                self.count -= await tx.mark_truncated(name, dataset)
            for change, problem in held:
                self.count += await tx.insert_quarantined(self._values(change, problem))
            if self.count > self._holder.limit:
                raise QuarantineFull(f"{self.count} changes of {name} are held", held=self.count)
        self._written = self._place

    async def _hold_messages(self, poison: Sequence[Poison]) -> None:
        if not poison:
            return
        async with self._repository.transaction() as tx:
            await self._holder.claimed.fence(tx)
            for one in poison:
                self.count += await tx.insert_message(
                    {
                        "pipeline": self._holder.pipeline,
                        "generation": self._holder.generation,
                        "dataset": one.dataset,
                        # Senders choose it, and PostgreSQL's text cannot hold this character.
                        "key": one.key.replace("\0", "\ufffd"),
                        "place": self._place,
                        "change": encode_message(one.body),
                        "problem": one.problem.to_dict(),
                    }
                )
            if self.count > self._holder.limit:
                raise QuarantineFull(f"{self.count} changes of {self._holder.pipeline} are held", held=self.count)
        self._written = self._place

    def _values(self, change: Change, problem: Problem | None) -> dict[str, Any]:
        follows = {"code": "follows-held", "detail": "an earlier change of this key is held"}
        return {
            "pipeline": self._holder.pipeline,
            "generation": self._holder.generation,
            "dataset": change.shape.dataset,
            "key": self._opened.show_key(change),
            "place": self._place,
            "op": change.op.value,
            "change": {**encode(change), "shown": self._opened.show_values(change)},
            "problem": follows if problem is None else problem.to_dict(),
            "once": self._holder.repeats and problem is None and bool(change.shape.key),
        }

    def _follows(self, change: Change) -> bool:
        dataset, keys = change.shape.dataset, self._reading.keys
        if change.op is Op.TRUNCATE:
            return False
        if self._mark(change) in self._refused:
            return True
        if not change.shape.key:
            return False
        return (dataset, change.key) in keys or (change.old_key is not None and (dataset, change.old_key) in keys)

    def _mark(self, change: Change) -> Mark:
        return change.shape.dataset, self._reading.emptied[change.shape.dataset], _name(change)

    def _reason(self, change: Change) -> Problem | None:
        mark = self._mark(change)
        return self._reading.unsaid.pop(mark, None) if change.shape.key else self._refused[mark]

    def _hold(self, change: Change) -> None:
        self._reading.keys.add((change.shape.dataset, change.key))
        if change.old_key is not None:
            self._reading.keys.add((change.shape.dataset, change.old_key))

    async def settle(self, position: Position) -> int:
        """Do what was asked: replay or drop held changes; gives how many were settled."""
        asked = await self._repository.list_asked(self._holder.pipeline)
        if asked:
            await Held(self._repository, self._holder.claimed, self._opened).settle(asked, position)
            await self.load(position)
        return len(asked)


def _name(change: Change) -> bytes | tuple[Field, ...]:
    return change.key if change.shape.key else change.values

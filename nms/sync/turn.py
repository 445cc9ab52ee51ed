"""Whose turn it is in a two-way pipeline: batches of the remote and of the database, one at a time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

from nms.common.change import UNCHANGED, Change, Op, frame, split_key, unframe
from nms.common.cloudevents import Stamper, make_id, subject_of
from nms.common.flow import Batch, Part, Position
from nms.common.ledger import Captured
from nms.common.rounds import Rounds
from nms.connectors.postgres.twoway.opening import TwoWayEnd
from nms.sync.deletes import Deletes
from nms.sync.problems import TableAltered

TURN_SECONDS = 0.5
MOST_KEYS = 20_000
Key = tuple[str, ...]
Asked = Callable[[], Awaitable[list[tuple[str, Key]]]]


class Turns:
    """The source of a two-way pipeline; what a batch of the database says is only which records changed there.

    The remote is read as a whole once before the first change of the database goes there. `began` is when the round
    began (loop's clock) that the last batch of the remote is of; `captured` has the changes, by record, that the last
    batch was made of, where the log told them. `asked` gives records that somebody decided on.
    """

    def __init__(self, end: TwoWayEnd, rounds: Rounds, asked: Asked, *, looks: bool) -> None:
        self._end = end
        self._rounds = rounds
        self._asked = asked
        self._looks = looks
        self._deletes = Deletes(end)
        self._position = dict(end.position)
        self._datasets = {shape.dataset: name for name, shape in end.tables.items()}
        self._tasks: dict[str, asyncio.Task[Batch]] = {}
        self._sources: dict[str, AsyncGenerator[Batch, None]] = {"pull": end.feed.batches()}
        self._asked_at = self._looked_at = 0.0
        self._first: float | None = None
        self._altered = False
        self.captured: dict[tuple[str, Key], list[Captured]] = {}
        self.began = 0.0

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Batches of both sides, each behind the one before at its target."""
        try:
            while True:
                yield await self._next()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            for source in self._sources.values():
                await source.aclose()

    async def confirm(self, position: Position) -> None:
        """Tell both sources what is durable."""
        if "pull" in position:
            await self._end.feed.confirm(position["pull"])
        if self._end.log is not None and "log" in position:
            await self._end.log.source.confirm(position["log"])

    async def close(self) -> None:
        """Close both; safe to call twice."""
        await self._end.close()

    async def _next(self) -> Batch:
        while True:
            if self._altered or (self._looks and "look" in self._position and await self._end.side.is_altered()):
                raise TableAltered("a column has another type since the pipeline was opened")
            if self._position.get("pulled"):
                batch = await self._look()
                if batch is not None:
                    return batch
            self._ask()
            await asyncio.wait(self._tasks.values(), timeout=TURN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            self._note_rounds()
            # What changed here goes first: pages of a round would keep it waiting.
            for name in ("log", "pull"):
                task = self._tasks.get(name)
                if task is not None and task.done():
                    del self._tasks[name]
                    return await (self._pulled(task.result()) if name == "pull" else self._logged(task.result()))

    def _note_rounds(self) -> None:
        """Let the database have its turn once a whole round has been taken."""
        began = self._rounds.began
        if began is None or self._position.get("pulled"):
            return
        if self._rounds.resting or self._first not in (None, began):
            self._position |= {"pulled": True, "look": {}}
        self._first = self._first or began

    def _ask(self) -> None:
        if self._end.log is not None and self._position.get("pulled"):
            self._sources.setdefault("log", self._end.log.source.batches())
        for name, source in self._sources.items():
            if name not in self._tasks:
                self._tasks[name] = asyncio.create_task(anext(source))

    async def _pulled(self, batch: Batch) -> Batch:
        self.captured = {}
        self.began = self._rounds.began or 0.0
        return replace(batch, position=self._at(pull=batch.position))

    async def _logged(self, batch: Batch) -> Batch:
        found: dict[tuple[str, Key], list[Captured]] = {}
        stamp = Stamper(batch).stamp
        async for part in batch.parts():
            for change in part:
                place = stamp(change)[0]
                if change.op is Op.TRUNCATE:
                    self._deletes.refuse_truncate(self._datasets[change.shape.dataset])
                    self._position["look"] = {}
                for key in (change.old_key, change.key):
                    if key and len(found) <= MOST_KEYS:
                        changes = found.setdefault((self._datasets[change.shape.dataset], _texts(key)), [])
                        if key == change.key:
                            changes.append(self._captured(change, place, batch))
        if len(found) > MOST_KEYS:
            # The tables tell better what a large transaction did than all its changes.
            self._position["look"] = {}
            found.clear()
        await self._deletes.weigh(found)
        self._altered = bool(batch.position.get("paused"))
        made = self._batch(found, log=batch.position, committed=batch.committed)
        self.captured = found
        # That a table is left out must be known to whoever opens it anew.
        return replace(made, keep=self._altered)

    def _captured(self, change: Change, place: str, batch: Batch) -> Captured:
        dataset = change.shape.dataset
        identity = make_id((self._end.system, dataset, place), change)
        return Captured(identity, self._datasets[dataset], subject_of(change), change.op.value, batch.committed)

    async def _look(self) -> Batch | None:
        """Records that somebody decided on, and those that are not as they were when last synced."""
        now = asyncio.get_running_loop().time()
        if now - self._asked_at >= TURN_SECONDS:
            self._asked_at = now
            asked = await self._asked()
            if asked:
                return self._batch(asked)
        if self._looks and now - self._looked_at >= self._every:
            self._looked_at = now
            self._position.setdefault("look", {})
        while "look" in self._position:
            batch = await self._look_on(self._position["look"])
            if batch is not None:
                return batch
        return None

    @property
    def _every(self) -> float:
        return min(self._rounds.every, 10.0)

    async def _look_on(self, place: Position) -> Batch | None:
        names = list(self._end.tables)
        name = place.get("dataset", names[0])
        keys = await self._end.side.list_changed(name, tuple(place.get("after", ())))
        if keys:
            await self._deletes.look(name)
        following = names[names.index(name) + 1 :]
        if keys:
            self._position["look"] = {"dataset": name, "after": list(keys[-1])}
        elif following:
            self._position["look"] = {"dataset": following[0]}
        else:
            del self._position["look"]
        return self._batch((name, key) for key in keys) if keys else None

    def _batch(self, found: Iterable[tuple[str, Key]], *, committed: float | None = None, **where: Any) -> Batch:
        changes = [self._change(name, key) for name, key in found]
        self.captured = {}

        async def parts() -> AsyncIterator[Part]:
            yield changes

        position = self._at(**where)
        return Batch(position, parts, len(changes), committed=committed, small=changes, place=position["place"])

    def _change(self, name: str, key: Key) -> Change:
        shape = self._end.tables[name]
        framed = [frame(text.encode()) for text in key]
        values = [UNCHANGED] * len(shape.columns)
        return Change(shape, Op.UPDATE, b"".join(framed), tuple(values))

    def _at(self, **where: Any) -> Position:
        self._position |= {"place": self._position.get("place", 0) + 1, **where}
        return dict(self._position)


def _texts(key: bytes) -> Key:
    return tuple(text.decode() for text in map(unframe, split_key(key)) if text is not None)

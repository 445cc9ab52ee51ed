"""Comparing as a source: in rounds, each reading both sides and giving what the target needs."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from nms.common import faults
from nms.common.flow import Batch, Position
from nms.common.rounds import Rounds
from nms.connectors.postgres.compare.ends import Ends
from nms.connectors.postgres.compare.rule import Rule
from nms.connectors.postgres.compare.stream import Key
from nms.connectors.postgres.compare.whole import Whole
from nms.connectors.postgres.compare.writer import ComparedTarget, Guarded, batch_of


class CompareSource:
    """Rounds over datasets, parents before children; `when` says when one begins.

    `acts` says that deleting a row at the target may change others, so that children must have moved away before.
    """

    def __init__(self, position: Position, ends: Ends, target: ComparedTarget, when: Rounds) -> None:
        self._position = position
        self._ends = ends
        self._target = target
        self._when = when
        self._whole: list[Whole] = []
        self._rules: list[Rule] = []
        self._works: list[Whole | Rule] = []
        self._acts = False
        self._began: float | None = None
        self.rounds = 0
        self.seconds = 0.0

    def take(self, whole: Sequence[Whole], rules: Sequence[Rule], *, acts: bool) -> None:
        """The datasets."""
        self._whole, self._rules, self._acts = list(whole), list(rules), acts
        self._works = [*whole, *rules]

    def facts(self) -> dict[str, Any]:
        """What the last round found and did, as JSON."""
        began = self._began
        return {
            "rounds": self.rounds,
            "round_seconds": round(self.seconds, 3),
            "comparing_for": 0.0 if began is None else round(time.monotonic() - began, 1),
            "left": self._target.left,
            "compared": {work.shape.dataset: work.tally.to_dict() for work in self._works},
        }

    async def confirm(self, position: Position) -> None:
        """Nothing waits for it: the next round looks for itself."""

    async def close(self) -> None:
        """End the sessions and free the disk; safe to call twice."""
        await asyncio.gather(self._ends.source.close(), self._ends.target.close())
        for work in self._works:
            work.discard()

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """What each round has to write; raises the Problem that ended the reading."""
        while True:
            await self._when.due()
            number = self._when.begin()
            began = self._began = time.monotonic()
            async with aclosing(self._round()) as changes:
                async for each in changes:
                    yield self._batch(each)
            self._began, self.seconds = None, time.monotonic() - began
            self.rounds += 1
            self._when.end(number)

    def _batch(self, changes: list[Guarded]) -> Batch:
        self._position = {**self._position, "place": self._position["place"] + 1}
        return batch_of(self._position, changes)

    async def _round(self) -> AsyncGenerator[list[Guarded], None]:
        for work in self._works:
            work.tally.begin()
            await work.scan()
        faults.point("compare.scanned")
        for whole, extra in self._steps():
            async for changes in whole.changes(extra=extra):
                yield changes
        async for changes in self._again():
            yield changes
        async for changes in self._by_rules():
            yield changes
        for work in self._works:
            work.discard()

    async def _by_rules(self) -> AsyncGenerator[list[Guarded], None]:
        # Under a rule no other row makes room for one: what the target refuses is held at once.
        self._target.patient = False
        try:
            for rule in self._rules:
                async for changes in rule.changes():
                    yield changes
        finally:
            self._target.patient = True

    def _steps(self) -> list[tuple[Whole, bool]]:
        deletes = [(whole, True) for whole in reversed(self._whole)]
        writes = [(whole, False) for whole in self._whole]
        return writes + deletes if self._acts else deletes + writes

    async def _again(self) -> AsyncGenerator[list[Guarded], None]:
        """What others may have made room for meanwhile, until nothing of it gets through any more."""
        before = -1
        try:
            while self._target.postponed:
                waiting, self._target.postponed = self._target.postponed, []
                # At last whatever is refused still is held in quarantine, as in every capture.
                self._target.patient = len(waiting) != before
                before = len(waiting)
                for whole in self._whole:
                    keys = [one.mark.key for one in waiting if one.shape is whole.shape]
                    for portion in _cut(keys, whole.portion.size()):
                        changes = await whole.judge(portion)
                        if changes:
                            yield changes
                if not self._target.patient:
                    return
        finally:
            self._target.patient = True
            self._target.postponed = []


def _cut(keys: Sequence[Key], size: int) -> list[Sequence[Key]]:
    return [keys[at : at + size] for at in range(0, len(keys), size)]

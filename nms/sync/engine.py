"""The engine of a two-way pipeline: batches of either side to the other, never both at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nms.common.change import Change, Shape
from nms.common.flow import Applied, Batch, ChangeRefused, Position, changes_of
from nms.common.problem import Problem
from nms.common.remote import RecordMoved, Remote
from nms.connectors.postgres.problems import Refused
from nms.connectors.postgres.twoway.opening import TwoWayEnd
from nms.sync.problems import TableAltered
from nms.sync.pull import Fresh, Key, Pull, fresh_of, key_of
from nms.sync.push import Push
from nms.sync.turn import Turns


@dataclass(slots=True)
class Engine:
    """The target of a two-way pipeline: what comes from the remote is pulled, what comes from the tables is pushed."""

    end: TwoWayEnd
    turns: Turns
    remote: Remote
    pull: Pull
    push: Push
    _tables: dict[Shape, str] = field(default_factory=dict)
    _refused: dict[tuple[str, Key], Problem] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tables = {shape: name for name, shape in self.end.tables.items()}

    async def apply(self, batch: Batch) -> Applied:
        """Take a batch; raises ChangeRefused for a record that the other side does not take, or a Problem."""
        applied = Applied(batch.position)
        if "replayed" in batch.position:
            # Somebody asked for another try.
            self._refused.clear()
            if await self.end.side.is_altered():
                raise TableAltered("a column has another type since the pipeline was opened")
        async for part in changes_of(batch):
            applied.changes += len(part)
            applied.rows += await self._pull_part([one for one in part if one.shape not in self._tables], batch)
            await self._push_part([one for one in part if one.shape in self._tables])
        if self.push.absences:
            # Whoever goes on from here has forgotten which records those are: it looks through the tables.
            applied.position = {"look": {}, **batch.position}
        await self.push.finish(applied.position)
        self._refused.clear()
        return applied

    async def close(self) -> None:
        """Close the remote; the tables are closed with the pipeline."""
        await self.remote.close()

    async def _pull_part(self, changes: Sequence[Change], batch: Batch) -> int:
        if not changes:
            return 0
        fresh = fresh_of(changes)
        for dataset, records in fresh.items():
            fresh[dataset] = await self._renewed(dataset, records, batch.position)
        try:
            settled = await self.pull.settle(fresh, None)
        except Refused:
            settled = {}
            for change in changes:
                await self._pull_one(change, fresh)
        return len(settled)

    async def _pull_one(self, change: Change, fresh: dict[str, list[Fresh]]) -> None:
        dataset, key = change.shape.dataset, key_of(change)
        one = next(one for one in fresh[dataset] if one.key == key)
        try:
            await self.pull.settle({dataset: [one]}, None)
        except Refused as problem:
            raise ChangeRefused(change, problem) from problem

    async def _renewed(self, dataset: str, records: list[Fresh], position: Position) -> list[Fresh]:
        """The records; those that may have been read before our own write, or long ago, are read again."""
        began = self.turns.began
        pushed = self.push.pushed
        for name in [name for name, at in pushed.items() if at < began]:
            del pushed[name]
        doubtful = [one.key for one in records if "replayed" in position or (dataset, one.key) in pushed]
        if not doubtful:
            return records
        again = await self.push.read(dataset, doubtful)
        lost = [key for key in doubtful if key not in again]
        if lost and "replayed" not in position:
            raise RecordMoved(f"{len(lost)} records of {dataset} are listed by the remote, and not there one by one")
        # One that is replayed and is gone was deleted: that a sweep finds.
        return [again.get(one.key, one) for one in records if one.key not in lost]

    async def _push_part(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        keys: dict[str, dict[Key, Change]] = {}
        for change in changes:
            keys.setdefault(self._tables[change.shape], {})[key_of(change)] = change
        if not self._refusals(keys):
            asked = {name: list(found) for name, found in keys.items()}
            self._refused |= await self.push.send(asked, self.turns.captured)
        for change, problem in self._refusals(keys):
            raise ChangeRefused(change, problem)

    def _refusals(self, keys: Mapping[str, Mapping[Key, Change]]) -> list[tuple[Change, Problem]]:
        """Changes that were refused, also when the batch was here before: they are held one by one."""
        return [(keys[name][key], one) for (name, key), one in self._refused.items() if key in keys.get(name, ())]

"""Conflicts of two-way pipelines: kept, listed, and decided by whoever may."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from nms.common.problem import NotFound
from nms.common.run import Claimed
from nms.sync.merge import Rules
from nms.sync.models import Conflicted, Resolution
from nms.sync.problems import ConflictSettled
from nms.sync.pull import Entry, Key, Name
from nms.sync.repository import SyncRepository


class Conflicts:
    """Keeps the conflicts of one pipeline under the fence of the run that works it."""

    def __init__(self, repository: SyncRepository, claimed: Claimed, pipeline: str, rules: Rules) -> None:
        self._repository = repository
        self._claimed = claimed
        self._pipeline = pipeline
        self._rules = rules
        self._waiting: set[Name] = set()
        self._decided: dict[Name, Rules] = {}
        self._offered: dict[Name, Rules] = {}

    @property
    def waiting(self) -> int:
        """How many records wait for somebody."""
        return len(self._waiting)

    def rules_of(self, dataset: str, key: Key) -> Rules | None:
        """What somebody decided about a record; None where nobody did."""
        return self._decided.get((dataset, key))

    def waits(self, dataset: str, key: Key) -> bool:
        """Whether a record waits for somebody."""
        return (dataset, key) in self._waiting

    async def asked(self) -> list[Name]:
        """The records that somebody decided about since they were last asked for."""
        await self._load()
        fresh = [name for name, rules in self._decided.items() if self._offered.get(name) != rules]
        self._offered = dict(self._decided)
        return fresh

    async def _load(self) -> None:
        self._waiting, self._decided = set(), {}
        for dataset, key, take in await self._repository.list_waiting(self._pipeline):
            self._waiting.add((dataset, key))
            if take is not None:
                self._decided[dataset, key] = rules_of(Resolution.model_validate(take))

    async def write(self, entries: Sequence[Entry]) -> None:
        """Keep conflicts, each once however often it is written; raises LeaseLost."""
        if not entries:
            return
        waits = [self._values(one) for one in entries if one.conflict.outcome == "waiting"]
        done = [self._values(one) for one in entries if one.conflict.outcome != "waiting"]
        async with self._repository.transaction() as tx:
            await self._claimed.fence(tx)
            if done:
                await tx.insert_conflicts(done)
            if waits:
                await tx.upsert_waiting(waits)
        self._waiting |= {(one.dataset, one.key) for one in entries if one.conflict.outcome == "waiting"}

    async def settle(self, names: Iterable[Name]) -> None:
        """Take note that records are alike: those that were decided about, and those that agree by themselves."""
        found: dict[str, list[Key]] = {}
        for name in names:
            if name in self._waiting:
                found.setdefault(name[0], []).append(name[1])
        if not found:
            return
        async with self._repository.transaction() as tx:
            await self._claimed.fence(tx)
            for dataset, keys in found.items():
                await tx.mark_conflicts_settled(self._pipeline, dataset, keys)
        await self._load()

    def _values(self, one: Entry) -> dict[str, Any]:
        base = None if one.base is None else {"source": one.base.remote, "target": one.base.local}
        states = json.dumps([one.conflict.kind, one.local, one.remote], sort_keys=True)
        return {
            "pipeline": self._pipeline,
            "dataset": one.dataset,
            "key": list(one.key),
            "kind": one.conflict.kind.value,
            "policy": self._rules.policy,
            "outcome": one.conflict.outcome,
            "fields": list(one.conflict.fields),
            "revision": 0 if one.base is None else one.base.revision,
            "digest": hashlib.sha256(states.encode()).hexdigest()[:32],
            "base": base,
            "source": one.remote,
            "target": one.local,
        }


def rules_of(resolution: Resolution) -> Rules:
    """The policy that a decision is."""
    if resolution.fields:
        return Rules("merge", fields=dict(resolution.fields))
    return Rules(resolution.take or "source")


async def list_conflicts(
    repository: SyncRepository, which: tuple[str | None, str | None], before: int | None, size: int
) -> list[Conflicted]:
    """Conflicts of a pipeline in a state (None: of all, in any), the newest first."""
    pipeline, state = which
    return await repository.list_conflicts(pipeline, state, before, size)


async def get_conflict(repository: SyncRepository, number: int) -> Conflicted:
    """One conflict; raises NotFound."""
    found = await repository.get_conflict(number)
    if found is None:
        raise NotFound(f"There is no conflict {number}.", conflict=number)
    return found


async def resolve(repository: SyncRepository, number: int, resolution: Resolution) -> Conflicted:
    """Decide about a record that waits; its pipeline does it within a second. Raises NotFound, ConflictSettled."""
    async with repository.transaction() as tx:
        found = await get_conflict(tx, number)
        marked = await tx.mark_settling(number, resolution)
    if marked is None:
        raise ConflictSettled(f"Conflict {number} of {found.pipeline} is settled: {found.outcome}.", conflict=number)
    return marked

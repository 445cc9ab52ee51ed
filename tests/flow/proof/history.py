"""Judge the effects at a target against what the source wrote: pure, one key at a time."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from tests.flow.proof.records import Effect, Fault, Verdict, Written


class Step(NamedTuple):
    """All effects of one target transaction on one key, as one."""

    seq: int
    target_xid: int
    before: int | None
    after: int | None


class Cover(NamedTuple):
    """The target transaction with which a write came into effect; `late` tells that it ended after the mark."""

    txid: int
    target_xid: int
    late: bool
    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name} version {self.version} with target transaction {self.target_xid}"


def fold_steps(effects: Sequence[Effect]) -> list[Step]:
    """One step per target transaction, in order; a keyless row inserted twice in one transaction stays two steps."""
    steps: list[Step] = []
    present: int | None = None
    for effect in effects:
        doubled = effect.before is None and effect.after is not None and present is not None
        if steps and steps[-1].target_xid == effect.target_xid and not doubled:
            steps[-1] = steps[-1]._replace(seq=effect.seq, after=effect.after)
        else:
            before = present if doubled else effect.before
            steps.append(Step(effect.seq, effect.target_xid, before, effect.after))
        present = effect.after
    return steps


class KeyHistory:
    """The two logs of one key."""

    def __init__(self, name: str, written: Sequence[Written], steps: Sequence[Step], mark: int) -> None:
        self.name = name
        self.keyless = name.startswith("event_log ")
        self.steps = steps
        self.mark = mark
        self.present = {write.version: write.txid for write in written if write.op != "D"}
        self.deletes = {write.version: write.txid for write in written if write.op == "D"}

    def judge(self, verdict: Verdict) -> None:
        highest = 0
        for step in self.steps:
            if step.after is None:
                self._judge_delete(step, verdict)
            else:
                self._judge_version(step, highest, verdict)
                highest = max(highest, step.after)

    def _judge_delete(self, step: Step, verdict: Verdict) -> None:
        if step.before is not None and not any(version > step.before for version in self.deletes):
            verdict.add(Fault.REORDERED, f"{self.name}: version {step.before} deleted, which the source never deleted")

    def _judge_version(self, step: Step, highest: int, verdict: Verdict) -> None:
        version = step.after or 0
        if version not in self.present:
            verdict.add(Fault.INVENTED, f"{self.name}: version {version} was never committed at the source")
        if version < highest:
            verdict.add(Fault.REORDERED, f"{self.name}: version {version} after version {highest}")
        elif version == highest and not self._repeats_harmlessly(step):
            verdict.add(Fault.DOUBLED, f"{self.name}: version {version} came into effect again")

    def _repeats_harmlessly(self, step: Step) -> bool:
        return step.before == step.after and step.seq <= self.mark and not self.keyless

    def covers(self) -> Iterator[Cover]:
        """With which target transaction each write came into effect, where that can be told."""
        versions = sorted(self.present.keys() | self.deletes.keys())
        reached = 0
        for step in self.steps:
            upper = self._first_delete_after(step.before) if step.after is None else step.after
            invented = step.after is not None and step.after not in self.present
            if upper is None or upper <= reached or invented:
                continue
            lower = reached if step.before is not None else max(self._last_delete_before(upper), reached)
            for version in versions:
                if lower < version <= upper:
                    txid = self.present.get(version) or self.deletes.get(version) or 0
                    yield Cover(txid, step.target_xid, step.seq > self.mark, self.name, version)
            reached = upper

    def _first_delete_after(self, version: int | None) -> int | None:
        later = [d for d in self.deletes if version is not None and d > version]
        return min(later, default=None)

    def _last_delete_before(self, version: int) -> int:
        return max((d for d in self.deletes if d < version), default=0)


def join_keys(
    written: Iterable[Written], effects: Iterable[Effect]
) -> Iterator[tuple[tuple[str, str], list[Written], list[Effect]]]:
    """Merge both logs, each sorted by table and key (in byte order)."""
    left = groupby(written, key=lambda row: (row.tablename, row.key))
    right = groupby(effects, key=lambda row: (row.tablename, row.key))
    source, target = next(left, None), next(right, None)
    while source is not None or target is not None:
        key = min(side[0] for side in (source, target) if side is not None)
        writes: list[Written] = []
        steps: list[Effect] = []
        if source is not None and source[0] == key:
            writes, source = list(source[1]), next(left, None)
        if target is not None and target[0] == key:
            steps, target = list(target[1]), next(right, None)
        yield key, writes, steps


def judge_histories(written: Iterable[Written], effects: Iterable[Effect], mark: int, verdict: Verdict) -> None:
    """Count what was doubled, reordered, invented or half-visible; `mark` is the last effect of the backfill."""
    homes: dict[int, Cover] = {}
    split: dict[int, Cover] = {}
    for (table, key), writes, steps in join_keys(written, effects):
        history = KeyHistory(f"{table} {key}", writes, fold_steps(steps), mark)
        history.judge(verdict)
        for cover in history.covers():
            home = homes.setdefault(cover.txid, cover)
            if cover.late and not home.late:
                homes[cover.txid] = home._replace(late=True)
            if home.target_xid != cover.target_xid:
                split.setdefault(cover.txid, cover)
    for txid in sorted(split):
        if homes[txid].late and txid:
            verdict.add(Fault.HALF_VISIBLE, f"source transaction {txid}: {homes[txid]}, but {split[txid]}")
    verdict.facts["source_transactions"] = len(homes)

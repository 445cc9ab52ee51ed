"""Pulls: what brings a source into the warehouse is asked for a round, and a run follows all of them to the end."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nms.common.lease import Progress, Stop
from nms.common.problem import NotFound
from nms.common.run import Claimed, DwhRunRepository, Run, RunEnded, RunState, Unique, enqueue, request_cancel
from nms.common.waiting import first_of
from nms.warehouse.models import Rounded
from nms.warehouse.problems import NothingToPull, PullFailed, SourceUnpulled
from nms.warehouse.repository import PullRepository

KIND: Final = "sync"
ROUND: Final = "round"
"""The kind of the run, in the database `nms`, that a round of a pipeline has."""
LOOK_SECONDS: Final = 0.2


async def ask_pull(repository: PullRepository, runs: DwhRunRepository, source: str) -> Run:
    """Order the run that pulls a source into the warehouse: everything that it has now is there when the run ends.

    Raises SourceUnpulled and NothingToPull, and what keeps all of its pipelines from a round.
    """
    _choose(source, await repository.list_rounded(source))
    async with runs.transaction() as tx:
        # A waiting run asks when it begins: it may stand for any number of asks.
        return await enqueue(tx, KIND, source, unique=Unique.ONE_MORE)


async def check_source(repository: PullRepository, runs: DwhRunRepository, source: str) -> None:
    """Raise SourceUnpulled for a source that no pipeline brings here, and that never was pulled."""
    if not await repository.list_rounded(source) and not await runs.list(kind=KIND, subject=source, size=1):
        raise _unpulled(source)


@dataclass(frozen=True, slots=True)
class Standing:
    """The runs of the rounds by pipeline, and how far they are."""

    runs: Mapping[str, Run]

    @property
    def ended(self) -> bool:
        """Whether all rounds are over."""
        return all(run.state.ended for run in self.runs.values())

    def progress(self, least: float) -> Progress:
        """How many records came, of how many where all tell; never fewer than before."""
        told = [run.progress or {} for run in self.runs.values()]
        current = max(least, sum(float(one.get("current") or 0) for one in told))
        totals = [one.get("total") for one in told]
        known = [float(one) for one in totals if one is not None]
        total = max(current, sum(known)) if len(known) == len(totals) else None
        phase = "pulling" if not self.ended else "pulled"
        return Progress(int(current), None if total is None else int(total), "records", phase)

    def failure(self) -> PullFailed | None:
        """What went wrong, where a round did not end well."""
        lost = {name: run for name, run in self.runs.items() if run.state is not RunState.SUCCEEDED}
        if not lost:
            return None
        name, run = next(iter(lost.items()))
        cause: dict[str, Any] = run.problem or {}
        why = cause.get("detail") or cause.get("title") or f"its round is {run.state}"
        return PullFailed(
            f"{name}: {why}", remedy=str(cause.get("remedy") or "") or None, pipelines=sorted(lost), cause=cause
        )


class Puller:
    """The handler of pulls."""

    def __init__(self, repository: PullRepository) -> None:
        self._repository = repository

    async def pull(self, claimed: Claimed) -> None:
        """Ask for the rounds, once, and follow them; raises PullFailed, or what keeps the source from being pulled.

        A cancel cancels the rounds, too; what arrived stays.
        """
        ids = (claimed.checkpoint or {}).get("rounds")
        if ids is None:
            ids = await self._ask(claimed.run.subject)
            await claimed.report(checkpoint={"rounds": ids})
        least = float((claimed.run.progress or {}).get("current") or 0)
        while not claimed.stopping.is_set():
            standing = Standing(await self._repository.get_rounds(ids))
            progress = standing.progress(least)
            least = progress.current
            await claimed.report(progress)
            if standing.ended:
                failure = standing.failure()
                if failure is None:
                    return
                # Whoever retries it asks anew.
                await claimed.report(checkpoint={})
                raise failure
            await first_of(claimed.stopping, timeout=LOOK_SECONDS)
        if claimed.reason is Stop.CANCELLED:
            await self._cancel(ids.values())
            await claimed.report(checkpoint={})

    async def _ask(self, source: str) -> dict[str, int]:
        asked = {}
        async with self._repository.transaction() as tx:
            for name in _choose(source, await tx.list_rounded(source)):
                await tx.ask_round(name)
                asked[name] = (await enqueue(tx, ROUND, name, unique=Unique.ONE_MORE)).id
        return asked

    async def _cancel(self, ids: Iterable[int]) -> None:
        for id_ in ids:
            try:
                await request_cancel(self._repository, id_)
            except (RunEnded, NotFound):
                continue


def _choose(source: str, rounded: Sequence[Rounded]) -> list[str]:
    """The pipelines to ask for a round; those that are paused or halted are asked too, and tell so in the run."""
    if not rounded:
        raise _unpulled(source)
    with_rounds = [one for one in rounded if one.has_rounds]
    if not with_rounds:
        told = ", ".join(one.name for one in rounded)
        raise NothingToPull(f"What {source} has comes by itself ({told}).", source=source)
    if not any(one.works for one in with_rounds):
        told = ", ".join(one.name for one in with_rounds)
        raise NothingToPull(
            f"All that bring {source} here are paused or halted: {told}.",
            remedy="`nms pipelines` tells why; `nms resume PIPELINE` lets one go on.",
            source=source,
        )
    return [one.name for one in with_rounds]


def _unpulled(source: str) -> SourceUnpulled:
    return SourceUnpulled(f"No pipeline brings a system {source[:100]} into the warehouse.", source=source)

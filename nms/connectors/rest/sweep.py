"""Finding records that the remote has no more: all ids are read, what the target has beyond them is confirmed."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nms.common.document.rest import Resource
from nms.common.problem import Problem
from nms.connectors.rest.ask import Ask, fill
from nms.connectors.rest.client import Client
from nms.connectors.rest.digests import Digests
from nms.connectors.rest.listing import Fetched
from nms.connectors.rest.problems import PathUnfillable, SweepSuspicious
from nms.connectors.rest.progress import Keys, Standing
from nms.connectors.rest.reading import Reader, exact_records

log = logging.getLogger(__name__)
FEW: Final = 10
"""So many records may go at once however few there were."""
MOST: Final = 100_000
"""So many are noted as missing at a time; the others are found by the next sweep."""
CONFIRMED_AT_ONCE: Final = 100
GONE: Final = (404, 410)

ListIds = Callable[[], AsyncGenerator[Fetched, None]]
ListKeys = Callable[[str], AsyncIterator[Sequence[tuple[str, ...]]]]


@dataclass(frozen=True, slots=True)
class Listed:
    """All ids that the remote has; `sample` is one of them."""

    ids: Digests
    sample: Keys | None


class Partial(Exception):
    """The list of ids cannot be relied on; the argument says why."""


class Sweep:
    """The sweeps of one dataset.

    A record is deleted only when a whole list of ids lacked it, when it was missing for as long as `grace` says
    (without it: in two sweeps one after the other), and when the remote then answers 404 or 410 for it alone, while it
    answers well for a record that is on the list. A list is whole when every page came, no id came twice, and the
    number of ids is the one that the remote told, if it did. An empty one deletes nothing.
    """

    def __init__(self, client: Client, reader: Reader, list_ids: ListIds, list_keys: ListKeys) -> None:
        self._client = client
        self._reader = reader
        self._resource = reader.resource
        self._list_ids = list_ids
        self._list_keys = list_keys
        self._sample: Keys | None = None
        self.told: dict[str, Any] = {}

    def is_due(self, standing: Standing, now: float) -> bool:
        """Whether all ids are to be read again."""
        return self._resource.sweep is not None and now >= standing.swept + self._resource.sweep.every

    async def run(self, standing: Standing, now: float) -> AsyncGenerator[list[Keys], None]:
        """Sweep when it is due, then confirm what was missing for long enough; gives keys that are gone, in parts.

        Raises SweepSuspicious. What a remote does not answer is no reason to halt: the next sweep asks again.
        """
        swept = self.is_due(standing, now) and await self._sweep(standing, now)
        ripe = [key for key, at in standing.missing.items() if self._is_ripe(now - at, swept=swept)]
        if not ripe or not await self._answers_well():
            return
        for start in range(0, len(ripe), CONFIRMED_AT_ONCE):
            asked = ripe[start : start + CONFIRMED_AT_ONCE]
            found = await asyncio.gather(*map(self._is_gone, asked))
            for key, gone in zip(asked, found, strict=True):
                if gone is not None:
                    del standing.missing[key]
            if deleted := [key for key, gone in zip(asked, found, strict=True) if gone]:
                self.told["deleted"] = self.told.get("deleted", 0) + len(deleted)
                yield deleted

    async def _sweep(self, standing: Standing, now: float) -> bool:
        """Note what is missing; whether the list of ids was whole."""
        standing.swept = now
        try:
            listed = await self._list()
        except (Problem, Partial) as error:
            return self._void(error.code if isinstance(error, Problem) else str(error))
        missing, rows = await self._compare(listed.ids)
        if rows and not listed.ids.count:
            # A login that lost its right sees so, and many a remote answers 404 then for each record as well.
            return self._void("the list of ids is empty, although there are rows")
        self._sample = listed.sample
        standing.missing = {key: standing.missing.get(key, now) for key in missing}
        self.told |= {"ids": listed.ids.count, "rows": rows, "missing": len(missing), "at": round(now, 3)}
        self.told.pop("why", None)
        return True

    def _void(self, why: str) -> bool:
        self.told |= {"void": self.told.get("void", 0) + 1, "why": why}
        log.warning("a sweep of %s found nothing out: %s", self._reader.shape.dataset, why)
        return False

    async def _list(self) -> Listed:
        ids, sample, pages = Digests(), None, self._list_ids()
        try:
            async for fetched in pages:
                records = [] if fetched.answer is None else exact_records(fetched.answer, self._resource)
                keys = self._reader.keys(records, fetched.beside)
                if ids.add(keys):
                    raise Partial("an id came twice: records moved between the pages")
                if fetched.left_out is not None:
                    raise Partial(f"a list was left out: {fetched.left_out.detail}")
                if fetched.moved:
                    raise Partial("the number of ids is not the one that the remote told")
                sample = sample or (keys[0] if keys else None)
        finally:
            await pages.aclose()
        return Listed(ids, sample)

    async def _compare(self, ids: Digests) -> tuple[list[Keys], int]:
        """Keys of the target that are not among the ids, and how many rows it has; raises SweepSuspicious."""
        missing: list[Keys] = []
        rows = lacking = 0
        async for part in self._list_keys(self._reader.shape.dataset):
            rows += len(part)
            for key in map(self._reader.spell, part):
                if key not in ids:
                    lacking += 1
                    if lacking <= MOST:
                        missing.append(key)
        if lacking > FEW and 2 * lacking > rows:
            name = self._reader.shape.dataset
            raise SweepSuspicious(
                f"The remote lists {ids.count} ids of {name}, and {lacking} of {rows} rows would go.",
                dataset=name, ids=ids.count, rows=rows, missing=lacking,
            )  # fmt: skip
        return missing, rows

    def _is_ripe(self, seconds: float, *, swept: bool) -> bool:
        grace = None if self._resource.sweep is None else self._resource.sweep.grace
        return (swept and seconds > 0) if grace is None else seconds >= grace

    async def _answers_well(self) -> bool:
        """Whether a record that is on the list is there by itself; an empty list proves nothing."""
        return self._sample is not None and await self._is_gone(self._sample) is False

    async def _is_gone(self, key: Keys) -> bool | None:
        """Whether the remote says that there is no such record; None when it does not say."""
        try:
            await self._client.get(record_of(self._resource, self._reader, key))
        except Problem as problem:
            return True if problem.facts.get("answered") in GONE else None
        return False


def record_of(resource: Resource, reader: Reader, key: Keys) -> Ask:
    """The request for one record; raises PathUnfillable."""
    if resource.record is None:
        raise PathUnfillable("The resource has no path of one record.")
    names = [reader.shape.columns[at].name for at in reader.shape.key]
    return Ask("GET", fill(resource.record, dict(zip(names, key, strict=True))), resource.query)

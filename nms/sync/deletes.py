"""Many deletions at once: a table that somebody emptied must not empty the remote."""

from collections import Counter
from collections.abc import Mapping, Sequence

from nms.common.change import Op
from nms.common.ledger import Captured
from nms.connectors.postgres.twoway.opening import TwoWayEnd
from nms.connectors.postgres.twoway.side import FEW, is_suspicious
from nms.sync.problems import DeletesSuspicious, TableEmptied
from nms.sync.pull import Name


class Deletes:
    """Stops deletions where most records of a table would go at once; `deletes: all` lets them."""

    def __init__(self, end: TwoWayEnd) -> None:
        self._end = end

    def refuse_truncate(self, dataset: str) -> None:
        """Raise TableEmptied; nothing where all deletions are followed."""
        if not self._end.follows_deletes:
            table = self._end.tables[dataset].dataset
            raise TableEmptied(f"{table} was emptied", dataset=table)

    async def weigh(self, found: Mapping[Name, Sequence[Captured]]) -> None:
        """Raise DeletesSuspicious where changes of the log delete most records of a table."""
        gone = Counter(
            dataset for (dataset, _), changes in found.items() if not changes or changes[-1].op == Op.DELETE.value
        )
        for dataset, count in gone.items():
            if count > FEW and await self._end.side.count_known(dataset, 2 * count) < 2 * count:
                await self.look(dataset)

    async def look(self, dataset: str) -> None:
        """Raise DeletesSuspicious where most records that both sides had are gone from the table."""
        if self._end.follows_deletes:
            return
        missing, known = await self._end.side.count_missing(dataset)
        if is_suspicious(missing, known):
            table = self._end.tables[dataset].dataset
            raise DeletesSuspicious(
                f"{missing} of {known} rows of {table} are gone; their records would be deleted at the remote",
                dataset=table, missing=missing, known=known,
            )  # fmt: skip

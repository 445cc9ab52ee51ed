"""One round: all pages of all datasets, parents first, fetched ahead of what the target takes."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import datetime

from nms.common import clock
from nms.common.problem import Problem, Retry
from nms.common.rate_advice import read_date
from nms.connectors.rest.client import Client
from nms.connectors.rest.listing import Fetched
from nms.connectors.rest.memory import Memory
from nms.connectors.rest.nested import Lists
from nms.connectors.rest.paging import Place
from nms.connectors.rest.progress import Standing
from nms.connectors.rest.reading import Read, Reader

NOTHING = Read(None, (), 0)


@dataclass(frozen=True, slots=True)
class Piece:
    """A page that was read, on its way to the target; `date` is the remote's clock (or ours) when it answered.

    `ends` says that its dataset is read, `anew` that its reading begins again.
    """

    dataset: str
    read: Read
    place: Place | None
    size: int
    ends: bool = False
    moved: bool = False
    anew: bool = False
    date: datetime | None = None


class Round:
    """Reads every dataset that is not done, from where its standing says."""

    def __init__(self, client: Client, readers: Mapping[str, Reader], memory: Memory) -> None:
        self._client = client
        self._readers = readers
        self._memory = memory

    async def pieces(self, datasets: Mapping[str, Standing], done: list[str]) -> AsyncGenerator[Piece, None]:
        """The pages of all datasets; raises Problems. `done` is not looked at again once it began."""
        left = [(name, datasets[name]) for name in self._readers if name not in done]
        starts = [(name, self._query(name, one), one.reading.place if one.reading else None) for name, one in left]
        for name, query, place in starts:
            pieces = self._dataset(name, query, place)
            try:
                async for piece in pieces:
                    yield piece
            finally:
                await pieces.aclose()

    async def _dataset(self, name: str, query: Mapping[str, str], place: Place | None) -> AsyncGenerator[Piece, None]:
        began = False
        try:
            async for piece in self._pages(name, query, place):
                began = True
                yield piece
        except Problem as problem:
            # A cursor or a link may be over by now.
            if began or place is None or problem.retry is not Retry.NEVER:
                raise
        else:
            return
        yield Piece(name, NOTHING, None, 0, anew=True)
        async for piece in self._pages(name, query, None):
            yield piece

    async def _pages(self, name: str, query: Mapping[str, str], place: Place | None) -> AsyncGenerator[Piece, None]:
        reader = self._readers[name]
        pages = Lists(self._client, reader.resource, query, self._memory).pages(place)
        try:
            async for fetched in pages:
                yield _piece(reader, fetched)
        finally:
            await pages.aclose()

    def _query(self, name: str, standing: Standing) -> dict[str, str]:
        rule = self._readers[name].resource.since
        if rule is None or standing.since is None:
            return {}
        return {rule.parameter: standing.since.ask(rule.form)}


def _piece(reader: Reader, fetched: Fetched) -> Piece:
    name, answer = reader.shape.dataset, fetched.answer
    if answer is None:
        return Piece(name, NOTHING, fetched.place, fetched.size, fetched.ends, moved=fetched.moved)
    read = reader.read(answer, fetched.body, fetched.beside)
    date = read_date(answer.headers.get("date", "")) or clock.now()
    return Piece(name, read, fetched.place, fetched.size, date=date)

"""One round: all pages of all datasets, parents first, fetched ahead of what the target takes."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from nms.common import clock
from nms.common.problem import Problem, Retry
from nms.common.rate_advice import read_date
from nms.connectors.rest.client import Client
from nms.connectors.rest.judge import is_refusal
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

    `ends` says that its dataset is read, `anew` that its reading begins again; `refused` why it is not read now. Of the
    `total` of its list that the remote told, `alike` records stand in a page that did not change. `left_out` is why a
    list before it was left out.
    """

    dataset: str
    read: Read
    place: Place | None
    size: int
    ends: bool = False
    moved: bool = False
    anew: bool = False
    date: datetime | None = None
    refused: Problem | None = None
    total: int | None = None
    alike: int = 0
    left_out: Problem | None = None


class Round:
    """Reads every dataset that is not done, from where its standing says.

    One that the remote refuses (4xx) is passed over, as are those `above` which it stands; the others are read.
    """

    def __init__(self, client: Client, readers: Mapping[str, Reader], above: Mapping[str, set[str]]) -> None:
        self._client = client
        self._readers = readers
        self._memory = Memory()
        self._above = above

    async def pieces(
        self, datasets: Mapping[str, Standing], done: Sequence[str], waiting: Iterable[str] = ()
    ) -> AsyncGenerator[Piece, None]:
        """The pages of all datasets but those that are done, and those that are waited for; raises Problems."""
        left = [(name, datasets[name]) for name in self._readers if name not in done]
        starts = [(name, self._query(name, one), one.reading.place if one.reading else None) for name, one in left]
        lacking = set(waiting)
        for name, query, place in starts:
            if name in lacking or lacking & self._above.get(name, set()):
                lacking.add(name)
                continue
            pieces = self._dataset(name, query, place)
            try:
                async for piece in pieces:
                    yield piece
            except Problem as problem:
                if not is_refusal(problem):
                    raise
                lacking.add(name)
                yield Piece(name, NOTHING, None, 0, refused=problem)
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
        async for piece in self._pages(name, query, None):
            # Where the beginning is refused too, the place may be as good as ever.
            yield replace(piece, anew=not began)
            began = True

    async def _pages(self, name: str, query: Mapping[str, str], place: Place | None) -> AsyncGenerator[Piece, None]:
        reader = self._readers[name]
        pages = Lists(self._client, reader.resource, query, self._memory).pages(place)
        try:
            async for fetched in pages:
                if fetched.learnt is not None:
                    self._memory.put(*fetched.learnt)
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
    # Below parents each list has a total of its own.
    total = fetched.total if reader.resource.parent is None else None
    if answer is None:
        nothing = Piece(name, NOTHING, fetched.place, fetched.size, fetched.ends, fetched.moved)
        return replace(nothing, total=total, alike=fetched.count, left_out=fetched.left_out)
    read = reader.read(answer, fetched.body, fetched.beside)
    date = read_date(answer.headers.get("date", "")) or clock.now()
    return Piece(name, read, fetched.place, fetched.size, date=date, total=total, left_out=fetched.left_out)

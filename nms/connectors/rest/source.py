"""A REST API as a source: asked in rounds, its pages handed on as they came, its deletions found by sweeps."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from nms.common import clock, faults
from nms.common.change import Change
from nms.common.document.rest import RestSystem
from nms.common.flow import Batch, FeedSpec, Page, Part, Poison, Position
from nms.common.rounds import Rounds
from nms.connectors.rest.client import Client
from nms.connectors.rest.form import form_of
from nms.connectors.rest.nested import Lists
from nms.connectors.rest.pipe import Pipe
from nms.connectors.rest.problems import ResourceMissing
from nms.connectors.rest.progress import Progress, Reading
from nms.connectors.rest.reading import Reader
from nms.connectors.rest.refused import Refused
from nms.connectors.rest.round import Piece, Round
from nms.connectors.rest.sweep import Sweep

EVERY_SECONDS: Final = 300.0
HELD_BYTES: Final = 16 << 20
"""Pages that were read wait for the target up to so many bytes."""
BATCH_BYTES: Final = 4 << 20
LEAST_BYTES: Final = 256 << 10
LINGER_SECONDS: Final = 0.05
"""A batch of few pages waits so long for more of them: every commit has its price, at both ends."""


class RestSource:
    """Reads the resources of one pipeline in rounds.

    A batch holds the pages that are at hand, few of them only when no more come in time, while the next ones are
    fetched. Its position says behind which page an unfinished round goes on, so that a crash repeats at most what was
    not durable. A round that is gone on with is none that began after an ask: asks wait for the next.

    A resource that the remote refuses (4xx) is asked for again and again, and the others are read in their time; the
    round is over, deletions are looked for and asks are served, when all were read.
    """

    def __init__(self, client: Client, spec: FeedSpec) -> None:
        self._client = client
        self._spec = spec
        self._rounds = spec.rounds or Rounds(EVERY_SECONDS)
        self._readers = {name: _reader(client.system, name, spec) for name in spec.shapes}
        forms = {name: form_of(client.system, name) for name in spec.shapes}
        self._progress = Progress.of(spec.start, spec.generation, forms)
        self._round = Round(client, self._readers, spec.above)
        self._refused = Refused()
        self._sweeps = {name: self._sweep(reader) for name, reader in self._readers.items() if reader.resource.sweep}
        self._ends: dict[int, int] = {}
        self._expected: dict[str, int | None] = {}
        self._stack = AsyncExitStack()
        self._counts = {"rounds": 0, "pages": 0, "records": 0, "unreadable": 0}
        self._took: float | None = None
        self._began_at: float | None = None

    @classmethod
    async def open(cls, system: RestSystem, spec: FeedSpec) -> "RestSource":
        """A source that goes on where the position says; raises Problems, such as ResourceMissing."""
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(Client.opened(system))
            source = cls(client, spec)
            source._stack = stack.pop_all()
        return source

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Round after round; raises the Problem that ended the reading."""
        if self._progress.began is not None:
            # One that was cancelled on demand is gone on with only when somebody asks again.
            await self._rounds.due()
        while True:
            number = None
            if self._progress.began is None:
                await self._rounds.due()
                number = self._rounds.begin()
                self._begin()
            self._began_at = clock.monotonic()
            async for batch in self._read():
                yield batch
            while self._lacking:
                number = await self._stand_by(number)
                async for batch in self._read():
                    yield batch
            async for batch in self._swept():
                yield batch
            self._progress.began, self._progress.done = None, []
            self._counts["rounds"] += 1
            self._took = clock.monotonic() - self._began_at
            last = self._batch(changes=[], keep=True)
            if number is not None:
                self._ends[last.place] = number
            faults.point("rest.before_end")
            yield last

    async def confirm(self, position: Position) -> None:
        """Rounds whose last batch is durable have served who asked for them."""
        for place in [one for one in self._ends if one <= int(position["place"])]:
            self._rounds.end(self._ends.pop(place))

    def read(self, dataset: str, body: bytes) -> list[Change]:
        """The change of a record that was held; raises a MessageUnreadable."""
        return self._readers[dataset].read_held(body)

    def facts(self) -> dict[str, Any]:
        """Rounds, pages and requests since it was opened, what it waits for, and how each dataset stands."""
        now = clock.monotonic()
        resting = self._progress.began is None and self._began_at is not None
        following = max(0.0, (self._began_at or now) + self._rounds.every - now) if resting else 0.0
        trouble = self._refused.trouble(self._spec.above)
        return {
            **({} if trouble is None else {"trouble": trouble}),
            **self._counts,
            **self._client.facts(),
            "last_round": None if self._took is None else round(self._took, 3),
            "next_round": None if following == float("inf") else round(following, 1),
            "round": {"of": self._of},
            "resources": {name: self._told(name) for name in self._readers},
        }

    async def close(self) -> None:
        """Let go of the client; safe to call twice."""
        await self._stack.aclose()

    def _begin(self) -> None:
        self._progress.began, self._progress.done = time.time(), []
        self._expected.clear()

    # -- pages

    async def _read(self) -> AsyncGenerator[Batch, None]:
        progress = self._progress
        pieces_of = self._round.pieces(progress.datasets, list(progress.done), self._refused.waiting)
        pipe: Pipe[Piece] = Pipe(pieces_of, HELD_BYTES)
        try:
            while pieces := await pipe.take(BATCH_BYTES, LEAST_BYTES, LINGER_SECONDS):
                # Before the pages: what is held must be so when the position has passed it.
                if poison := [one for piece in pieces for one in piece.read.poison]:
                    self._counts["unreadable"] += len(poison)
                    yield self._batch(changes=[], poison=poison)
                for piece in pieces:
                    self._note(piece)
                if pages := [piece.read.page for piece in pieces if piece.read.page is not None]:
                    faults.point("rest.before_pages")
                    yield self._batch(pages=pages)
        finally:
            await pipe.close()

    def _note(self, piece: Piece) -> None:
        if piece.refused is not None:
            self._refused.note(piece.dataset, piece.refused)
            return
        self._refused.forget(piece.dataset)
        standing = self._progress.datasets[piece.dataset]
        if standing.reading is None or piece.anew:
            standing.reading = Reading(moved=piece.anew, began=self._progress.began)
        standing.check(piece.dataset, piece.read)
        standing.reading.place = piece.place
        standing.reading.take(piece.read, moved=piece.moved, date=piece.date)
        standing.reading.total = standing.reading.total if piece.total is None else piece.total
        standing.reading.alike += piece.alike
        if piece.left_out is not None:
            standing.reading.left_out = piece.left_out.detail
        self._expected[piece.dataset] = standing.reading.records if piece.ends else standing.reading.expected
        self._counts["pages"] += not piece.ends
        self._counts["records"] += piece.read.count
        if piece.ends:
            began = standing.reading.began or self._progress.began
            standing.end(self._readers[piece.dataset].resource, time.time() - (began or time.time()))
            self._progress.done.append(piece.dataset)

    @property
    def _of(self) -> int | None:
        """How many records the round brings, all in all; None until every resource has told."""
        told = [self._expected.get(name) for name in self._readers]
        return None if None in told else sum(one or 0 for one in told)

    # -- what is refused

    @property
    def _lacking(self) -> list[str]:
        """The resources that the round has not read yet."""
        return [name for name in self._readers if name not in self._progress.done]

    async def _stand_by(self, number: int | None) -> int | None:
        """Wait until what was refused is asked for again, or the others in their time; gives the newest ask then.

        Who asks for a round wants all of it read from then on; the clock lets what was half read go on.
        """
        if not await self._rounds.comes(self._refused.pause):
            return number
        if self._rounds.is_asked:
            self._refused.ask_all()
            for standing in self._progress.datasets.values():
                standing.reading = None
        self._begin()
        return self._rounds.begin(again=True)

    # -- deletions

    async def _swept(self) -> AsyncGenerator[Batch, None]:
        # Children before parents, as tables that refer to each other want it.
        for name, sweep in reversed(self._sweeps.items()):
            reader, gone = self._readers[name], sweep.run(self._progress.datasets[name], time.time())
            async for keys in gone:
                faults.point("rest.before_deletes")
                yield self._batch(changes=[reader.delete_of(key) for key in keys])

    def _sweep(self, reader: Reader) -> Sweep:
        sweep = reader.resource.sweep
        assert sweep is not None
        lists = Lists(self._client, reader.resource, sweep.query)
        return Sweep(self._client, reader, lists.pages, self._spec.keys or _no_keys)

    # -- batches

    def _batch(
        self,
        changes: Part | None = None,
        pages: Sequence[Page] = (),
        poison: Sequence[Poison] = (),
        keep: bool = False,
    ) -> Batch:
        position = self._progress.position()
        place = int(position["place"])
        return Batch(
            position, _parts(changes or []), sum(page.count for page in pages) + len(changes or ()), len(pages) or 1,
            time.time(), place=place, small=changes, origin=place, poison=poison, keep=keep, pages=pages,
        )  # fmt: skip

    def _told(self, name: str) -> dict[str, Any]:
        standing, sweep = self._progress.datasets[name], self._sweeps.get(name)
        told: dict[str, Any] = {"since": standing.since.text if standing.since else None}
        if why := standing.left_out or (standing.reading and standing.reading.left_out):
            told["left_out"] = why
        if standing.reading is not None:
            told["reading"] = standing.reading.records
        return told if sweep is None else {**told, "sweep": {**sweep.told, "waiting": len(standing.missing)}}


def _reader(system: RestSystem, name: str, spec: FeedSpec) -> Reader:
    resource = system.resources.get(name)
    if resource is None:
        raise ResourceMissing(f"The system {system.name} has no resource {name}.", dataset=name)
    return Reader(resource, spec.shapes[name])


def _parts(changes: Part) -> Callable[[], AsyncIterator[Part]]:
    async def parts() -> AsyncIterator[Part]:
        if changes:
            yield changes

    return parts


async def _no_keys(_: str) -> AsyncGenerator[Sequence[tuple[str, ...]], None]:
    """A target that does not tell its keys has nothing to be swept."""
    nothing: tuple[Sequence[tuple[str, ...]], ...] = ()
    for part in nothing:
        yield part

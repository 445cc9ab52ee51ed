"""The flow: what every source gives and every target takes (DESIGN 4)."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from nms.common.change import Change, Shape, insert_of
from nms.common.condition import Condition
from nms.common.ledger import Ledger
from nms.common.problem import Problem
from nms.common.rounds import Rounds
from nms.common.rows import read_rows

Position = dict[str, Any]
Part = Sequence[Change]
LOAD_PART = 2_000


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """A mapping as declared: dataset names, fields (source to target), key fields of the source.

    `version` names a field that grows with every change of a record: older ones are passed over at the target.
    `cursor` names the field that a poll asks for changes by; a change may commit `overlap` seconds after its value.
    Only rows that meet all of `where` belong to it; `constants` are values (text or null) by field of the target;
    `casts` are the types that values of a source field are read as at the target. `external` is the field of the target
    that gets the record's key, as text.
    """

    source: str
    target: str
    fields: Mapping[str, str] | None = None
    key: tuple[str, ...] | None = None
    version: str | None = None
    cursor: str | None = None
    overlap: float = 300.0
    where: tuple[Condition, ...] = ()
    constants: Mapping[str, str | None] | None = None
    casts: Mapping[str, str] | None = None
    external: str | None = None


class Sifted(list[Change]):
    """What is left of a part of which changes were held; `whole` has those too, for they count where it is counted."""

    def __init__(self, whole: Part) -> None:
        super().__init__()
        self.whole = whole


def whole_of(part: Part) -> Part:
    """A part as the source gave it, with what was held."""
    return part.whole if isinstance(part, Sifted) else part


@dataclass(frozen=True, slots=True)
class Poison:
    """Something a source received and cannot read as changes; `key` names it by its content (and its id there)."""

    dataset: str
    key: str
    body: bytes
    problem: Problem


@dataclass(slots=True)
class Load:
    """Rows of one dataset that were there before the capture began, in PostgreSQL's binary COPY format.

    `sweep` asks the target to remove, in the range of keys after `after` up to `upto` (text forms, None is open),
    what is not among the rows. `marked`: behind its columns each row has its version, as in `Seen`.
    """

    shape: Shape
    data: "Stored"
    rows: int
    sweep: bool = False
    after: tuple[str, ...] | None = None
    upto: tuple[str, ...] | None = None
    marked: bool = False

    def discard(self) -> None:
        """Free what the rows take."""
        self.data.discard()


@dataclass(slots=True)
class Page:
    """Records of one dataset as a remote gave them, for targets that take JSON as it comes.

    `body` is strict enough JSON in UTF-8; the array of records stands under the members of `path`, and holds `count`
    objects that all have their key. Columns of the shape are named as the members of a record are. `changes` reads
    the same strictly, as inserts: a value that is missing is left as it is where the row exists; raises a Problem that
    names what is wrong.

    `members` (see `common_members`) are the columns that every record has while none has any other; None says that
    records differ, so that the page is written by its changes.
    """

    shape: Shape
    body: bytes
    path: tuple[str, ...]
    count: int
    changes: Callable[[], list[Change]]
    members: tuple[int, ...] | None = None


@dataclass(slots=True)
class Batch:
    """Whole source transactions in commit order, up to a position; or one chunk of a backfill.

    `parts` starts the changes from the beginning at each call, so that a target may try again; a part is bounded
    in memory. `committed` is the source's clock (seconds since 1970) at the last commit in it. `place` orders batches
    as positions do and stays what it is, also while the position of a transaction still arriving is not yet known.

    `pages` come before the changes; whoever cannot take them as they are reads `changes_of` the batch.

    `keep` says that the position tells something new, so that it must be written even where nothing else is.

    What names a change for ever, however batches are cut: `ends` has for each transaction of a `small` batch the
    number of its changes (held ones too) and where it commits in the log; without it all is one transaction, `origin`.
    `edition` stands before that where the same place may be read anew and mean another change. `times` has for each of
    `ends` when it committed; without it all committed when `committed` says.
    """

    position: Position
    parts: Callable[[], AsyncIterator[Part]]
    changes: int = 0
    transactions: int = 0
    committed: float | None = None
    load: Load | None = None
    place: int = 0
    small: Part | None = None
    ends: Sequence[tuple[int, int]] = ()
    times: Sequence[float] = ()
    edition: str = ""
    origin: int = 0
    poison: Sequence[Poison] = ()
    keep: bool = False
    pages: Sequence[Page] = ()


class ChangeRefused(Exception):
    """The target refused one change of a batch; nothing of the batch was written."""

    def __init__(self, change: Change, problem: Problem) -> None:
        super().__init__(str(problem))
        self.change = change
        self.problem = problem


@dataclass(slots=True)
class Applied:
    """What a target wrote: where it stands now, what it did.

    What is not `durable` yet becomes so with the next that is; until then it may be lost as a whole, with its position.
    """

    position: Position
    changes: int = 0
    rows: int = 0
    folded: int = 0
    missing: int = 0
    durable: bool = True


def common_members(shape: Shape, records: Iterable[Mapping[str, Any]]) -> tuple[int, ...] | None:
    """The columns of a shape (indexes) that all records have and no record has others of; None where they differ."""
    names = frozenset(column.name for column in shape.columns)
    # Most remotes write the members of all records in one order: those are looked at once.
    kinds = {names & frozenset(members) for members in set(map(tuple, records))}
    if len(kinds) > 1:
        return None
    common = next(iter(kinds), None)
    return tuple(at for at, column in enumerate(shape.columns) if common and column.name in common)


async def changes_of(batch: Batch) -> AsyncIterator[Part]:
    """Everything in a batch as changes: the rows of its load as inserts, its pages, then its changes."""
    if batch.load is not None:
        for part in rows_of(batch.load):
            yield part
    for page in batch.pages:
        yield page.changes()
    async for changes in batch.parts():
        yield changes


def rows_of(load: Load) -> Iterator[Part]:
    """The rows of a load as inserts."""
    rows: list[Change] = []
    for values in read_rows(load.data):
        rows.append(insert_of(load.shape, values, marked=load.marked))
        if len(rows) >= LOAD_PART:
            yield rows
            rows = []
    yield rows


class Stored(Protocol):
    """Blocks of bytes that can be gone through any number of times, until discarded."""

    def __iter__(self) -> Iterator[bytes]:
        """The blocks from the first."""
        ...

    def discard(self) -> None:
        """Free memory and disk; safe to call twice."""
        ...


class Source(Protocol):
    """Where changes come from."""

    def batches(self) -> AsyncGenerator[Batch, None]:
        """Batches in commit order from the position the source was opened at; ends only by an error."""
        ...

    async def confirm(self, position: Position) -> None:
        """Tell the source that everything up to this position is durable at the target."""
        ...

    async def close(self) -> None:
        """Let go of every resource; safe to call twice."""
        ...


class Target(Protocol):
    """Where changes go."""

    async def apply(self, batch: Batch) -> Applied:
        """Write a batch and its position in one transaction; raises a Problem that says whether to try again."""
        ...

    async def close(self) -> None:
        """Let go of every resource; safe to call twice."""
        ...


@dataclass(frozen=True, slots=True)
class FeedSpec:
    """What a queue or topic is opened with: where to start, and the shape to read each dataset in (text form).

    `copy` says whether a dataset without a place in `start` is read from its beginning, where it could be passed over.
    `rounds` says when to ask a remote again; `keys` gives the keys (text by field) that the target has of a dataset,
    in parts, so that what the remote has no more can be found. `above` names the datasets that must be there before
    one, for its records refer to theirs. `heals` says that a record without a row at the target makes one.
    """

    pipeline: str
    generation: int
    start: Position
    shapes: Mapping[str, Shape]
    copy: bool = True
    rounds: Rounds | None = None
    keys: Callable[[str], AsyncGenerator[Sequence[tuple[str, ...]], None]] | None = None
    above: Mapping[str, set[str]] = field(default_factory=dict)
    heals: bool = True


@dataclass(frozen=True, slots=True)
class OutletSpec:
    """What an exchange or topic is written with: the system changes come from; each dataset's address and new names.

    `fields` has the names by dataset that fields get in messages; those not named there keep theirs. Where nothing is
    safe before it is answered, changes are kept in `ledger`; `heals` says that an update without a record creates it.
    `polled`: an insert tells how a record is now, whether new or changed; of the datasets `sifted` by a filter a delete
    may be of a row that never was within it.
    """

    pipeline: str
    generation: int
    source: str
    addresses: Mapping[str, str]
    fields: Mapping[str, Mapping[str, str]]
    ledger: Ledger | None = None
    heals: bool = True
    polled: bool = False
    sifted: frozenset[str] = frozenset()


class Store(Protocol):
    """Keeps the position of a pipeline whose target cannot; fenced by the run that works it."""

    async def load(self) -> Position | None:
        """The position last saved."""
        ...

    async def save(self, position: Position) -> None:
        """Keep a position; raises LeaseLost when another worker has the pipeline."""
        ...


class Feed(Source, Protocol):
    """A queue or topic as a source: what it sends is pushed, and may come again."""

    def read(self, dataset: str, body: bytes) -> list[Change]:
        """The changes of a message that was held; raises the Problem that it is held for."""
        ...

    def facts(self) -> dict[str, Any]:
        """Lag and the like, as JSON."""
        ...


class Opened(Protocol):
    """An open pipeline: where it starts, its two ends, and what can be told of it."""

    position: Position

    @property
    def source(self) -> Source:
        """Where changes come from."""
        ...

    @property
    def target(self) -> Target:
        """Where changes go."""
        ...

    @property
    def copying(self) -> bool:
        """Whether rows that were there before are still being copied."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """The datasets, by their names at the source."""
        ...

    def copied(self) -> tuple[int, int]:
        """Rows copied, and about how many there are."""
        ...

    def facts(self) -> dict[str, Any]:
        """Lag and what each dataset has copied, as JSON."""
        ...

    def place_of(self, position: Position) -> int:
        """A position as a number that grows."""
        ...

    def shape(self, dataset: str) -> Shape:
        """The shape of a dataset's changes."""
        ...

    def show_key(self, change: Change) -> str:
        """A change's key as a person reads it."""
        ...

    def show_values(self, change: Change) -> dict[str, str | None]:
        """A change's values as a person reads them."""
        ...

    def read(self, dataset: str, body: bytes) -> list[Change]:
        """The changes of a message that was held; raises the Problem that it is held for."""
        ...

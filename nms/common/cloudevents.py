"""Changes as CloudEvents 1.0 in JSON (structured mode), for queues and topics (pure).

The id of an event is a digest of what the change is: system, dataset, its place at the source, key and values.
So a change that is sent again after a crash or a lost confirm bears the id it had, and a consumer that remembers ids
takes it once. A change of the log stands at (commit LSN, n-th change of its dataset in that transaction); the content
belongs to it too, because n moves when a filter of the pipeline changes, and because a source that was restored from
a backup gives out its LSNs again. A row of a backfill has no place in the log: a chunk that is read again may hold a
newer state of the row, which then must be another event; so its place is the generation alone, and the content tells.
A row that is polled stands where its version says, whichever round sees it.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import chain, count, repeat
from json.encoder import encode_basestring
from typing import TypeVar
from urllib.parse import quote

from nms.common.change import NULL, Change, Field, Op, Seen, Shape, split_key
from nms.common.flow import Batch, ChangeRefused, Part, changes_of, rows_of, whole_of
from nms.common.problem import Problem
from nms.common.strict_json import parse

Mark = TypeVar("Mark")
CONTENT_TYPE = "application/cloudevents+json"
TYPE = "nms.change."
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_NUMBERS = ("smallint", "integer", "bigint", "real", "double precision", "numeric")


class EventUnwritable(Problem):
    """A value is no UTF-8 text, so no JSON can hold it."""

    status, code, title = 422, "event-unwritable", "A value has no place in JSON"
    remedy = "Mend the value at its source (its database does not check its encoding), or leave the field out."


@dataclass(frozen=True, slots=True)
class Head:
    """What is said of a change beside its data; `time` is RFC 3339, empty where it is not known."""

    id: str
    source: str
    sequence: str
    pipeline: str
    time: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A change on its way to a queue or topic: its id, its key as text, the JSON text that is sent."""

    id: str
    subject: str
    body: bytes
    change: Change


class EventWriter:
    """Makes the events of a pipeline's batches.

    `names` gives by dataset the names that columns get in events; those not named there keep theirs. Fields are in
    PostgreSQL's text form.
    """

    def __init__(self, system: str, pipeline: str, names: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self._system = system
        self._pipeline = pipeline
        self._names = names or {}
        self._layouts: dict[Shape, Layout] = {}

    async def events(self, batch: Batch) -> AsyncIterator[list[Event]]:
        """The events of a batch in order, in parts; raises ChangeRefused for a change that has no JSON form."""
        time = _timestamp(batch.committed)
        numbers = count(1)
        # A chunk of which keys are held comes as changes, with the end of a transaction that had none.
        if batch.load is None and batch.small is None and batch.ends:
            async for part in changes_of(batch):
                stamped = _left(part, lambda row: _row_stamp(batch, row, next(numbers)))
                yield [self._event(row, stamp, time) for row, stamp in stamped]
            return
        if batch.load is not None:
            for part in rows_of(batch.load):
                yield [self._event(row, _row_stamp(batch, row, next(numbers)), time) for row in part]
        stamp, times = Stamper(batch).stamp, _times(batch)
        async for part in batch.parts():
            marked = _left(part, lambda change: (stamp(change), next(times)))
            yield [self._event(change, *marks) for change, marks in marked]

    def key_of(self, change: Change) -> bytes | None:
        """The key of a change as a JSON object; None where it has none."""
        return self._layout(change.shape).key(change.key) if change.shape.key and change.key else None

    def _layout(self, shape: Shape) -> "Layout":
        layout = self._layouts.get(shape)
        if layout is None:
            layout = self._layouts[shape] = Layout(shape, self._names.get(shape.dataset))
        return layout

    def _event(self, change: Change, stamp: tuple[str, str], time: str) -> Event:
        layout = self._layout(change.shape)
        dataset = change.shape.dataset
        made = make_id((self._system, dataset, stamp[0]), change)
        source = f"/nms/{quote(self._system, safe='')}/{quote(dataset, safe='')}"
        try:
            body = encode_event(change, Head(made, source, stamp[1], self._pipeline, time), layout)
            return Event(made, subject_of(change), body, change)
        except UnicodeDecodeError as error:
            text = f"a value of {dataset} is no UTF-8 text: byte {error.object[error.start]:#04x} at {error.start}"
            raise ChangeRefused(change, EventUnwritable(text, dataset=dataset)) from error


class Layout:
    """How the fields of a shape stand in JSON; `names` as in EventWriter."""

    def __init__(self, shape: Shape, names: Mapping[str, str] | None = None) -> None:
        renamed = names or {}
        self._fields = [
            (encode_basestring(renamed.get(column.name, column.name)).encode() + b":", _kind(column.type))
            for column in shape.columns
        ]
        self._key = shape.key

    def values(self, values: Iterable[Field]) -> bytes:
        """The JSON object of values; those left out as unchanged are left out."""
        pairs = zip(self._fields, values, strict=False)
        return _object(_member(field, value) for field, value in pairs if value is not None)

    def key(self, key: bytes) -> bytes:
        """The JSON object of a key."""
        return _object(_member(self._fields[at], value) for at, value in zip(self._key, split_key(key), strict=True))


def encode_event(change: Change, head: Head, layout: Layout) -> bytes:
    """A change as the JSON text of a CloudEvent (CloudEvents 1.0, JSON format 1.0)."""
    op, subject = change.op.value, subject_of(change)
    attributes = {
        "specversion": "1.0",
        "id": head.id,
        "source": head.source,
        "type": TYPE + op,
        "subject": subject,
        "time": head.time,
        "datacontenttype": "application/json",
        "sequence": head.sequence,
        "nmspipeline": head.pipeline,
    }
    text = ",".join(f'"{name}":{encode_basestring(value)}' for name, value in attributes.items() if value)
    data = [f'"op":"{op}","dataset":{encode_basestring(change.shape.dataset)}'.encode()]
    if change.key:
        data.append(b'"key":' + layout.key(change.key))
    if change.op in (Op.INSERT, Op.UPDATE):
        data.append(b'"values":' + layout.values(change.values))
    if change.old_key is not None:
        data.append(b'"old_key":' + layout.key(change.old_key))
    return b"".join((b"{", text.encode(), b',"data":{', b",".join(data), b"}}"))


def make_id(place: tuple[str, str, str], change: Change) -> str:
    """The id of a change at a place (system, dataset, where in it): 32 hex digits, the same whenever it is sent."""
    digest = sha256("\0".join((*place, change.op.value, "")).encode())
    digest.update(change.key + b"\0" + (change.old_key or b""))
    # A mark a field, since a left out field must not look like a null one.
    digest.update(b"".join([b"-" if field is None else field for field in change.values]))
    return digest.hexdigest()[:32]


def subject_of(change: Change) -> str:
    """The key of a change as text, its fields joined by commas; empty where it has none."""
    if not change.shape.key or change.op is Op.TRUNCATE:
        return ""
    columns = (change.shape.columns[at] for at in change.shape.key)
    return ",".join(_shown(field, column.type) for field, column in zip(split_key(change.key), columns, strict=True))


def _shown(field: bytes, kind: str) -> str:
    text = "null" if field == NULL else field[4:].decode()
    if kind not in ("json", "jsonb") or not text.startswith('"'):
        return text
    # A string is shown without its quotes; a database's text cannot hold this character.
    return str(parse(text.encode())).replace("\0", "\ufffd")


class Stamper:
    """Place and sequence of the changes of a batch: the n-th of its dataset in its transaction."""

    def __init__(self, batch: Batch) -> None:
        self._places = _places(batch)
        self._place = ""
        self._counts: Counter[str] = Counter()

    def stamp(self, change: Change) -> tuple[str, str]:
        """Place and sequence of the next change."""
        place = next(self._places)
        if place != self._place:
            self._place, self._counts = place, Counter()
        self._counts[change.shape.dataset] += 1
        stamp = f"{place}/{self._counts[change.shape.dataset]:08}"
        return change.version if isinstance(change, Seen) else stamp, stamp


def _places(batch: Batch) -> Iterator[str]:
    """Where each change of a batch stands: its commit LSN, and without one what tells it apart as well as can be."""
    if batch.ends:
        return chain.from_iterable(repeat(f"{batch.edition}{lsn:016X}", number) for number, lsn in batch.ends)
    if batch.origin:
        return repeat(f"{batch.origin:016X}")
    return repeat(f"{batch.position.get('generation', 0)}.{batch.place:016X}")


def _left(part: Part, mark: Callable[[Change], Mark]) -> Iterator[tuple[Change, Mark]]:
    """What is left of a part, each with its mark; what was held counts, so that it moves no id of those behind it."""
    left = iter(part)
    awaited = next(left, None)
    for change in whole_of(part):
        made = mark(change)
        if change is awaited:
            yield change, made
            awaited = next(left, None)


def _row_stamp(batch: Batch, row: Change, number: int) -> tuple[str, str]:
    """Place and sequence of a row of a copy: it stands behind what was committed before it was read."""
    place, since = f"copy-{batch.position.get('generation', 0)}", batch.position.get("since")
    # Where everything is copied once more in a generation, what was sent meanwhile must not count as sent for ever.
    place = place if since is None else f"{place}.{since}"
    # Without a key equal rows are told apart by nothing but their number.
    place = place if row.shape.key else f"{place}/{number}"
    return row.version if isinstance(row, Seen) else place, f"{max(batch.place - 1, 0):016X}/{number:08}"


def _times(batch: Batch) -> Iterator[str]:
    """When each change of a batch committed: an event that comes again is the same, however batches are cut then."""
    if not batch.times:
        return repeat(_timestamp(batch.committed))
    pairs = zip(batch.ends, batch.times, strict=True)
    return chain.from_iterable(repeat(_timestamp(time), number) for (number, _), time in pairs)


def _timestamp(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _object(members: Iterable[bytes]) -> bytes:
    return b"{" + b",".join(members) + b"}"


def _member(field: tuple[bytes, Callable[[bytes], bytes]], value: bytes) -> bytes:
    name, kind = field
    return name + (b"null" if value == NULL else kind(value[4:]))


def _kind(name: str) -> Callable[[bytes], bytes]:
    if name in _NUMBERS:
        return _number
    return {"boolean": _boolean, "json": _as_it_is, "jsonb": _as_it_is}.get(name, _string)


def _number(value: bytes) -> bytes:
    return value if _NUMBER.fullmatch(value) else _string(value)


def _boolean(value: bytes) -> bytes:
    return b"true" if value in (b"t", b"true") else b"false"


def _as_it_is(value: bytes) -> bytes:
    value.decode()
    return value


def _string(value: bytes) -> bytes:
    return encode_basestring(value.decode()).encode()

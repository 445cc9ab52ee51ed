"""Records of an answer as a page for the target: as they came where that is safe, else written anew."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Final

from nms.common import clock, exact_json
from nms.common.change import RECORD, Change, Op, Shape, frame
from nms.common.document.rest import Resource
from nms.common.egress.exchange import Answer
from nms.common.exact_json import as_written
from nms.common.flow import Page, Poison, common_members
from nms.common.key_text import canonical
from nms.common.messages import MessageNotAnObject, MessageUnreadable, find, read_members
from nms.common.search import raw_path, search
from nms.common.strict_json import TooDeep, write
from nms.connectors.rest.moment import Moment, count_times, newest, read_moment
from nms.connectors.rest.problems import BodyNotJson, BodyTooDeep, RecordsChanged
from nms.connectors.rest.records import find_records, json_bytes, list_text, parse_body

HELD_BYTES: Final = 1 << 20
CUT_BYTES: Final = 1 << 20
_MISSING: Any = object()
Keys = tuple[str, ...]
Moments = tuple[Moment | None, Moment | None, bool, int]
NO_MOMENTS: Final[Moments] = (None, None, True, 0)


@dataclass(frozen=True, slots=True)
class Read:
    """What an answer holds: a page for the target, what cannot be read, and when its records changed.

    `count` has all records; `ordered` says that they stand in the order of their changes, from `oldest` on; `times` of
    them changed at a number that is a time since 1990. `some` are
    the columns that any record has, `always` those that each one has.
    """

    page: Page | None
    poison: tuple[Poison, ...]
    count: int
    newest: Moment | None = None
    oldest: Moment | None = None
    ordered: bool = True
    times: int = 0
    some: frozenset[str] = frozenset()
    always: frozenset[str] = frozenset()


class Reader:
    """Reads the records of one resource in the shape of its dataset; one that comes twice counts as it came last."""

    def __init__(self, resource: Resource, shape: Shape) -> None:
        self.resource = resource
        self.shape = shape
        self._names = [shape.columns[at].name for at in shape.key]
        columns = [column.name for column in shape.columns if column.name != RECORD]
        self._wants_record = len(columns) < len(shape.columns)
        self._dotted = [name for name in columns if "." in name]
        absent = [name for name in columns if name not in self._names] if resource.absent == "null" else []
        self._nulls = dict.fromkeys(absent)
        self._path = None if self._dotted or resource.derive else raw_path(resource.records)
        self._since = None if resource.since is None else resource.since.field

    def read(self, answer: Answer, body: Any, beside: Mapping[str, str]) -> Read:
        """The records of an answer and its parsed body; `beside` has fields that they may lack, of their parent.

        Raises RecordsMissing, RecordsChanged, BodyTooDeep.
        """
        records = find_records(body, self.resource.records)
        moments = self._moments(records)
        if not records:
            return Read(None, (), 0)
        text = json_bytes(answer)
        if self._path is not None and self._is_clean(records, beside) and b"\\u0000" not in text:
            changes = partial(_read_again, text, self._path, self.shape)
            members = common_members(self.shape, records)
            if self._nulls and (members is None or len(members) < len(self.shape.columns) - self._wants_record):
                return self._write_anew(text, beside, moments)
            page = Page(self.shape, *self._cut(text, self._path, body), len(records), changes, members)
            return Read(page, (), len(records), *moments, *self._columns(records, members))
        return self._write_anew(text, beside, moments)

    def keys(self, records: Iterable[Any], beside: Mapping[str, str] | None = None) -> list[Keys]:
        """The keys of records as one spelling of text each; `beside` has fields of their parent that they may lack.

        Raises RecordsChanged for a record without one.
        """
        derived = {name: of for name, of in self.resource.derive.items() if name in self._names}
        found = []
        for record in records:
            whole = record
            if (beside or derived) and isinstance(record, dict):
                whole = {**(beside or {}), **record, **{name: search(record, of) for name, of in derived.items()}}
            key = self.key_of(whole)
            if key is None:
                raise RecordsChanged("A record in the list of all ids has no key.", dataset=self.shape.dataset)
            found.append(key)
        return found

    def key_of(self, record: Any) -> Keys | None:
        """The key of a record, None where it has none."""
        values = []
        for at, name in zip(self.shape.key, self._names, strict=True):
            value = find(record, name) if isinstance(record, dict) else None
            if value is None or isinstance(value, dict | list):
                return None
            values.append(canonical(text_of(value), self.shape.columns[at].type))
        return tuple(values)

    def spell(self, key: Sequence[str]) -> Keys:
        """A key as the target has it, in the same spelling."""
        return tuple(canonical(text, self.shape.columns[at].type) for text, at in zip(key, self.shape.key, strict=True))

    def delete_of(self, key: Keys) -> Change:
        """The deletion of the record with this key."""
        return Change(self.shape, Op.DELETE, b"".join(frame(text.encode()) for text in key))

    def read_held(self, body: bytes) -> list[Change]:
        """The change of a record that was held; raises a MessageUnreadable."""
        try:
            record = exact_json.parse(body)
        except ValueError as error:
            raise MessageUnreadable(f"the record is not read: {error}") from error
        return [self._change(record)]

    def _columns(
        self, records: Sequence[Mapping[str, Any]], members: tuple[int, ...] | None
    ) -> tuple[frozenset[str], frozenset[str]]:
        """The columns that any record has, and those that each one has."""
        if members is not None:
            alike = frozenset(self.shape.columns[at].name for at in members) - {RECORD}
            return alike, alike
        names = frozenset(column.name for column in self.shape.columns if column.name != RECORD)
        each = [names & record.keys() for record in records]
        return frozenset().union(*each), names.intersection(*each)

    # -- as they came

    def _is_clean(self, records: list[Any], beside: Mapping[str, str]) -> bool:
        """Whether all are objects with a key of their own that no double could have blurred."""
        try:
            if len(self._names) == 1:
                name = self._names[0]
                keys = [record[name] for record in records]
                kinds = set(map(type, keys))
            else:
                keys = [tuple([record[name] for name in self._names]) for record in records]
                kinds = {type(value) for key in keys for value in key}
            lacking = any(name not in record for name in beside for record in records)
            return kinds <= {int, str} and len(set(keys)) == len(keys) and not lacking
        except (KeyError, TypeError):
            return False

    def _cut(self, text: bytes, path: tuple[str, ...], body: Any) -> tuple[bytes, tuple[str, ...]]:
        """The list alone, which costs the target a quarter less; what is large is not held twice for that."""
        cut = list_text(text, path[0], body) if len(path) == 1 and len(text) <= CUT_BYTES else None
        return (text, path) if cut is None else (cut, ())

    def _moments(self, records: list[Any]) -> Moments:
        if self._since is None:
            return NO_MOMENTS
        values = [record.get(self._since) for record in records if isinstance(record, dict)]
        found = [value for value in values if value is not None]
        if not found:
            return NO_MOMENTS
        first, last = read_moment(found[0]), newest(found)
        ordered = all(type(one) is type(found[0]) for one in found) and found == sorted(found)
        return last, first, ordered, count_times(found, clock.now())

    # -- written anew

    def _write_anew(self, text: bytes, beside: Mapping[str, str], moments: Moments) -> Read:
        records = find_records(_parse(text), self.resource.records)
        kept: dict[bytes, str] = {}
        poison: list[Poison] = []
        for record in records:
            whole = self._complete(record, beside)
            try:
                change = self._change(whole)
                written = write(whole)
                written.encode()
            except (MessageUnreadable, UnicodeEncodeError) as error:
                poison.append(self._hold(whole, error))
                continue
            kept.pop(change.key, None)
            kept[change.key] = written
        self._doubt(len(records), poison)
        if not kept:
            return Read(None, tuple(poison), len(records), *moments)
        body = f"[{','.join(kept.values())}]".encode()
        rewritten = json.loads(body)
        members = common_members(self.shape, rewritten)
        page = Page(self.shape, body, (), len(kept), partial(_read_again, body, (), self.shape), members)
        return Read(page, tuple(poison), len(records), *moments, *self._columns(rewritten, members))

    def _complete(self, record: Any, beside: Mapping[str, str]) -> Any:
        """A record with its parent's fields, what is derived, and fields that stand deeper; numbers as written."""
        if not isinstance(record, dict):
            return as_written(record)
        derived = {name: search(record, expression) for name, expression in self.resource.derive.items()}
        whole = {**beside, **record, **derived}
        deeper = {name: find(whole, name, _MISSING) for name in self._dotted if name not in whole}
        there = {name: one for name, one in deeper.items() if one is not _MISSING}
        if self._wants_record:
            whole[RECORD] = record
        found: Any = as_written({**self._nulls, **whole, **there})
        return found

    def _change(self, record: Any) -> Change:
        if not isinstance(record, dict):
            raise MessageNotAnObject("the record is not a JSON object")
        return read_members(record, self.shape)

    def _hold(self, record: Any, error: MessageUnreadable | UnicodeEncodeError) -> Poison:
        if isinstance(error, UnicodeEncodeError):
            error = MessageUnreadable("the record has half of a surrogate pair")
        # Halves of surrogate pairs are written as escapes, as they came.
        body = write(record).encode("utf-8", "backslashreplace")
        name = f"{self.shape.dataset}/{sha256(body).hexdigest()[:24]}"
        return Poison(self.shape.dataset, name, body[:HELD_BYTES], error)

    def _doubt(self, count: int, poison: Sequence[Poison]) -> None:
        """Raise RecordsChanged where no record of a page has its key: that is no fault of single records."""
        without = [one for one in poison if one.problem.code in ("message-lacks-key", "message-not-an-object")]
        if count > 1 and len(without) == count:
            problem = poison[0].problem
            raise RecordsChanged(
                f"None of {count} records of {self.shape.dataset} has its key: {problem.detail}.",
                dataset=self.shape.dataset,
                cause=problem.code,
            )


def exact_records(answer: Answer, resource: Resource) -> list[Any]:
    """The records of an answer, numbers with all their digits; raises RecordsMissing, BodyNotJson, BodyTooDeep."""
    return find_records(_parse(json_bytes(answer)), resource.records)


def text_of(value: Any) -> str:
    """A JSON value as text, as it stands in a path or a key; empty for null."""
    if value is None:
        return ""
    return value if isinstance(value, str) else write(as_written(value))


def parse_answer(answer: Answer) -> Any:
    """The JSON of an answer; raises BodyNotJson, BodyTooDeep. Half of a surrogate pair is held per record later."""
    try:
        return parse_body(answer)
    except BodyNotJson:
        text = json_bytes(answer)
        if b"\\ud" in text or b"\\uD" in text:
            with suppress(ValueError):
                return exact_json.parse(text)
        raise


def _parse(text: bytes) -> Any:
    try:
        return exact_json.parse(text)
    except TooDeep as error:
        raise BodyTooDeep(f"The answer is not read: {error}.") from None
    except ValueError as error:
        raise BodyNotJson(f"The answer is no JSON: {error}.") from None


def _read_again(text: bytes, path: tuple[str, ...], shape: Shape) -> list[Change]:
    """The records of a page as inserts, one by one; what has no form in its column is left to the target to refuse."""
    records = _parse(text)
    for name in path:
        records = records[name]
    return [read_members(as_written(record), shape, strict=False) for record in records]

"""Records of one resource, in memory or generated, and how its API treats them."""

import datetime
import json
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.services.hostile.journal import Act, Effect, Journal
from tests.services.hostile.limits import Limit

Record = dict[str, Any]
Paging = Literal["page", "offset", "cursor", "cursor-header", "link", "next-url", "none"]
Validator = Literal["none", "strong", "weak", "weak-lenient"]
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
MICROSECOND = datetime.timedelta(microseconds=1)
REWRITES: dict[str, Callable[[str], str]] = {
    "trim": str.strip,
    "lower": str.lower,
    "upper": str.upper,
    "title": str.title,
}


@dataclass(slots=True)
class Options:
    """How a resource behaves; everything has a friendly default.

    | option | meaning |
    |---|---|
    | count, pad | records to begin with; bytes of text in each |
    | generated | nothing is stored: records are computed when asked for, and cannot be written |
    | paging, page_size | the style, and the most records of one page |
    | envelope | member that holds the records; empty: the answer is the bare list |
    | latency | seconds before each answer |
    | client_field | member with the client's own key: the journal counts by it |
    | etag | none, strong, weak (If-Match never holds, RFC 9110 13.1.1), weak-lenient (it holds all the same) |
    | last_modified | Last-Modified in answers, If-Modified-Since is heard |
    | require_match | a write without If-Match is 428 |
    | version_field | member with the version: a write with another one is 409 |
    | unique | a create with a client key that is there is 409 |
    | idempotency | Idempotency-Key is honoured: the first answer again, no second effect |
    | rewrite | what happens to texts on the way in: trim, lower, upper, title |
    | sparse | nulls are left out of records |
    | delete | hard (404 from then on), gone (410), soft (`deleted: true`, listed with updated_since only) |
    | forgets | writes are answered and forgotten |
    | upsert | PUT creates what is not there |
    | login | none, bearer (see /oauth/token), basic, header (X-API-Key) |
    | rate, burst | requests a second, and at once |
    """

    count: int = 0
    pad: int = 0
    generated: bool = False
    paging: Paging = "page"
    page_size: int = 100
    envelope: str = "data"
    latency: float = 0
    client_field: str = "reference"
    etag: Validator = "none"
    last_modified: bool = False
    require_match: bool = False
    version_field: str = ""
    unique: bool = False
    idempotency: bool = False
    rewrite: Sequence[str] = ()
    sparse: bool = False
    delete: Literal["hard", "gone", "soft"] = "hard"
    forgets: bool = False
    upsert: bool = False
    login: Literal["none", "bearer", "basic", "header"] = "none"
    rate: float = 0
    burst: float = 10


@dataclass(slots=True)
class Collection:
    """The records of one resource; `version` rises with every write."""

    name: str
    options: Options
    journal: Journal
    limit: Limit = field(init=False)
    records: dict[int, Record] = field(default_factory=dict)
    order: Sequence[int] = ()
    version: int = 0
    _versions: dict[int, int] = field(default_factory=dict)
    _touched: list[tuple[str, int]] = field(default_factory=list)
    _last: int = 0
    _encoded: dict[int, str] = field(default_factory=dict)
    _gone: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        options = self.options
        self.limit = Limit(options.rate, options.burst)
        self.order = range(1, options.count + 1)
        self._last = options.count
        if not options.generated:
            self.records = {number: self.generate(number) for number in self.order}
            self._touched = [(record["updated_at"], number) for number, record in self.records.items()]
            self.order = list(self.order)
            self._encoded = {number: json.dumps(record) for number, record in self.records.items()}

    def generate(self, number: int) -> Record:
        """The record that a resource begins with under an id."""
        record = {
            "id": number,
            self.options.client_field: f"seed-{number}",
            "name": f"Name {number}",
            "group": number % 7,
            "updated_at": _stamp(START + datetime.timedelta(seconds=number)),
        }
        if self.options.pad:
            record["pad"] = f"{number:08d}" * (self.options.pad // 8)
        return self._versioned(record, 1)

    def get(self, number: int) -> Record | None:
        """A record by its id, a softly deleted one too."""
        if self.options.generated:
            return self.generate(number) if 1 <= number <= self.options.count else None
        return self.records.get(number)

    def encode(self, number: int) -> str:
        """A record as JSON; what is stored is encoded once, so that the server is no part of what is measured."""
        if self.options.generated:
            return json.dumps(self.generate(number))
        if number not in self._encoded:
            self._encoded[number] = json.dumps(self.records[number])
        return self._encoded[number]

    def was_deleted(self, number: int) -> bool:
        """Whether there was such a record once."""
        return number in self._gone

    def version_of(self, number: int) -> int:
        """The version of a record, from 1."""
        return self._versions.get(number, 1)

    def find(self, client_key: str) -> Record | None:
        """A record by the client's key."""
        name = self.options.client_field
        return next((one for one in self.records.values() if str(one.get(name)) == client_key), None)

    def since(self, moment: str) -> list[int]:
        """Ids of records touched after a moment, the oldest touch first, softly deleted ones included."""
        touched = self._touched[bisect_right(self._touched, (moment, 1 << 62)) :]
        return [number for at, number in touched if self.records.get(number, {}).get("updated_at") == at]

    def create(self, record: Record, request: int = 0) -> Record:
        """Add a record under the next id; answers it as it is kept."""
        self._last += 1
        return self._write("create", self._last, {**record, "id": self._last}, request)

    def replace(self, number: int, record: Record, request: int = 0) -> Record:
        """Set all members of a record; answers it as it is kept."""
        act: Act = "update" if number in self.records else "create"
        self._last = max(self._last, number)
        return self._write(act, number, {**record, "id": number}, request)

    def remove(self, number: int, request: int = 0) -> None:
        """Delete a record as the resource deletes."""
        record = self.records[number]
        if self.options.delete == "soft":
            self._write("delete", number, {**record, "deleted": True}, request)
            return
        self._note("delete", record, request)
        if not self.options.forgets:
            del self.records[number]
            self._encoded.pop(number, None)
            self._gone.add(number)
            assert isinstance(self.order, list)
            del self.order[bisect_left(self.order, number)]
            self.version += 1

    def _write(self, act: Act, number: int, record: Record, request: int) -> Record:
        before = self.records.get(number)
        version = self.version_of(number) + 1 if before else 1
        at = max(_stamp(datetime.datetime.now(datetime.UTC)), self._after_last())
        if self.options.sparse:
            record = {name: value for name, value in record.items() if value is not None}
        kept = self._versioned({**self._rewrite(record), "updated_at": at}, version)
        same = before is not None and _content(before, self.options) == _content(kept, self.options)
        self._note(act, kept, request, same=same)
        if self.options.forgets:
            return kept
        if before is None:
            assert isinstance(self.order, list)
            insort(self.order, number)
            self._gone.discard(number)
        self.records[number], self._versions[number] = kept, version
        self._encoded.pop(number, None)
        self._touched.append((at, number))
        self.version += 1
        return kept

    def _after_last(self) -> str:
        last = datetime.datetime.fromisoformat(self._touched[-1][0]) if self._touched else START
        return _stamp(last + MICROSECOND)

    def _rewrite(self, record: Record) -> Record:
        kept = dict(record)
        for name, value in record.items():
            if isinstance(value, str) and name != self.options.client_field:
                for rewrite in self.options.rewrite:
                    kept[name] = REWRITES[rewrite](kept[name])
        return kept

    def _versioned(self, record: Record, version: int) -> Record:
        return record | ({self.options.version_field: version} if self.options.version_field else {})

    def _note(self, act: Act, record: Record, request: int, *, same: bool = False) -> None:
        key = str(record.get(self.options.client_field, ""))
        number = len(self.journal.effects) + 1
        self.journal.note(Effect(number, request, self.name, act, record["id"], key, same))


def _content(record: Record, options: Options) -> str:
    own = {name: value for name, value in record.items() if name not in ("updated_at", options.version_field)}
    return json.dumps(own, sort_keys=True)


def _stamp(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

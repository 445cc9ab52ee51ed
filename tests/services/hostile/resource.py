"""What HTTP does to the records of a resource when nothing misbehaves: reads, writes, preconditions."""

import email.utils
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.services.hostile.collection import Collection, Record
from tests.services.hostile.paging import list_records, tag
from tests.services.hostile.wire import Answer, Request

READS = {"GET", "HEAD"}


class Refused(Exception):
    """The answer is an error; the first argument is the Answer."""

    @property
    def answer(self) -> Answer:
        answer: Answer = self.args[0]
        return answer


def refuse(status: int, error: str) -> Refused:
    return Refused(Answer.of(status, {"error": error}))


@dataclass(slots=True)
class Resource:
    """A collection over HTTP: `/{name}` and `/{name}/{id}`."""

    collection: Collection
    _answered: dict[str, tuple[bytes, Answer]] = field(default_factory=dict)

    def answer(self, request: Request, base: str, number: int, twist: str = "") -> Answer:
        """The answer to a request; `number` is its entry in the journal, `twist` a wrong way of paging."""
        try:
            if request.method in READS:
                return self._read(request, base, twist)
            if self.collection.options.generated:
                raise refuse(405, "nothing can be written here")
            return self._once(request, number)
        except Refused as refused:
            return refused.answer
        except (ValueError, TypeError) as error:
            return Answer.of(400, {"error": str(error)})

    def _read(self, request: Request, base: str, twist: str) -> Answer:
        identity = _identity(request)
        if identity is None:
            answer = list_records(self.collection, request, base, twist)
            return _unless_known(request, answer.with_headers(ETag=f'"{tag(answer)}"')) if self._tags else answer
        record = self._existing(identity)
        answer = Answer.of(200, record, **self._validators(record))
        return _unless_known(request, answer)

    def _once(self, request: Request, number: int) -> Answer:
        key = request.header("idempotency-key")
        if not key or not self.collection.options.idempotency:
            return self._write(request, number)
        before = self._answered.get(key)
        if before and before[0] != request.body:
            raise refuse(422, "this Idempotency-Key came with another body")
        if before is None:
            before = self._answered[key] = (request.body, self._write(request, number))
        return before[1]

    def _write(self, request: Request, number: int) -> Answer:
        identity = _identity(request)
        write = WRITES.get((request.method, identity is None))
        if write is None:
            raise refuse(405, "no such method")
        return write(self, request, identity or 0, number)

    def _create(self, request: Request, _: int, number: int) -> Answer:
        record, options = _object(request), self.collection.options
        client_key = record.get(options.client_field)
        if options.unique and client_key is not None and self.collection.find(str(client_key)):
            raise refuse(409, f"{options.client_field} {client_key} is there already")
        kept = self.collection.create(record, number)
        headers = {"Location": f"{request.prefix}/{self.collection.name}/{kept['id']}", **self._validators(kept)}
        return Answer.of(201, kept, **headers)

    def _replace(self, request: Request, identity: int, number: int) -> Answer:
        record, before = _object(request), self.collection.get(identity)
        if request.header("if-none-match") == "*" and before:
            raise refuse(412, "it is there already")
        if before is None and self.collection.options.upsert:
            kept = self.collection.replace(identity, record, number)
            return Answer.of(201, kept, **self._validators(kept))
        self._check(request, self._existing(identity), record)
        kept = self.collection.replace(identity, record, number)
        return Answer.of(200, kept, **self._validators(kept))

    def _patch(self, request: Request, identity: int, number: int) -> Answer:
        record, before = _object(request), self._existing(identity)
        self._check(request, before, record)
        kept = self.collection.replace(identity, {**before, **record}, number)
        return Answer.of(200, kept, **self._validators(kept))

    def _delete(self, request: Request, identity: int, number: int) -> Answer:
        before = self._existing(identity)
        if before.get("deleted"):
            raise refuse(404, "it is deleted")
        self._check(request, before, {})
        self.collection.remove(identity, number)
        return Answer.of(204)

    def _existing(self, identity: int) -> Record:
        record = self.collection.get(identity)
        if record is None:
            gone = self.collection.options.delete == "gone" and self.collection.was_deleted(identity)
            raise refuse(410 if gone else 404, "there is no such record")
        return record

    def _check(self, request: Request, before: Record, record: Record) -> None:
        """Refuse a write on a version that is not the client's (RFC 9110 13.1.1, RFC 6585 3)."""
        options, wanted = self.collection.options, request.header("if-match")
        if options.require_match and not wanted:
            raise refuse(428, "If-Match is required")
        if wanted and wanted != "*" and self._tags and not self._matches(wanted, before):
            raise refuse(412, "the record has changed")
        since = request.header("if-unmodified-since")
        if options.last_modified and since and _date(before) > email.utils.parsedate_to_datetime(since):
            raise refuse(412, "the record has changed")
        name = options.version_field
        if name and name in record and record[name] != before[name]:
            raise refuse(409, f"{name} is {before[name]}")

    @property
    def _tags(self) -> bool:
        return self.collection.options.etag != "none"

    def _matches(self, wanted: str, before: Record) -> bool:
        known, kind = self._etag(before), self.collection.options.etag
        given = [one.strip() for one in wanted.split(",")]
        if kind == "weak-lenient":
            return known.removeprefix("W/") in [one.removeprefix("W/") for one in given]
        return kind == "strong" and known in given

    def _etag(self, record: Record) -> str:
        strong = f'"{record["id"]}-{self.collection.version_of(record["id"])}"'
        return strong if self.collection.options.etag == "strong" else f"W/{strong}"

    def _validators(self, record: Record) -> dict[str, str]:
        headers = {"ETag": self._etag(record)} if self._tags else {}
        if self.collection.options.last_modified:
            headers["Last_Modified"] = email.utils.format_datetime(_date(record), usegmt=True)
        return headers


Write = Callable[[Resource, Request, int, int], Answer]
WRITES: dict[tuple[str, bool], Write] = {
    ("POST", True): Resource._create,
    ("PUT", False): Resource._replace,
    ("PATCH", False): Resource._patch,
    ("DELETE", False): Resource._delete,
}


def _unless_known(request: Request, answer: Answer) -> Answer:
    """304 when the client's validators hold (RFC 9110 13.1.2 and 13.1.3: If-None-Match is compared weakly)."""
    known, wanted = answer.headers.get("ETag", ""), request.header("if-none-match")
    if known and wanted:
        held = [one.strip().removeprefix("W/") for one in wanted.split(",")]
        return Answer.of(304, ETag=known) if known.removeprefix("W/") in held or wanted == "*" else answer
    modified, since = answer.headers.get("Last-Modified", ""), request.header("if-modified-since")
    if modified and since:
        newer = email.utils.parsedate_to_datetime(modified) > email.utils.parsedate_to_datetime(since)
        return answer if newer else Answer.of(304, Last_Modified=modified)
    return answer


def _identity(request: Request) -> int | None:
    _, _, rest = request.path.strip("/").partition("/")
    if not rest:
        return None
    if not rest.isdigit():
        raise refuse(404, "there is no such record")
    return int(rest)


def _object(request: Request) -> dict[str, Any]:
    document = request.json
    if not isinstance(document, dict):
        raise refuse(422, "a record is an object")
    return document


def _date(record: Record) -> datetime:
    return datetime.fromisoformat(record["updated_at"]).replace(microsecond=0)

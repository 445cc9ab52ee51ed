"""Single records of a REST API, for pipelines that go both ways: read now, written with a precondition."""

from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Final

from nms.common import faults
from nms.common.change import frame, unframe
from nms.common.document.rest import Resource, RestSystem, Verb, Writes
from nms.common.egress.exchange import Answer
from nms.common.messages import find, to_field
from nms.common.remote import Found, RecordMoved, RecordRefused, RemoteSpec, Request, Texts, Wish
from nms.common.search import search
from nms.common.strict_json import parse, write
from nms.connectors.rest.ask import Ask, fill
from nms.connectors.rest.client import Client
from nms.connectors.rest.form import place_of
from nms.connectors.rest.order import as_uuid, head_of
from nms.connectors.rest.problems import (
    BodyNotJson,
    BodyUnreadable,
    OutcomeUnknown,
    PathUnfillable,
    RecordsMissing,
    RemoteLoginRefused,
    RemoteMissing,
)
from nms.connectors.rest.records import parse_body, parse_strictly
from nms.connectors.rest.refusals import (
    RecordUnreadable,
    ResourceUnfit,
    ValueUnwritable,
    VerbMissing,
    WriteFails,
    WriteRefused,
)
from nms.connectors.rest.rights import Rights, is_forbidden
from nms.connectors.rest.sending import if_match, is_failing, is_gone, is_good, told
from nms.connectors.rest.values import Record, to_json

MOVED: Final = (404, 409, 410, 412, 428)
"""The record is not as it was read: it came, went, or changed."""
MOST_MOVES: Final = 3
MISSING: Final = object()


class RestRemote:
    """Reads and writes records of the resources of one pipeline, by the key that both sides share."""

    def __init__(self, client: Client, spec: RemoteSpec, stack: AsyncExitStack) -> None:
        self._client = client
        self._stack = stack
        self._kinds = {
            name: {column.name: column.type for column in shape.columns} for name, shape in spec.shapes.items()
        }
        self._resources = {name: _resource(client.system, name) for name in spec.shapes}
        ledger = spec.ledger
        self._rights = {name: Rights(partial(ledger.forbidden, name)) if ledger else Rights() for name in spec.shapes}
        self._refusals: dict[tuple[str, str], int] = {}
        self._counts = {"looked_up": 0, "created": 0, "updated": 0, "deleted": 0}

    @classmethod
    async def open(cls, system: RestSystem, spec: RemoteSpec) -> "RestRemote":
        """A client with its budget and login; raises Problems, such as ResourceMissing."""
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(Client.opened(system))
            return cls(client, spec, stack.pop_all())

    async def read(self, dataset: str, key: Texts) -> Found | None:
        """The record with a key, read now; None where there is none."""
        resource, rights = self._resources[dataset], self._rights[dataset]
        self._counts["looked_up"] += 1
        try:
            answer = await self._client.get(Ask("GET", fill(resource.record or "", _filled(key))))
        except RemoteMissing:
            return None
        except RemoteLoginRefused as problem:
            if problem.facts.get("answered") != 403:
                raise
            raise RecordRefused(rights.forbid("GET", problem.facts["path"], "", "403")) from problem
        rights.let("GET")
        record = search(_parsed(answer), resource.record_at)
        if not isinstance(record, dict):
            raise RecordsMissing(f"At `{resource.record_at}` of the answer stands no object.", dataset=dataset)
        found = self._found(dataset, record, answer)
        if resource.absent == "null":
            # An answer to a write may be a part of the record; this is all of it.
            absent = [name for name in self._kinds[dataset] if name not in resource.key]
            found = replace(found, values={**dict.fromkeys(absent), **found.values})
        return found

    async def write(self, dataset: str, wish: Wish, request: Request) -> Found | None:
        """Create, update or delete; raises RecordMoved, RecordRefused and the Problems of the client."""
        writes = self._resources[dataset].writes or Writes()
        act = "delete" if wish.values is None else "create" if wish.found is None else "update"
        verb: Verb | None = getattr(writes, act)
        if verb is None:
            raise RecordRefused(VerbMissing(f"{dataset}: the document declares no `{act}`", verb=act))
        body = self._body(dataset, wish, verb, writes) if wish.values is not None else b""
        try:
            path = fill(verb.path, _filled({**(wish.values or {}), **wish.key}))
            headers = _headers(wish, verb, writes, again=(verb.method, path) in self._refusals)
            _note(request, verb, path, body)
            if writes.idempotency is not None:
                parts = (wish.marker, verb.method, path, body.decode(), *headers.values())
                request.idempotency_key = headers[writes.idempotency] = as_uuid(*parts)
            ask = Ask(verb.method, path, {}, headers, body)
            # What may be done although it was put off is read again rather than sent again.
            repeat = verb.method != "POST" or writes.idempotency is not None
            answer = told(ask, await self._client.send(ask, repeat=repeat))
        except PathUnfillable as problem:
            raise RecordRefused(ValueUnwritable(problem.detail)) from problem
        except OutcomeUnknown as unknown:
            raise RecordMoved(f"{verb.method} {dataset}: {unknown.detail}") from unknown
        faults.point("rest.after_send")
        request.status, request.answer = answer.status, head_of(answer.body)
        self._counts[f"{act}d"] += 1
        self._weigh(dataset, verb, request, answer)
        self._judge(verb, path, answer, deleted=wish.values is None)
        return None if wish.values is None else self._told(dataset, verb, answer)

    async def check(self, dataset: str) -> None:
        """Raise WriteFails where so many records in a row are forbidden that it is no matter of theirs."""
        await self._rights[dataset].check()

    def verifies(self, dataset: str) -> bool:
        """Whether each record is to be read back."""
        writes = self._resources[dataset].writes
        return writes is not None and writes.verify

    def breadth(self, dataset: str) -> int:
        """How many records may be under way at a time."""
        return (self._resources[dataset].writes or Writes()).unordered

    def place(self, dataset: str) -> str:
        """A mark of the URL and path below which the records are."""
        return place_of(self._client.system, self._resources[dataset])

    def facts(self) -> dict[str, Any]:
        """What it did, as JSON."""
        return dict(self._counts)

    async def close(self) -> None:
        """Let go of the client; safe to call twice."""
        await self._stack.aclose()

    def _body(self, dataset: str, wish: Wish, verb: Verb, writes: Writes) -> bytes:
        record: Record = {} if wish.found is None else parse(wish.found.body)
        derived = self._resources[dataset].derive
        names = [name for name in wish.values or {} if name not in derived]
        if wish.found is None or verb.method != "PATCH":
            values = dict(record)
        else:
            names = [name for name in names if name in wish.changed]
            values = {}
            if writes.precondition == "version" and writes.version is not None and writes.version in record:
                values[writes.version] = record[writes.version]
        for name in names:
            if name != writes.version or wish.found is None:
                _put(values, name, self._json(dataset, name, (wish.values or {})[name]))
        return _encoded(values if verb.wrap is None else {verb.wrap: values})

    def _json(self, dataset: str, name: str, text: str | None) -> Any:
        try:
            return None if text is None else to_json(frame(text.encode()), self._kinds[dataset].get(name, "text"))
        except ValueError as error:
            raise RecordRefused(ValueUnwritable(f"{dataset}: field {name}: {error}", field=name)) from error

    def _weigh(self, dataset: str, verb: Verb, request: Request, answer: Answer) -> None:
        rights, path = self._rights[dataset], request.path or ""
        if is_forbidden(verb.path, answer):
            said = f"{answer.status}: {(request.answer or '')[:200]}"
            raise RecordRefused(rights.forbid(verb.method, path, request.body or "", said))
        if is_good(answer):
            rights.let(verb.method)

    def _judge(self, verb: Verb, path: str, answer: Answer, *, deleted: bool) -> None:
        request = (verb.method, path)
        if is_good(answer) or (deleted and is_gone(answer)):
            self._refusals.pop(request, None)
            return
        text = f"{verb.method} {path} is answered with {answer.status}"
        if is_failing(verb, answer):
            raise WriteFails(text, answered=answer.status)
        if answer.status in MOVED and self._refusals.setdefault(request, 0) < MOST_MOVES:
            self._refusals[request] += 1
            raise RecordMoved(text)
        self._refusals.pop(request, None)
        detail = " ".join(answer.body[:300].decode(errors="replace").split())
        raise RecordRefused(WriteRefused(f"{text}: {detail}" if detail else text, answered=answer.status))

    def _told(self, dataset: str, verb: Verb, answer: Answer) -> Found | None:
        """The record in the answer to a write, if there is one."""
        try:
            record = search(parse_strictly(answer), verb.answer)
        except BodyUnreadable:
            return None
        return self._found(dataset, record, answer) if isinstance(record, dict) else None

    def _found(self, dataset: str, record: Record, answer: Answer) -> Found:
        derived = {name: search(record, told) for name, told in self._resources[dataset].derive.items()}
        members = {**record, **derived}
        found = {name: find(members, name, MISSING) for name in self._kinds[dataset]}
        texts = {
            name: _text(value, self._kinds[dataset][name]) for name, value in found.items() if value is not MISSING
        }
        return Found(_encoded(record), texts, answer.headers.get("etag", ""))


def _resource(system: RestSystem, name: str) -> Resource:
    resource = system.resources.get(name)
    if resource is None:
        raise ResourceUnfit(f"The system {system.name} has no resource {name}.", dataset=name)
    if resource.writes is not None and resource.writes.assigned:
        text = f"{name} gives records keys of its own (`assigned`); both sides of a two-way pipeline share theirs"
        raise ResourceUnfit(text, dataset=name)
    if resource.record is None:
        raise ResourceUnfit(f"{name} has no `record`, the path of one record, by which both sides are compared")
    return resource


def _headers(wish: Wish, verb: Verb, writes: Writes, *, again: bool) -> dict[str, str]:
    if writes.precondition != "etag":
        return {}
    if wish.found is None:
        return {"If-None-Match": "*"} if verb.method == "PUT" else {}
    return if_match(wish.found.tag, again=again)


def _note(request: Request, verb: Verb, path: str, body: bytes) -> None:
    request.method, request.path, request.body = verb.method, path, body.decode() or None
    request.status, request.answer, request.idempotency_key = None, None, None
    request.attempts += 1


def _parsed(answer: Answer) -> Any:
    try:
        return parse_strictly(answer)
    except BodyNotJson as problem:
        # What only strictness refuses is this record's; anything else may be another answer next time.
        parse_body(answer)
        raise RecordRefused(RecordUnreadable(problem.detail)) from problem


def _encoded(record: Any) -> bytes:
    """JSON text; halves of surrogate pairs are written as the escapes that they came as."""
    return write(record).encode("utf-8", "backslashreplace")


def _text(value: Any, kind: str) -> str | None:
    """A value as the text of a type; what has no form there is left to the database to refuse."""
    try:
        field = to_field(value, kind)
    except ValueError:
        return write(value)
    text = unframe(field)
    return None if text is None else text.decode()


def _filled(values: Texts) -> dict[str, str]:
    return {name: text for name, text in values.items() if text is not None}


def _put(record: Record, name: str, value: Any) -> None:
    """A field, or one below the objects that a dotted name leads through."""
    *path, last = [name] if name in record else name.split(".")
    for part in path:
        below = record.setdefault(part, {})
        record = below if isinstance(below, dict) else {}
    record[last] = value

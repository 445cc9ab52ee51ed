"""An event of the inbox, read as the changes of a dataset (pure)."""

import json
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import UUID

from nms.common import exact_json
from nms.common.change import RECORD, Change, Shape
from nms.common.cloudevents import TYPE
from nms.common.document.inbox import FACTS, HEADER, InboxResource, is_fact
from nms.common.exact_json import as_written
from nms.common.messages import (
    MessageNotAnObject,
    MessageNotJson,
    MessageTooDeep,
    find,
    is_event,
    read_delete,
    read_members,
    read_ours,
    read_plain,
)
from nms.common.search import search
from nms.common.strict_json import TooDeep
from nms.connectors.inbox.problems import DeletedUnclear

EVENT_LINE: Final = b"inbox-event: "
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
MOST_PARAMETERS: Final = 10_000
_MISSING: Any = object()


@dataclass(frozen=True)
class Event:
    """One event as it was stored; `run` is that of the replay that passes it on once more."""

    number: int
    id: UUID
    endpoint: str
    type: str
    item: int
    content_type: str
    headers: bytes
    body: bytes
    received_at: datetime
    run: int | None = None

    @cached_property
    def value(self) -> Any:
        """The value of the body, numbers as they were written; raises MessageNotJson, MessageTooDeep."""
        return _form(self.body) if _media_type(self.content_type) == FORM else _json(self.body)

    def facts(self, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """Those of the names that are facts of the event itself, with their values; a header that it lacks is left out.

        A header that came more than once has all its values, with commas between them.
        """
        for name in names:
            if name.startswith(HEADER):
                wanted = name.removeprefix(HEADER).lower().encode()
                lines = (line.partition(b": ") for line in self.headers.split(b"\n"))
                found = [value for header, _, value in lines if header.lower() == wanted]
                if found:
                    yield name, b", ".join(found).decode("latin-1")
            else:
                yield name, self._fact(name.removeprefix(FACTS))

    def _fact(self, name: str) -> Any:
        if name == "received_at":
            return self.received_at.astimezone(UTC).isoformat()
        value = getattr(self, name)
        return value if isinstance(value, int) else str(value)


class Reader:
    """Reads the events of one resource in the shape of its dataset."""

    def __init__(self, resource: InboxResource, shape: Shape, *, heals: bool = True) -> None:
        self.resource = resource
        self._writes = read_members if heals and shape.key else read_plain
        self.shape = shape
        self._names = [column.name for column in shape.columns]
        self._facts = [name for name in self._names if is_fact(name)]
        self._headers = [name for name in self._facts if name.startswith(HEADER)]
        own = {RECORD, *self._facts, *(shape.columns[at].name for at in shape.key)}
        self._nulls = [name for name in self._names if name not in own] if resource.absent == "null" else []

    def takes(self, event: Event) -> bool:
        """Whether events like this one are looked into."""
        types = self.resource.types
        return event.endpoint == self.resource.endpoint and (not types or event.type in types)

    def read(self, event: Event) -> list[Change]:
        """The changes that an event holds, none where it has no such record; raises a MessageUnreadable.

        A record is written where it is new, or deleted; fields that it lacks are unchanged. Of a CloudEvent its data
        are the body; one of ours does what its data say where the resource is of `nms`.
        """
        value = event.value
        if isinstance(value, dict) and is_event(value):
            kind, value = value["type"], _data(value)
            if self.resource.format == "nms" and kind.startswith(TYPE) and isinstance(value, dict):
                return [read_ours(as_written(value), self.shape)]
        found = search(value, self.resource.records)
        if found is None:
            return []
        return [self._change(event, record) for record in (found if isinstance(found, list) else [found])]

    def hold(self, event: Event) -> bytes:
        """An event that cannot be read, as one body with what must be known of it."""
        known = dict(event.facts([f"{FACTS}{name}" for name in ("id", "endpoint", "type", "received_at", "item")]))
        told = {name.removeprefix(FACTS): value for name, value in known.items()}
        told |= {"number": event.number, "content_type": event.content_type}
        told["headers"] = {name.removeprefix(HEADER): value for name, value in event.facts(self._headers)}
        return EVENT_LINE + json.dumps(told).encode() + b"\n" + event.body

    def read_held(self, body: bytes) -> list[Change]:
        """The changes of an event that was held, also where its type would not be taken now."""
        head, _, rest = body.removeprefix(EVENT_LINE).partition(b"\n")
        told: dict[str, Any] = json.loads(head)
        headers = "\n".join(f"{name}: {value}" for name, value in told.pop("headers").items())
        known = told | {"id": UUID(told["id"]), "received_at": datetime.fromisoformat(told["received_at"])}
        return self.read(Event(**known, headers=headers.encode("latin-1"), body=rest))

    def _change(self, event: Event, record: Any) -> Change:
        if not isinstance(record, dict):
            raise MessageNotAnObject("the record is not a JSON object")
        derived = {name: search(record, expression) for name, expression in self.resource.derive.items()}
        # One that finds nothing is a field that the record lacks.
        there = {name: value for name, value in derived.items() if value is not None}
        whole = {**record, **there, **dict(event.facts(self._facts))}
        if RECORD in self._names:
            whole[RECORD] = record
        deletes = self._deletes(event, record)
        for name in self._nulls:
            if find(whole, name, _MISSING) is _MISSING:
                whole[name] = None
        exact = as_written(whole)
        return read_delete(exact, self.shape) if deletes else self._writes(exact, self.shape)

    def _deletes(self, event: Event, record: Mapping[str, Any]) -> bool:
        condition = self.resource.deleted
        if isinstance(condition, tuple):
            return event.type in condition
        found = None if condition is None else search(record, condition)
        if found is not None and not isinstance(found, bool):
            raise DeletedUnclear("`deleted` gives neither true, false nor null", expression=condition)
        return found is True


def _data(event: Mapping[str, Any]) -> Any:
    """The data of a CloudEvent, also where they stand there as base64 (JSON format 1.0.2, section 3.1)."""
    encoded = event.get("data_base64")
    if encoded is None or "data" in event:
        return event.get("data")
    kind = _media_type(str(event.get("datacontenttype") or JSON))
    if kind != JSON and not kind.endswith("+json"):
        raise MessageNotJson(f"the event has data of the kind {kind[:100]}")
    try:
        body = b64decode(encoded, validate=True)
    except (TypeError, ValueError) as error:
        raise MessageNotJson(f"data_base64 of the event is not base64: {error}") from error
    return _json(body)


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _json(body: bytes) -> Any:
    try:
        return exact_json.parse(body, unique=True)
    except TooDeep as error:
        raise MessageTooDeep(f"the body is not read: {error}") from error
    except UnicodeDecodeError as error:
        raise MessageNotJson(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    except ValueError as error:
        raise MessageNotJson(f"the body is not JSON: {error}") from error


def _form(body: bytes) -> dict[str, Any]:
    """A form (WHATWG URL section 5.1) as an object; a name that stands there twice has a list."""
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, strict_parsing=bool(body), errors="strict",
            max_num_fields=MOST_PARAMETERS,
        )  # fmt: skip
    except ValueError as error:
        raise MessageNotJson(f"the form is not read: {error}") from error
    form: dict[str, Any] = {}
    for name, value in pairs:
        if name not in form:
            form[name] = value
        elif isinstance(form[name], list):
            form[name].append(value)
        else:
            form[name] = [form[name], value]
    return form

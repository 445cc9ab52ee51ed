"""Messages of queues and topics, read as changes: plain JSON objects and CloudEvents 1.0, ours and others' (pure)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nms.common.change import NULL, RECORD, UNCHANGED, Change, Field, Op, Shape, frame
from nms.common.cloudevents import TYPE
from nms.common.key_text import canonical
from nms.common.problem import Problem
from nms.common.strict_json import TooDeep, parse, write

MESSAGE_LIMIT = 16 << 20
_JSON = ("json", "jsonb")
_TEXT = ("text", "character varying", "bpchar", "character", "citext")
_MISSING: Any = object()
_ESCAPE: Final = re.compile(r"\\(?:\\|u0000)")


class MessageUnreadable(Problem):
    """What all problems of reading a message have in common."""

    status, code, title = 422, "message-unreadable", "A message cannot be read"
    remedy = "Mend the sender. What is held can be dropped, or replayed once the pipeline's document fits it."


class MessageNotJson(MessageUnreadable):
    """The body is not strict JSON (RFC 8259) in UTF-8."""

    code, title = "message-not-json", "A message is not JSON"


class MessageTooDeep(MessageUnreadable):
    """Arrays and objects of the body stand in each other too deep."""

    code, title = "message-too-deep", "A message is nested too deep"


class MessageTooLarge(MessageUnreadable):
    """The body is larger than is read; only its beginning is kept, so it cannot be replayed."""

    status, code, title = 413, "message-too-large", "A message is too large"
    remedy = "Only the beginning of it is kept, so it cannot be replayed: have the sender send it in smaller parts."


class MessageNotAnObject(MessageUnreadable):
    """The body, or the data of its CloudEvent, is not a JSON object."""

    code, title = "message-not-an-object", "A message is no JSON object"


class MessageLacksKey(MessageUnreadable):
    """A field of the key is missing or null."""

    code, title = "message-lacks-key", "A message lacks its key"


class FieldUnreadable(MessageUnreadable):
    """A field has a value that its column cannot take."""

    code, title = "field-unreadable", "A field of a message cannot be read"


class EventUnreadable(MessageUnreadable):
    """The data of a CloudEvent of ours do not have the form that we send."""

    code, title = "event-unreadable", "An event cannot be read"


def check_size(size: int, limit: int = MESSAGE_LIMIT) -> None:
    """Raise MessageTooLarge for a body of too many bytes."""
    if size > limit:
        raise MessageTooLarge(f"the message has {size} bytes, {limit} are read", size=size, limit=limit)


def read_message(
    body: bytes, shape: Shape, *, limit: int = MESSAGE_LIMIT, beside: Mapping[str, Any] | None = None
) -> list[Change]:
    """The changes of one message; raises a MessageUnreadable that says what is wrong.

    The columns of the shape are named as the fields are: a dotted name that is no field is a path into objects, and
    `$record` is the whole record.
    A plain object (or the data of a CloudEvent of others) is an update: fields it lacks are unchanged. A CloudEvent of
    ours does what its data say, so that deletes and moves of keys travel too. A dataset without a key takes inserts
    only. JSON null is SQL null, also for json columns. `beside` has fields of the key that the body may lack, where the
    message brings its key apart; an event of ours has its own.
    """
    check_size(len(body), limit)
    members = _object(_parse(body))
    if not is_event(members):
        return [read_plain(_join(members, shape, beside), shape)]
    data = _object(members.get("data"))
    if members["type"].startswith(TYPE):
        return [read_ours(data, shape)]
    return [read_plain(_join(data, shape, beside), shape)]


def is_event(members: Mapping[str, Any]) -> bool:
    """Whether an object is a CloudEvent 1.0 in structured mode."""
    names = ("specversion", "id", "source", "type")
    return all(isinstance(members.get(name), str) for name in names) and members["specversion"].startswith("1.")


def read_plain(members: Mapping[str, Any], shape: Shape) -> Change:
    """A record as an update (an insert without a key): fields it lacks are unchanged. Raises a MessageUnreadable."""
    values = tuple(_field(members, shape, at) for at in range(len(shape.columns)))
    if not shape.key:
        return Change(shape, Op.INSERT, b"", _with_nulls(values))
    return Change(shape, Op.UPDATE, _key(members, shape), values)


def read_ours(data: Mapping[str, Any], shape: Shape) -> Change:
    """What the data of a CloudEvent of ours say; raises a MessageUnreadable."""
    try:
        op = Op(data.get("op", ""))
    except ValueError:
        raise EventUnreadable(f"{data.get('op')!r} is no operation of an event") from None
    if op is Op.TRUNCATE:
        return Change(shape, op, b"")
    parts = [data.get(name, {}) for name in ("key", "values", "old_key")]
    if not all(isinstance(part, dict) for part in parts):
        raise EventUnreadable("key, values and old_key of an event must be objects")
    members = {**parts[0], **parts[1]}
    if not shape.key and op is not Op.INSERT:
        raise MessageLacksKey(f"{shape.dataset} has no key: its rows can be added only", dataset=shape.dataset)
    key = _key(members, shape) if shape.key else b""
    if op is Op.DELETE:
        return Change(shape, op, key)
    values = tuple(_field(members, shape, at) for at in range(len(shape.columns)))
    if op is Op.INSERT:
        return Change(shape, op, key, _with_nulls(values))
    old_key = _key({**members, **parts[2]}, shape) if parts[2] else key
    return Change(shape, op, key, values, None if old_key == key else old_key)


def read_delete(key: Mapping[str, Any], shape: Shape) -> Change:
    """The deletion of the record with this key; raises MessageLacksKey and FieldUnreadable."""
    if not shape.key:
        raise MessageLacksKey(f"{shape.dataset} has no key: its rows can be added only", dataset=shape.dataset)
    return Change(shape, Op.DELETE, _key(key, shape))


def read_members(members: Mapping[str, Any], shape: Shape, *, strict: bool = True) -> Change:
    """A record as an insert; fields it lacks are unchanged where the row is there. Raises a MessageUnreadable.

    Where it is not strict, a value that has no form in its column is handed on as JSON, for the target to refuse.
    """
    values = tuple(_field(members, shape, at, strict=strict) for at in range(len(shape.columns)))
    return Change(shape, Op.INSERT, _key(members, shape) if strict else shape.key_of(values), values)


def find(members: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """A field by its name, or by a dotted path into objects; beneath null all is null."""
    if name in members:
        return members[name]
    here: Any = members
    for part in name.split("."):
        if here is None:
            return None
        if not isinstance(here, dict) or part not in here:
            return default
        here = here[part]
    return here


def to_field(value: Any, kind: str) -> bytes:
    """A parsed JSON value in the text form of a type, framed; raises ValueError that says why there is none."""
    if value is None:
        return NULL
    if kind in _JSON or (isinstance(value, dict | list) and kind in _TEXT):
        text = write(value)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str):
        text = value
    elif isinstance(value, list) and kind.endswith("[]"):
        text = _array(value, kind.removesuffix("[]"))
    else:
        raise ValueError(f"an {'object' if isinstance(value, dict) else 'array'} has no form as {kind}")
    if "\0" in text:
        raise ValueError("PostgreSQL's text cannot hold the character U+0000")
    return frame(text.encode())


def whole_record(record: Any) -> bytes:
    """A parsed record as jsonb keeps it: U+0000 and halves of surrogate pairs, which it refuses, become others."""
    text = write(record)
    if "\\u0000" in text:
        text = _ESCAPE.sub(lambda found: found[0] if found[0] == "\\\\" else "\\ufffd", text)
    return text.encode(errors="replace")


def _array(values: Sequence[Any], kind: str) -> str:
    return "{" + ",".join(_element(value, kind) for value in values) + "}"


def _element(value: Any, kind: str) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return _array(value, kind)
    text = value if isinstance(value, str) and kind not in _JSON else write(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _join(members: Mapping[str, Any], shape: Shape, beside: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if not beside:
        return members
    names = [shape.columns[at].name for at in shape.key]
    lacking = [name for name in names if name in beside and find(members, name, _MISSING) is _MISSING]
    return {**members, **{name: beside[name] for name in lacking}}


def _parse(body: bytes) -> Any:
    try:
        return parse(body)
    except TooDeep as error:
        raise MessageTooDeep(f"the message is not read: {error}") from error
    except UnicodeDecodeError as error:
        raise MessageNotJson(f"the message is not UTF-8: {error.reason} at byte {error.start}") from error
    except ValueError as error:
        raise MessageNotJson(f"the message is not JSON: {error}") from error


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MessageNotAnObject("the message, or the data of its CloudEvent, is not a JSON object")
    return value


def _with_nulls(values: tuple[Field, ...]) -> tuple[Field, ...]:
    return tuple(NULL if value is UNCHANGED else value for value in values)


def _field(members: Mapping[str, Any], shape: Shape, at: int, *, strict: bool = True) -> Field:
    column = shape.columns[at]
    if column.name == RECORD:
        return frame(whole_record(members.get(RECORD, members)))
    value = find(members, column.name, _MISSING)
    if value is _MISSING:
        return UNCHANGED
    if at in shape.key and isinstance(value, str):
        value = canonical(value, column.type)
    try:
        return to_field(value, column.type)
    except UnicodeEncodeError:
        reason = "it has half of a surrogate pair"
    except ValueError as error:
        reason = str(error)
    if not strict:
        return frame(write(value).encode("utf-8", "backslashreplace"))
    raise FieldUnreadable(f"field {column.name}: {reason}", dataset=shape.dataset, field=column.name)


def _key(members: Mapping[str, Any], shape: Shape) -> bytes:
    fields = [_field(members, shape, at) for at in shape.key]
    for at, field in zip(shape.key, fields, strict=True):
        if field is UNCHANGED or field == NULL:
            name = shape.columns[at].name
            raise MessageLacksKey(f"the message has no {name}, a field of the key", dataset=shape.dataset, field=name)
    return b"".join(field for field in fields if field is not None)

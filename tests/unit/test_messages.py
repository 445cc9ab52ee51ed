"""Messages that come in: what is read of them, and what is said of those that cannot be read."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.common import messages, strict_json
from nms.common.change import NULL, UNCHANGED, Change, Column, Op, Shape, frame, unframe
from nms.common.cloudevents import EventWriter
from nms.common.flow import Batch, Part
from nms.common.key_text import canonical
from nms.common.messages import MessageUnreadable, read_message

SHAPE = Shape(
    "items",
    (Column("id", "bigint"), Column("name", "text"), Column("price", "numeric"), Column("extra", "jsonb"),
     Column("ok", "boolean"), Column("address.city", "text"), Column("tags", "text[]")),
    (0,),
)  # fmt: skip


def read(message: Any, shape: Shape = SHAPE) -> Change:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    [change] = read_message(body, shape)
    return change


def shown(change: Change) -> dict[str, Any]:
    pairs = zip(change.shape.columns, change.values, strict=True)
    texts = {column.name: unframe(field) for column, field in pairs if field is not UNCHANGED}
    return {name: None if text is None else text.decode() for name, text in texts.items()}


def test_a_plain_object_is_an_update_of_the_fields_it_has() -> None:
    change = read({"id": 1, "name": "a", "price": None, "other": []})
    assert (change.op, change.key, change.partial) == (Op.UPDATE, frame(b"1"), True)
    assert shown(change) == {"id": "1", "name": "a", "price": None}


def test_values_become_text_as_they_were_written() -> None:
    body = b'{"id": 9007199254740993, "price": 1.10e2, "ok": true, "name": {"a": [1.0, "\\u00fc"]}, "extra": "x"}'
    assert shown(read(body)) == {
        "id": "9007199254740993", "price": "1.10e2", "ok": "true", "name": '{"a":[1.0,"ü"]}', "extra": '"x"',
    }  # fmt: skip


def test_a_dotted_name_is_a_path_unless_it_is_a_name() -> None:
    assert shown(read({"id": 1, "address": {"city": "Ulm"}}))["address.city"] == "Ulm"
    assert shown(read({"id": 1, "address.city": "Ulm", "address": {}}))["address.city"] == "Ulm"
    assert shown(read({"id": 1, "address": None}))["address.city"] is None
    assert "address.city" not in shown(read({"id": 1, "address": {}}))


def test_an_array_goes_into_a_column_of_arrays() -> None:
    assert shown(read({"id": 1, "tags": ["a", None, 'say "\\"', 2]}))["tags"] == '{"a",null,"say \\"\\\\\\"","2"}'


def test_the_data_of_a_foreign_cloudevent_are_read() -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/x", "type": "order.created", "data": {"id": 4, "name": "d"}}
    assert shown(read(event)) == {"id": "4", "name": "d"}


def test_without_a_key_every_message_is_a_row() -> None:
    change = read({"name": "a"}, Shape("items", SHAPE.columns[1:3], ()))
    assert (change.op, change.values) == (Op.INSERT, (frame(b"a"), NULL))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"hello", "message-not-json"),
        (b"", "message-not-json"),
        (b'{"id": 1', "message-not-json"),
        (b'{"id": NaN}', "message-not-json"),
        (b'{"id": 1, "id": 2}', "message-not-json"),
        (b'{"id": 1, "name": "\xff"}', "message-not-json"),
        (b'\xef\xbb\xbf{"id": 1}', "message-not-json"),
        (b"[" * 200 + b"]" * 200, "message-too-deep"),
        (b"[" * 100_000, "message-too-deep"),
        (b'[{"id": 1}]', "message-not-an-object"),
        (b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": "x"}', "message-not-an-object"),
        (b'{"name": "a"}', "message-lacks-key"),
        (b'{"id": null}', "message-lacks-key"),
        (b'{"id": {}}', "field-unreadable"),
        (b'{"id": 1, "price": []}', "field-unreadable"),
        (b'{"id": 1, "name": "a\\u0000b"}', "field-unreadable"),
        (b'{"id": 1, "name": "\\ud800"}', "field-unreadable"),
        (b'{"specversion": "1.0", "id": "1", "source": "s", "type": "nms.change.x", "data": {}}', "event-unreadable"),
    ],
)
def test_what_cannot_be_read_has_a_name(body: bytes, code: str) -> None:
    with pytest.raises(MessageUnreadable) as caught:
        read(body)
    assert caught.value.code == code


def test_brackets_in_strings_do_not_count_as_depth() -> None:
    assert shown(read({"id": 1, "name": "[{" * 500}))["name"] == "[{" * 500


def test_a_huge_message_is_not_even_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "parse", None)
    with pytest.raises(messages.MessageTooLarge):
        read_message(b"x" * 101, SHAPE, limit=100)


@pytest.mark.parametrize(
    ("kind", "spellings"),
    [
        ("bigint", ("7", "07", "7.0", "+7", "7e0", " 7 ")),
        ("numeric", ("1.5", "1.50", "15e-1")),
        ("numeric", ("0", "-0", "0.00")),
        ("uuid", ("0F3B7A44-0c5e-4b0e-8a53-111111111111", "{0f3b7a440c5e4b0e8a53111111111111}")),
        ("boolean", ("t", "TRUE", "true")),
        ("bpchar", ("a", "a  ")),
        ("date", ("2024-01-02", "20240102")),
        ("timestamp without time zone", ("2024-01-02 03:04:05", "2024-01-02T03:04:05.000", "2024-01-02T03:04:05Z")),
        ("timestamp with time zone", ("2024-01-02 03:04:05+00", "2024-01-02T05:04:05+02:00", "2024-01-02T03:04:05Z")),
    ],
)
def test_a_key_has_one_spelling(kind: str, spellings: tuple[str, ...]) -> None:
    assert len({canonical(text, kind) for text in spellings}) == 1


@pytest.mark.parametrize("kind", ["bigint", "uuid", "date", "timestamp with time zone", "numeric", "text"])
@pytest.mark.parametrize("text", ["x", "", "1_0", "1e99999999", "2024-01-02 03:04:05.1234567+00", "٣"])
def test_what_has_no_known_spelling_stays_as_it_is(kind: str, text: str) -> None:
    assert canonical(text, kind) == text


# What is sent is read as the change it was.

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
json_texts = st.recursive(
    st.booleans() | st.integers() | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=5
).map(json.dumps)
keys = st.integers().map(lambda number: frame(str(number).encode()))
rows = st.tuples(
    st.none() | texts,
    st.none() | st.decimals(allow_nan=False, allow_infinity=False).map(lambda number: format(number, "f")),
    st.none() | json_texts,
    st.none() | st.sampled_from(["true", "false"]),
    st.none() | texts,
    st.none() | st.just('{"a","b"}'),
).map(lambda values: tuple(frame(None if text is None else text.encode()) for text in values))


@st.composite
def changes(draw: st.DrawFn) -> Change:
    op, key = draw(st.sampled_from(Op)), draw(keys)
    if op is Op.TRUNCATE:
        return Change(SHAPE, op, b"")
    if op is Op.DELETE:
        return Change(SHAPE, op, key)
    values: tuple[bytes | None, ...] = (key, *draw(rows))
    if op is Op.UPDATE:
        values = (key, *(draw(st.sampled_from([field, UNCHANGED])) for field in values[1:]))
    moved = draw(keys) if op is Op.UPDATE else key
    return Change(SHAPE, op, key, values, None if moved == key else moved)


async def sent(change: Change) -> bytes:
    async def parts() -> AsyncIterator[Part]:
        yield [change]

    batch = Batch({"generation": 1}, parts, 1, small=[change], origin=1)
    [event] = [one async for part in EventWriter("shop", "items").events(batch) for one in part]
    return event.body


@given(changes())
async def test_what_is_sent_is_read_as_the_change_it_was(change: Change) -> None:
    got = read(await sent(change))
    assert (got.op, got.key, got.old_key) == (change.op, change.key, change.old_key)
    assert len(got.values) == len(change.values)
    for column, was, now in zip(SHAPE.columns, change.values, got.values, strict=False):
        assert meaning(column, was) == meaning(column, now), column.name


def meaning(column: Column, field: bytes | None) -> Any:
    text = None if field is None else unframe(field)
    return (field is None, json.loads(text) if text is not None and column.type == "jsonb" else text)


@given(st.recursive(st.none() | st.booleans() | texts, lambda one: st.lists(one) | st.dictionaries(texts, one)))
def test_a_parsed_value_is_written_as_the_same_value(value: Any) -> None:
    assert json.loads(strict_json.write(strict_json.parse(json.dumps(value).encode()))) == value


@pytest.mark.parametrize("tail", [b'\\"', b'\\\\\\"', b'"'], ids=["escaped", "twice", "bare"])
def test_a_string_without_an_end_is_refused_in_no_time(tail: bytes) -> None:
    started = time.process_time()
    with pytest.raises(MessageUnreadable) as refused:
        read(b'"' + b"[]" * 101 + tail * 20_000 + b"\\")
    assert refused.value.code == "message-not-json"
    assert time.process_time() - started < 2

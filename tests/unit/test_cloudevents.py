"""Events that go out: their form, and ids that tell every change apart and stay what they are."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from nms.common.change import NULL, Change, Column, Op, Shape, frame
from nms.common.cloudevents import Event, EventUnwritable, EventWriter
from nms.common.flow import Batch, ChangeRefused, Load, Part, Sifted
from nms.common.rows import write_rows
from nms.sync.changes import parts_of, replay_of

SHAPE = Shape(
    "public.item",
    (Column("id", "bigint"), Column("name", "text"), Column("price", "numeric"), Column("ok", "boolean"),
     Column("extra", "jsonb")),
    (0,),
)  # fmt: skip
KEYLESS = Shape("public.note", (Column("text", "text"),), ())


def row(*texts: str | None) -> tuple[bytes, ...]:
    return tuple(frame(None if text is None else text.encode()) for text in texts)


def update(number: int = 1, name: str | None = "a") -> Change:
    values = row(str(number), name, "1.50", "t", '{"a": 1}')
    return Change(SHAPE, Op.UPDATE, values[0], values)


def batch_of(*changes: Change, **parts: Any) -> Batch:
    async def again() -> AsyncIterator[Part]:
        yield changes

    return Batch({"generation": 1, "lsn": "0/20"}, again, len(changes), small=changes, place=32, **parts)


def load_of(*rows: tuple[bytes, ...], shape: Shape = SHAPE, generation: int = 1) -> Batch:
    class Rows(list[bytes]):
        def discard(self) -> None:
            """Nothing is kept."""

    batch = batch_of()
    batch.load = Load(shape, Rows(write_rows(rows)), len(rows))
    return replace(batch, position={"generation": generation}, small=())


async def events_of(batch: Batch, **options: Any) -> list[Event]:
    writer = EventWriter("shop", "items", **options)
    return [event async for part in writer.events(batch) for event in part]


async def ids_of(batch: Batch) -> list[str]:
    return [event.id for event in await events_of(batch)]


async def only(change: Change, **options: Any) -> dict[str, Any]:
    [event] = await events_of(batch_of(change, origin=16, committed=1_700_000_000.25), **options)
    answer: dict[str, Any] = json.loads(event.body)
    return answer


async def test_an_update_is_a_cloudevent_with_typed_values() -> None:
    event = await only(update())
    assert len(event.pop("id")) == 32
    assert event == {
        "specversion": "1.0",
        "source": "/nms/shop/public.item",
        "type": "nms.change.update",
        "subject": "1",
        "time": "2023-11-14T22:13:20.250000Z",
        "datacontenttype": "application/json",
        "sequence": "0000000000000010/00000001",
        "nmspipeline": "items",
        "data": {
            "op": "update",
            "dataset": "public.item",
            "key": {"id": 1},
            "values": {"id": 1, "name": "a", "price": 1.5, "ok": True, "extra": {"a": 1}},
        },
    }


async def test_numbers_and_json_keep_every_character() -> None:
    values = row("9007199254740993", 'say "ü"\n', "1.10", None, '{"b":  1.00, "b2": []}')
    [event] = await events_of(batch_of(Change(SHAPE, Op.INSERT, values[0], values)))
    text = event.body.decode()
    assert '"values":{"id":9007199254740993,"name":"say \\"ü\\"\\n","price":1.10,"ok":null,"extra":{"b":  1.00' in text


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
async def test_what_is_no_json_number_is_a_string(value: str) -> None:
    change = update()
    change.values = (*change.values[:2], frame(value.encode()), *change.values[3:])
    assert (await only(change))["data"]["values"]["price"] == value


async def test_unchanged_values_are_left_out_and_null_ones_are_not() -> None:
    change = Change(SHAPE, Op.UPDATE, frame(b"1"), (frame(b"1"), NULL, None, None, None))
    assert (await only(change))["data"]["values"] == {"id": 1, "name": None}


async def test_a_move_has_the_old_key() -> None:
    change = update(2)
    change.old_key = frame(b"1")
    data = (await only(change))["data"]
    assert (data["old_key"], data["key"]) == ({"id": 1}, {"id": 2})


async def test_a_delete_has_its_key_alone() -> None:
    data = (await only(Change(SHAPE, Op.DELETE, frame(b"7"))))["data"]
    assert data == {"op": "delete", "dataset": "public.item", "key": {"id": 7}}


async def test_a_truncate_has_neither_key_nor_subject() -> None:
    event = await only(Change(SHAPE, Op.TRUNCATE, b""))
    assert event["data"] == {"op": "truncate", "dataset": "public.item"}
    assert "subject" not in event


async def test_fields_have_the_names_of_the_pipeline() -> None:
    change = Change(SHAPE, Op.UPDATE, frame(b"1"), (frame(b"1"), frame(b"a"), NULL, None, None))
    data = (await only(change, names={"public.item": {"id": "number", "name": "title"}}))["data"]
    assert (data["key"], data["values"]) == ({"number": 1}, {"number": 1, "title": "a", "price": None})


async def test_a_value_that_is_no_text_is_refused_alone() -> None:
    bad = Change(SHAPE, Op.UPDATE, frame(b"1"), (frame(b"1"), frame(b"\xff"), None, None, None))
    with pytest.raises(ChangeRefused) as caught:
        await events_of(batch_of(update(), bad))
    assert caught.value.change is bad
    assert isinstance(caught.value.problem, EventUnwritable)


async def test_ids_do_not_depend_on_how_transactions_are_merged() -> None:
    changes = [update(1), update(2), update(1, "b")]
    apart = await ids_of(batch_of(*changes[:2], origin=16)) + await ids_of(batch_of(changes[2], origin=24))
    merged = await ids_of(batch_of(*changes, ends=((2, 16), (1, 24))))
    assert apart == merged
    assert len(set(merged)) == 3


async def test_events_do_not_depend_on_how_transactions_are_merged() -> None:
    changes = [update(1), update(2), update(3)]
    merged = await events_of(batch_of(*changes, ends=((2, 16), (1, 24)), times=(8.5, 9.5), committed=9.5))
    first = await events_of(batch_of(*changes[:2], ends=((2, 16),), committed=8.5))
    second = await events_of(batch_of(changes[2], ends=((1, 24),), committed=9.5))
    assert [event.body for event in merged] == [event.body for event in [*first, *second]]


async def test_the_same_change_twice_in_a_transaction_has_two_ids() -> None:
    ids = await ids_of(batch_of(update(1, "a"), update(1, "b"), update(1, "a"), origin=16))
    assert len(set(ids)) == 3


async def test_the_same_place_with_other_content_has_another_id() -> None:
    assert await ids_of(batch_of(update(1, "a"), origin=16)) != await ids_of(batch_of(update(1, "b"), origin=16))


async def test_null_and_unchanged_have_two_ids() -> None:
    base = (frame(b"1"), None, None, None, None)
    null = Change(SHAPE, Op.UPDATE, frame(b"1"), (frame(b"1"), NULL, None, None, None))
    unchanged = Change(SHAPE, Op.UPDATE, frame(b"1"), base)
    assert await ids_of(batch_of(null, origin=16)) != await ids_of(batch_of(unchanged, origin=16))


async def test_a_row_that_is_copied_again_has_its_id_and_a_newer_one_another() -> None:
    first, second = row("1", "a", "1", "t", "{}"), row("2", "b", "1", "t", "{}")
    ids = await ids_of(load_of(first, second))
    assert await ids_of(load_of(second)) == ids[1:]
    assert await ids_of(load_of(row("2", "c", "1", "t", "{}"))) != ids[1:]
    assert await ids_of(load_of(second, generation=2)) != ids[1:]


async def test_a_chunk_that_was_taken_apart_has_the_ids_of_its_rows() -> None:
    rows = [row("1", "a", "1", "t", "{}"), row("2", "b", "1", "t", "{}")]
    inserts = [Change(SHAPE, Op.INSERT, values[0], values) for values in rows]
    apart = replace(batch_of(*inserts, ends=((0, 16),)), position={"generation": 1}, small=None)
    assert await ids_of(apart) == await ids_of(load_of(*rows))


async def test_equal_rows_without_a_key_have_two_ids() -> None:
    assert len(set(await ids_of(load_of(row("a"), row("a"), shape=KEYLESS)))) == 2


async def test_a_replay_is_told_apart_by_what_is_held() -> None:
    async def replay(*held: int) -> list[str]:
        read = [(one, [update(1, "a")] * 2) for one in held]
        return await ids_of(replay_of({"generation": 1, "replayed": list(held)}, read))

    assert len(set(await replay(4, 5))) == 4
    assert await replay(5) == (await replay(4, 5))[2:]


async def test_sequences_grow_with_the_log() -> None:
    batch = batch_of(update(1), update(2), update(3), ends=((2, 0xFFFF), (1, 0x10000)))
    sequences = [json.loads(event.body)["sequence"] for event in await events_of(batch)]
    assert sequences == sorted(sequences)
    assert len(set(sequences)) == 3


@pytest.mark.parametrize("way", ["small", "streamed", "chunk"])
async def test_a_held_change_moves_no_id_of_those_behind_it(way: str) -> None:
    whole = [update(number, str(number)) for number in range(4)]
    if way == "chunk":
        whole = [Change(KEYLESS, Op.INSERT, b"", row(text)) for text in "abca"]
    left = Sifted(whole)
    left += [whole[0], whole[3]]

    def batch(part: Part) -> Batch:
        made = batch_of(ends=[(1, 8), (3, 16)], times=[1.0, 2.0])
        if way == "streamed":
            made = replace(made, ends=(), times=(), origin=16)
        return replace(made, parts=lambda: parts_of(part), small=part if way == "small" else None)

    events = await events_of(batch(whole))
    assert [one.body for one in await events_of(batch(left))] == [events[0].body, events[3].body]

"""Transactions come out whole and in commit order, however the server interleaved, streamed or aborted their parts."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.common.change import Change, Column, Shape
from nms.connectors.postgres import transactions
from nms.connectors.postgres.pgoutput import Decoder, Layout
from nms.connectors.postgres.problems import StreamUnreadable
from nms.connectors.postgres.spool import SpoolSpace
from nms.connectors.postgres.transactions import Assembler, Feed, Large, Small
from tests.unit import pgoutput_bytes as wire
from tests.unit.pgoutput_bytes import INT4, TEXT

OID = 5
SHAPE = Shape("public.t", (Column("id", "int", INT4), Column("a", "text", TEXT)), (0,))


@dataclass
class Planned:
    """A transaction of the source: its parts (a subtransaction and rows), which of them were rolled back, its end."""

    xid: int
    streamed: bool
    aborted: bool
    parts: list[tuple[int, list[bytes]]] = field(default_factory=list)
    undone: set[int] = field(default_factory=set)

    def rows(self) -> list[bytes]:
        """What is left of it."""
        return [] if self.aborted else [row for sub, rows in self.parts if sub not in self.undone for row in rows]


@st.composite
def plans(draw: st.DrawFn) -> list[Planned]:
    """Some transactions; each row is unique, so that lost and doubled ones are seen."""
    made, number = [], 0
    for at in range(draw(st.integers(1, 5))):
        streamed = draw(st.booleans())
        one = Planned(100 * (at + 1), streamed, streamed and draw(st.booleans()))
        for part in range(draw(st.integers(1, 4))):
            count = draw(st.integers(0, 4))
            rows = [f"row {number + extra}".encode().ljust(40) for extra in range(count)]
            number += count
            sub = one.xid + (part if streamed and draw(st.booleans()) else 0)
            one.parts.append((sub, rows))
        subs = sorted({sub for sub, _ in one.parts if sub != one.xid})
        one.undone = set(draw(st.lists(st.sampled_from(subs)))) if subs else set()
        made.append(one)
    return made


def payloads_of(one: Planned, lsn: int) -> Iterator[list[bytes]]:
    """The pieces in which the server sends a transaction; other transactions may stand between them."""
    if not one.streamed:
        yield [
            wire.begin(one.xid, lsn),
            *(wire.insert(OID, [row, b"x"]) for _, rows in one.parts for row in rows),
            wire.commit(lsn),
        ]
        return
    for at, (sub, rows) in enumerate(one.parts):
        yield [
            wire.stream_start(one.xid, first=at == 0),
            *(wire.insert(OID, [row, b"x"], sub) for row in rows),
            wire.stream_stop(),
        ]
    for sub in sorted(one.undone):
        yield [wire.stream_abort(one.xid, sub)]
    yield [wire.stream_abort(one.xid, one.xid) if one.aborted else wire.stream_commit(one.xid, lsn)]


def assemble(space: SpoolSpace) -> tuple[Assembler, Feed, list[int]]:
    """An assembler of the table t with the feed it fills and the ends it tells."""
    ends: list[int] = []
    feed = Feed(1 << 20, space)
    decoder = Decoder(lambda relation: Layout(SHAPE, (0, 1), straight=True))
    decoder.learn(wire.relation(OID, "t", [("id", INT4), ("a", TEXT)]))
    return Assembler(decoder, feed, space, ends.append), feed, ends


async def rows_of(item: Small | Large) -> list[bytes]:
    """The first value of each change of a transaction, as its taker reads them."""
    if isinstance(item, Small):
        return [change.values[0][4:] for change in item.changes if change.values[0] is not None]
    assert item.decoder is not None
    decoder = item.decoder.fork()
    changes: list[Change] = []
    async for payloads in item.spool.read():
        for payload in payloads:
            if not (item.streamed and int.from_bytes(payload[1:5], "big") in item.aborted):
                decoder.decode(payload, changes, streamed=item.streamed)
    return [change.values[0][4:] for change in changes if change.values[0] is not None]


@given(planned=plans(), order=st.randoms(use_true_random=False), large=st.sampled_from([60, 1 << 20]))
def test_what_was_committed_comes_out_whole_and_in_commit_order(
    planned: list[Planned], order: random.Random, large: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    space = SpoolSpace(tmp_path_factory.getbasetemp() / "assembled", 1 << 30)
    assembler, feed, ends = assemble(space)
    pieces = {one.xid: list(payloads_of(one, one.xid * 1000)) for one in planned}
    committed: list[Planned] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transactions, "LARGE_BYTES", large)
        while pieces:
            xid = order.choice(sorted(pieces))
            for payload in pieces[xid].pop(0):
                assembler.feed(payload)
            if not pieces[xid]:
                del pieces[xid]
                one = next(one for one in planned if one.xid == xid)
                committed += [] if one.aborted else [one]

    async def check() -> None:
        for one in committed:
            item = feed.take()
            assert item.xid == one.xid
            assert item.end == one.xid * 1000 + 8
            assert await rows_of(item) == one.rows()
            if isinstance(item, Large):
                item.spool.discard()
        assert feed.peek() is None

    asyncio.run(check())
    assert ends == [one.xid * 1000 + 8 for one in committed]
    assert space.used == 0


async def test_a_large_transaction_is_handed_over_while_it_still_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "LARGE_BYTES", 50)
    assembler, feed, ends = assemble(SpoolSpace(tmp_path, 1 << 20))
    assembler.feed(wire.begin(1, 1000))
    assembler.feed(wire.insert(OID, [b"1" * 60, b"x"]))
    item = feed.take()
    reading = asyncio.create_task(rows_of(item))
    assembler.feed(wire.insert(OID, [b"2", b"x"]))
    assert (ends, assembler.open) == ([], True)
    assembler.feed(wire.commit(1000))
    assert await reading == [b"1" * 60, b"2"]
    assert (ends, assembler.open) == ([1008], False)


async def test_a_large_transaction_keeps_its_place_while_its_end_becomes_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "LARGE_BYTES", 0)
    assembler, feed, _ = assemble(SpoolSpace(tmp_path, 1 << 20))
    assembler.feed(wire.begin(1, 1000))
    assembler.feed(wire.insert(OID, [b"1", b"x"]))
    item = feed.take()
    assert isinstance(item, Large)
    before = item.place
    assembler.feed(wire.commit(1000))
    assert 1000 < before == item.place <= item.end


async def test_a_reader_waits_while_the_line_is_long(tmp_path: Path) -> None:
    feed = Feed(100, SpoolSpace(tmp_path, 1 << 20))
    feed.put(Small(1, 1, 0.0, [], 200, []))
    waiting = asyncio.create_task(feed.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    feed.take()
    await asyncio.wait_for(waiting, 60)


async def test_marks_come_out_with_their_transaction(tmp_path: Path) -> None:
    assembler, feed, _ = assemble(SpoolSpace(tmp_path, 1 << 20))
    mark = [wire.begin(1, 10), wire.message("nms.low", b"x:1:t"), wire.commit(10)]
    for payload in [*mark, wire.begin(2, 30), wire.commit(30)]:
        assembler.feed(payload)
    first, second = feed.take(), feed.take()
    assert isinstance(first, Small)
    assert isinstance(second, Small)
    assert [(one.prefix, one.content) for one in first.messages] == [("nms.low", b"x:1:t")]
    assert second.messages == []


ROW = wire.insert(OID, [b"1", b"x"])
DISORDERS = {
    "nothing at all": [b""],
    "a change outside of a transaction": [ROW],
    "a change behind a commit": [wire.begin(1, 10), wire.commit(10), ROW],
    "a commit of nothing": [wire.commit(10)],
    "a commit of another transaction": [wire.begin(1, 10), wire.commit(11)],
    "a transaction within one": [wire.begin(1, 10), wire.begin(2, 20)],
    "a change of an unknown table": [wire.begin(1, 10), wire.insert(OID + 1, [b"1", b"x"]), wire.commit(10)],
    "a stop without a start": [wire.stream_stop()],
    "a start within a part": [wire.stream_start(1, first=True), wire.stream_start(2, first=True)],
    "a commit within a part": [wire.stream_start(1, first=True), wire.stream_commit(1, 10)],
    "a part of what never began": [wire.stream_start(1, first=False)],
    "a beginning twice": [wire.stream_start(1, first=True), wire.stream_stop(), wire.stream_start(1, first=True)],
    "a part within a transaction": [wire.begin(1, 10), wire.stream_start(1, first=True)],
    "a commit of an unknown streamed transaction": [wire.stream_commit(7, 10)],
    "a kind that nobody knows": [wire.begin(1, 10), b"?"],
    "a message cut off": [wire.begin(1, 10)[:-1]],
}


@pytest.mark.parametrize("payloads", DISORDERS.values(), ids=DISORDERS)
async def test_what_no_server_sends_is_refused_by_name(payloads: list[bytes], tmp_path: Path) -> None:
    assembler, _, _ = assemble(SpoolSpace(tmp_path, 1 << 20))
    for payload in payloads[:-1]:
        assembler.feed(payload)
    with pytest.raises(StreamUnreadable):
        assembler.feed(payloads[-1])
    assembler.close()


async def test_messages_of_others_are_not_kept(tmp_path: Path) -> None:
    assembler, feed, _ = assemble(SpoolSpace(tmp_path, 1 << 20))
    assembler.feed(wire.message("app", b"outside of a transaction"))
    for payload in [wire.begin(1, 10), wire.message("app", b"x" * 1000), wire.message("nms.low", b""), wire.commit(10)]:
        assembler.feed(payload)
    item = feed.take()
    assert isinstance(item, Small)
    assert [one.prefix for one in item.messages] == ["nms.low"]


def test_what_a_pipeline_wrote_itself_is_passed_over_by_its_own_reader_alone(tmp_path: Path) -> None:
    assembler, feed, ends = assemble(SpoolSpace(tmp_path, 1 << 20))
    assembler.own = b"ours"
    for number, origin in enumerate((b"ours", b"theirs", b"ours2", None), 1):
        told = [] if origin is None else [wire.message("nms.origin", origin)]
        for payload in [
            wire.begin(number, number * 1000),
            *told,
            wire.insert(OID, [b"1", b"x"]),
            wire.commit(number * 1000),
        ]:
            assembler.feed(payload)
    items = [feed.take() for _ in range(4)]
    assert [len(item.changes) for item in items if isinstance(item, Small)] == [0, 1, 1, 1]
    # Where it ends is told all the same, or the slot would stay behind it.
    assert ends == [1008, 2008, 3008, 4008]

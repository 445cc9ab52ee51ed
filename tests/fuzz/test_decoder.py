"""What no server sends is refused by one named problem, quickly and in little memory: bytes as well as their order."""

import asyncio
import json
import random
import resource
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from nms.common.change import NULL, Change, Column, Shape
from nms.connectors.postgres import pgoutput, transactions
from nms.connectors.postgres.pgoutput import Decoder, Layout, Relation
from nms.connectors.postgres.problems import SchemaChanged, StreamUnreadable
from nms.connectors.postgres.spool import SpoolSpace
from nms.connectors.postgres.transactions import Assembler, Feed, Large
from tests.fuzz.extent import Extent
from tests.fuzz.mutation import disorder, mutate

PAYLOADS = Path(__file__).with_name("payloads.json")
KEYS = {"a": ("id",), "b": ("x", "y"), "c": ("id",), "d": ("id",)}
DATA = frozenset(b"RIUDT")
MEMORY = 96 << 20
LONGEST = 1.0


@dataclass
class Story:
    """Payloads that begin and end where no transaction is under way, and the relations told before them."""

    known: list[bytes]
    payloads: list[bytes]
    streams: bool


def read_stories() -> list[Story]:
    """Every captured session, cut into stories."""
    return [
        story
        for session in json.loads(PAYLOADS.read_text())
        for story in cut([bytes.fromhex(one) for one in session["payloads"]])
    ]


def cut(payloads: list[bytes]) -> Iterator[Story]:
    """The stories of a session, each of at least eight payloads; long ones only once."""
    known: list[bytes] = []
    story = Story([], [], streams=False)
    under_way: set[bytes] = set()
    within = False
    for payload in payloads:
        story.payloads.append(payload)
        kind = payload[:1]
        if kind == b"R":
            known.append(payload[:1] + payload[5:] if within else payload)
        if kind == b"S":
            story.streams = within = True
            under_way.add(payload[1:5])
        elif kind == b"E":
            within = False
        elif kind in b"BCcA":
            (under_way.add if kind == b"B" else under_way.discard)(b"B" if kind in b"BC" else payload[1:5])
            if kind == b"A" and payload[1:5] != payload[5:9]:
                under_way.add(payload[1:5])
        if not under_way and len(story.payloads) >= 8:
            yield story
            story = Story(list(known), [], streams=False)


def layout(relation: Relation) -> Layout | None:
    """As a pipeline reads the captured tables: `d` is left out, the keys are always there."""
    key = KEYS.get(relation.name)
    if key is None or relation.name == "d":
        return None
    names = [one.name for one in relation.columns]
    if not set(key) <= set(names):
        raise SchemaChanged("a column of the key is gone")
    columns = tuple(Column(one.name, "", one.oid) for one in relation.columns if one.name != "w")
    picks = tuple(names.index(column.name) for column in columns)
    places = tuple(next(at for at, column in enumerate(columns) if column.name == one) for one in key)
    return Layout(Shape(f"public.{relation.name}", columns, places), picks, picks == tuple(range(len(names))))


def decoder_of(story: Story) -> Decoder:
    """A decoder that knows what the session has told before the story."""
    decoder = Decoder(layout)
    for payload in story.known:
        decoder.learn(payload)
    return decoder


def check_values(changes: list[Change], payload: bytes) -> None:
    """Fail unless every value is a whole frame, and all of them together are no more than was sent."""
    values = [value for change in changes for value in change.values if value is not None and value != NULL]
    assert all(int.from_bytes(value[:4], "big") == len(value) - 4 for value in values)
    assert sum(len(value) for value in values) <= len(payload)


def is_refused(act: Callable[[], object]) -> bool:
    """Whether the one named problem, or that of a table that changed, is raised; any other error is the test's."""
    began = time.process_time()
    try:
        act()
    except (StreamUnreadable, SchemaChanged):
        return True
    finally:
        assert time.process_time() - began < LONGEST
    return False


def peak() -> int:
    """The most memory this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def feed_all(story: Story, payloads: list[bytes], space: SpoolSpace) -> list[Change]:
    """What comes out of payloads in this order."""
    changes: list[Change] = []
    feed = Feed(1 << 30, space)
    assembler = Assembler(decoder_of(story), feed, space, lambda end: None)
    try:
        for payload in payloads:
            assembler.feed(payload)
        asyncio.run(drain(feed, changes))
    finally:
        assembler.close()
        while feed.peek() is not None:
            item = feed.take()
            if isinstance(item, Large):
                item.spool.discard()
    return changes


async def drain(feed: Feed, changes: list[Change]) -> None:
    """Read every whole transaction of a feed."""
    while (item := feed.peek()) is not None:
        if not isinstance(item, Large):
            changes += item.changes
        elif item.spool.is_complete and item.decoder is not None:
            async for payloads in item.spool.read():
                for payload in payloads:
                    item.decoder.decode(payload, changes, streamed=item.streamed)
            item.spool.discard()
        feed.take()


def test_captured_stories_are_read_as_they_are(tmp_path: Path) -> None:
    stories = read_stories()
    space = SpoolSpace(tmp_path / "spool", 1 << 30)
    assert {story.streams for story in stories} == {True, False}
    for story in stories:
        feed_all(story, story.payloads, space)
    assert space.used == 0


def read_mutated(count: int, seed: int) -> int:
    """Decode mutated payloads, each behind its story's relations; gives how many were refused."""
    stories = read_stories()
    payloads = [(story, one) for story in stories for one in story.payloads if one[0] in DATA]
    others = [one for _, one in payloads]
    decoders = {id(story): decoder_of(story) for story in stories}
    for story, payload in payloads:
        if payload[0] == pgoutput.RELATION:
            decoders[id(story)].learn(payload, streamed=story.streams)
    rand = random.Random(seed)

    def read(story: Story, payload: bytes) -> None:
        changes: list[Change] = []
        decoders[id(story)].fork().decode(payload, changes, streamed=story.streams)
        check_values(changes, payload)

    refused = 0
    for _ in range(count):
        story, payload = rand.choice(payloads)
        refused += is_refused(partial(read, story, mutate(payload, others, rand)))
    return refused


@pytest.mark.fuzz
def test_mutated_payloads_are_read_or_refused(extent: Extent) -> None:
    count = extent.choose(20_000, 2_000_000)
    before = peak()
    with extent.telling(f"decoder: {count:,} mutated payloads"):
        refused = read_mutated(count, 1)
    assert 0.3 < refused / count < 0.999
    assert peak() - before < MEMORY


def test_a_decoder_that_names_no_problem_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgoutput, "MALFORMED", ())
    with pytest.raises((IndexError, KeyError, ValueError, struct.error)):
        read_mutated(2_000, 1)


def test_a_decoder_that_believes_a_lying_length_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgoutput, "_end", lambda payload, at: None)
    with pytest.raises(AssertionError):
        read_mutated(20_000, 1)


@pytest.mark.fuzz
def test_stories_out_of_order_are_read_or_refused(extent: Extent, tmp_path: Path) -> None:
    stories = [story for story in read_stories() if len(story.payloads) < 60]
    others = [payload for story in stories for payload in story.payloads]
    space = SpoolSpace(tmp_path / "spool", 64 << 20)
    rand = random.Random(2)
    count, refused = extent.choose(1_000, 100_000), 0
    before = peak()
    with extent.telling(f"assembler: {count:,} stories out of order"), pytest.MonkeyPatch.context() as patch:
        for _ in range(count):
            story = rand.choice(stories)
            patch.setattr(transactions, "LARGE_BYTES", rand.choice((0, 200, 1 << 22)))
            told = disorder(story.payloads, others, rand)
            refused += is_refused(partial(feed_all, story, told, space))
            assert space.used == 0
    assert 0.3 < refused / count < 0.999
    assert peak() - before < MEMORY

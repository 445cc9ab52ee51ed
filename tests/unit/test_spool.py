"""A spool gives every payload in order, any number of times, while it grows too, and gives its disk back."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.connectors.postgres import spool
from nms.connectors.postgres.problems import SpoolFull
from nms.connectors.postgres.spool import RowBuffer, Spool, SpoolSpace, split

sizes = st.lists(st.integers(0, 4000), max_size=60)


def payloads(lengths: list[int]) -> list[bytes]:
    return [bytes([at % 256]) * length for at, length in enumerate(lengths)]


async def read(made: Spool) -> list[bytes]:
    return [payload async for block in made.read() for payload in block]


@given(lengths=sizes, block=st.integers(1, 9000))
def test_what_was_put_in_comes_out_in_order_each_time(
    lengths: list[int], block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def check() -> None:
        space = SpoolSpace(tmp_path_factory.getbasetemp() / "spool", 1 << 30)
        made = Spool(space)
        follower = asyncio.create_task(read(made))
        for payload in payloads(lengths):
            made.append(payload)
            await asyncio.sleep(0)
        made.complete()
        assert await read(made) == payloads(lengths)
        assert await follower == payloads(lengths)
        made.discard()
        assert space.used == 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "_BLOCK", block)
        asyncio.run(check())


@given(sizes, st.integers(0, 100))
def test_a_cut_in_the_middle_of_a_payload_keeps_its_beginning(lengths: list[int], cut: int) -> None:
    data = b"".join(len(payload).to_bytes(4, "big") + payload for payload in payloads(lengths))
    whole, left = split(data[: len(data) * cut // 100])
    rest, end = split(left + data[len(data) * cut // 100 :])
    assert (whole + rest, end) == (payloads(lengths), b"")


def fill(made: Spool) -> None:
    for _ in range(100):
        made.append(bytes(50_000))


async def test_more_than_the_budget_is_a_named_problem_and_leaves_nothing(tmp_path: Path) -> None:
    space = SpoolSpace(tmp_path, 1 << 20)
    made = Spool(space)
    with pytest.raises(SpoolFull):
        fill(made)
    made.discard()
    assert space.used == 0
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "left").write_bytes(b"x")
    SpoolSpace(tmp_path, 1)
    assert list(tmp_path.iterdir()) == []


@given(lengths=sizes, limit=st.integers(1, 5000))
def test_rows_beyond_memory_are_the_same_from_disk(
    lengths: list[int], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    space = SpoolSpace(tmp_path_factory.getbasetemp() / "rows", 1 << 30)
    buffer = RowBuffer(space, limit)
    for payload in payloads(lengths):
        buffer.add(payload)
    expected = b"".join(payloads(lengths))
    assert b"".join(buffer) == expected
    assert b"".join(buffer) == expected
    assert buffer.size == len(expected)
    buffer.discard()
    assert space.used == 0

"""The merge of two ordered streams: what stands on one side only, however the lines are cut into blocks."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.connectors.postgres.compare.stream import Lines, merge, read_key

Line = tuple[int, str, int]
LINES = st.sets(st.tuples(st.integers(-5, 5), st.sampled_from("abcdef"), st.integers(0, 1)), max_size=40)


class Sent:
    """A connection whose COPY sends these lines, in blocks of these sizes."""

    def __init__(self, lines: Sequence[Line], sizes: Sequence[int]) -> None:
        ordered = sorted(lines, key=lambda line: line[0])
        self._data = "".join(f"{number}\t{key}\t{row}\n" for number, key, row in ordered).encode()
        self._sizes = sizes

    async def copy_from_query(self, *_: Any, output: Any, **__: Any) -> None:
        at = 0
        for size in [*self._sizes, len(self._data)]:
            await output(self._data[at : at + size])
            at += size


async def differ(left: Sent, right: Sent) -> tuple[set[bytes], set[bytes], int]:
    lines = (Lines(), Lines())
    found: tuple[set[bytes], set[bytes]] = (set(), set())
    async with asyncio.TaskGroup() as group:
        for one, sent in zip(lines, (left, right), strict=True):
            group.create_task(one.read(sent, "", ()))  # type: ignore[arg-type]
        async for apart in merge(*lines):
            # Of one number all must come at once, or a key would be taken for one that the other side lacks.
            assert not {line.split(b"\t")[0] for line in apart.left | apart.right} & {
                line.split(b"\t")[0] for line in found[0] | found[1]
            }
            found[0].update(apart.left)
            found[1].update(apart.right)
    return *found, lines[0].count + lines[1].count


@given(LINES, LINES, st.lists(st.integers(1, 60), max_size=8), st.lists(st.integers(1, 60), max_size=8))
def test_every_difference_is_found_and_nothing_else(
    left: set[Line], right: set[Line], cuts: list[int], others: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nms.connectors.postgres.compare.stream.BLOCK_BYTES", 24)
        ours, theirs, count = asyncio.run(differ(Sent(sorted(left), cuts), Sent(sorted(right), others)))
    assert ours == {f"{n}\t{k}\t{r}".encode() for n, k, r in left - right}
    assert theirs == {f"{n}\t{k}\t{r}".encode() for n, k, r in right - left}
    assert count == len(left) + len(right)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb"plain", b"plain"),
        (rb"a\tb\nc\rd\\e", b"a\tb\nc\rd\\e"),
        (rb"\\t", rb"\t"),
        (rb"\\\t", b"\\\t"),
        (rb"\\\\", rb"\\"),
        (rb"\b\f\v", b"\b\f\v"),
        (b"", b""),
        ("\N{SNOWMAN}\\n".encode(), "\N{SNOWMAN}\n".encode()),
    ],
)
def test_keys_are_read_as_copy_writes_them(written: bytes, read: bytes) -> None:
    assert read_key([written]) == (read,)

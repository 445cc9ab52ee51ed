"""COPY data is read as it was written, wherever the network cut it."""

from hypothesis import given
from hypothesis import strategies as st

from nms.common.change import frame
from nms.common.rows import read_rows, write_rows

fields = st.one_of(st.none(), st.binary(max_size=40)).map(frame)
tables = st.integers(0, 4).flatmap(lambda width: st.lists(st.tuples(*[fields] * width), max_size=8))


@given(tables, st.lists(st.integers(1, 30)))
def test_rows_are_read_as_they_were_written_wherever_they_are_cut(
    rows: list[tuple[bytes, ...]], cuts: list[int]
) -> None:
    data = b"".join(write_rows(rows))
    blocks = []
    for cut in cuts:
        blocks.append(data[:cut])
        data = data[cut:]
    assert list(read_rows([*blocks, data])) == rows

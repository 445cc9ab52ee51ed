"""Exports as Parquet: row groups of two megabytes as records come, the closing record in the footer.

Loaded where it is asked for: pyarrow takes 40 MB of memory.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow
from pyarrow.parquet import ParquetWriter, read_metadata

from nms.warehouse.format import Closing, Column, Compression, Digest

GROUP_BYTES: Final = 2 << 20
PAGE_BYTES: Final = 128 << 10
PREFIX: Final = "nms."
"""What the keys of the closing record begin with in the metadata of the file."""
_TYPES: Final[Mapping[str, Any]] = {
    "text": pyarrow.string(),
    "boolean": pyarrow.bool_(),
    "smallint": pyarrow.int16(),
    "integer": pyarrow.int32(),
    "bigint": pyarrow.int64(),
    "real": pyarrow.float32(),
    "double": pyarrow.float64(),
    "date": pyarrow.date32(),
    "timestamp": pyarrow.timestamp("us", tz="UTC"),
    "time": pyarrow.time64("us"),
    "uuid": pyarrow.string(),
    "json": pyarrow.string(),
}


class ParquetEncoder:
    """Each row has the JSON text, then the values: times as microseconds, dates as days, uuid and json as text."""

    def __init__(self, columns: Sequence[Column], compression: Compression) -> None:
        self._schema = pyarrow.schema([(one.name, type_of(one)) for one in columns])
        self._pieces = _Pieces()
        self._writer = ParquetWriter(
            self._pieces, self._schema, compression=compression.value, write_page_checksum=True
        )
        self._digest = Digest()
        self._batches: list[Any] = []
        self._bytes = 0

    def begin(self) -> bytes:
        """The magic bytes."""
        return self._pieces.take()

    def add(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """A row group, when there is enough for one."""
        texts, *values = zip(*rows, strict=True)
        self._digest.add(texts)
        arrays = [pyarrow.array(column, field.type) for column, field in zip(values, self._schema, strict=True)]
        batch = pyarrow.record_batch(arrays, schema=self._schema)
        self._batches.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= GROUP_BYTES:
            self._write_group()
        return self._pieces.take()

    def end(self, sequence: int) -> tuple[Closing, bytes]:
        """The last row group and the footer."""
        self._write_group()
        closing = Closing(self._digest.rows, sequence, self._digest.hexdigest())
        self._writer.add_key_value_metadata({PREFIX + name: str(value) for name, value in closing.facts().items()})
        self._writer.close()
        return closing, self._pieces.take()

    def _write_group(self) -> None:
        if self._batches:
            self._writer.write_table(pyarrow.Table.from_batches(self._batches))
            self._batches, self._bytes = [], 0
            # Else what a group needed is held, in whole arenas, until long after the export.
            pyarrow.default_memory_pool().release_unused()


def type_of(column: Column) -> Any:
    """The type of a column in the file."""
    if column.is_decimal:
        return pyarrow.decimal128(column.precision, column.scale or 0)
    return pyarrow.string() if column.type == "numeric" else _TYPES[column.type]


class _Pieces:
    """A file that gives away what was written to it."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._written = 0

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._written += len(part)
        return len(part)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        return None

    def close(self) -> None:
        return None

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def read_closing(path: Path) -> Closing | None:
    """The closing record in the footer of a file; None where there is none."""
    try:
        metadata = read_metadata(path).metadata or {}
    except pyarrow.ArrowInvalid:
        return None
    names = [f"{PREFIX}{name}".encode() for name in ("rows", "sequence", "sha256")]
    facts = [metadata[name] for name in names if name in metadata]
    if len(facts) < len(names):
        return None
    return Closing(int(facts[0]), int(facts[1]), facts[2].decode())

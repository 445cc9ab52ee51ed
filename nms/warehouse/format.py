"""The forms of an export: NDJSON and CSV here, Parquet in a module of its own; what ends each of them. Pure."""

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from importlib import import_module
from typing import Any, Final, Protocol

LINE_END: Final = b"\r\n"
"""Of a CSV (RFC 4180)."""
END: Final = "#end"
"""How the closing line of a CSV begins; no cell begins so without quotes."""
GZIP_LEVEL: Final = 6
MOST_DIGITS: Final = 38
_ALLOCATOR: Final = ("MIMALLOC_ARENA_EAGER_COMMIT", "MIMALLOC_PURGE_DELAY")
"""What pyarrow's allocator looks at when it is loaded: without, it keeps 16 MB that nobody needs."""


class Format(StrEnum):
    """What an export is written as."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"


class Compression(StrEnum):
    """What an export is packed with: inside of a Parquet file, around the others."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True)
class Column:
    """A field as an export has it: its name, and its type as the document of the entity says."""

    name: str
    type: str
    precision: int | None = None
    scale: int | None = None

    @property
    def is_decimal(self) -> bool:
        """Whether it is a number of so many digits that a decimal of Parquet in 16 bytes holds it."""
        return self.type == "numeric" and self.precision is not None and self.precision <= MOST_DIGITS


@dataclass(frozen=True, slots=True)
class Closing:
    """What ends an export: a file without it was cut.

    `sha256` is of the records and the same in each format (`Digest`); `content_sha256` is of all that stands before
    the closing line, unpacked; `sequence` is where `/data?since=` goes on.
    """

    rows: int
    sequence: int
    sha256: str
    content_sha256: str | None = None

    def facts(self) -> dict[str, Any]:
        """Its members, without what a format does not have."""
        facts = {"rows": self.rows, "sequence": self.sequence, "sha256": self.sha256}
        return facts if self.content_sha256 is None else {**facts, "content_sha256": self.content_sha256}


class Digest:
    """The hash of records: SHA-256 of the SHA-256 of each one's JSON text, one after the other in their order."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = sha256()

    def add(self, texts: Sequence[bytes]) -> None:
        """Count records by their JSON texts."""
        self.rows += len(texts)
        self._sum.update(b"".join([sha256(text).digest() for text in texts]))

    def hexdigest(self) -> str:
        """The hash so far."""
        return self._sum.hexdigest()


class Encoder(Protocol):
    """Writes records: `begin`, any number of `add`, `end`; each gives what goes out next."""

    def begin(self) -> bytes:
        """What stands before the first record."""

    def add(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """Some records; each row is the JSON text as bytes, then what the format wants of the database."""

    def end(self, sequence: int) -> tuple[Closing, bytes]:
        """The closing record, and the rest with it."""


class Packer(Protocol):
    """What packs bytes."""

    def compress(self, data: bytes, /) -> bytes:
        """Packed, as far as it goes yet."""

    def flush(self) -> bytes:
        """The rest."""


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def open_encoder(format_: Format, columns: Sequence[Column], compression: Compression) -> Encoder:
    """What writes records in a format; its libraries are loaded where they are used."""
    if format_ is Format.PARQUET:
        for name in _ALLOCATOR:
            os.environ.setdefault(name, "0")
        encoder: Encoder = import_module("nms.warehouse.parquet").ParquetEncoder(columns, compression)
        return encoder
    packer = _open_packer(compression)
    return CsvEncoder(columns, packer) if format_ is Format.CSV else NdjsonEncoder(packer)


def _open_packer(compression: Compression) -> Packer:
    if compression is Compression.GZIP:
        return zlib.compressobj(level=GZIP_LEVEL, wbits=zlib.MAX_WBITS + 16)
    if compression is Compression.ZSTD:
        packer: Packer = import_module("nms.warehouse.zstd").open_packer()
        return packer
    return _Plain()


class _TextEncoder:
    """What the formats of lines have in common: hashes, and the packer around them."""

    def __init__(self, packer: Packer) -> None:
        self._packer = packer
        self._digest = Digest()
        self._content = sha256()

    def write(self, text: bytes) -> bytes:
        """Some of the content."""
        self._content.update(text)
        return self._packer.compress(text)

    def count(self, texts: Sequence[bytes]) -> None:
        """Records that are about to be written."""
        self._digest.add(texts)

    def close(self, sequence: int) -> Closing:
        """The closing record."""
        return Closing(self._digest.rows, sequence, self._digest.hexdigest(), self._content.hexdigest())

    def finish(self, line: str) -> bytes:
        """The closing line and the end of what is packed."""
        return self._packer.compress(line.encode()) + self._packer.flush()


class NdjsonEncoder(_TextEncoder):
    """A line for each record, and `{"_end": {...}}` as the last one; a field cannot be named so."""

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def add(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """Their JSON texts, each on a line."""
        texts = [row[0] for row in rows]
        self.count(texts)
        return self.write(b"\n".join([*texts, b""]))

    def end(self, sequence: int) -> tuple[Closing, bytes]:
        """The closing line."""
        closing = self.close(sequence)
        return closing, self.finish(json.dumps({"_end": closing.facts()}, separators=(",", ":")) + "\n")


class CsvEncoder(_TextEncoder):
    """RFC 4180 with a header line, and `#end rows=...` as the last one; lines as the database has made them."""

    def __init__(self, columns: Sequence[Column], packer: Packer) -> None:
        super().__init__(packer)
        self._header = ",".join(one.name for one in columns).encode() + LINE_END

    def begin(self) -> bytes:
        """The header line."""
        return self.write(self._header)

    def add(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """Their lines."""
        self.count([row[0] for row in rows])
        return self.write(LINE_END.join([*(row[1] for row in rows), b""]))

    def end(self, sequence: int) -> tuple[Closing, bytes]:
        """The closing line, of one cell."""
        closing = self.close(sequence)
        facts = " ".join(f"{name}={value}" for name, value in closing.facts().items())
        return closing, self.finish(f"{END} {facts}\r\n")

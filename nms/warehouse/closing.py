"""What ends the file of an export, read back: a file without it was cut."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final, cast

from nms.warehouse.format import END, Closing, Compression, Format
from nms.warehouse.problems import ExportCut

BLOCK: Final = 1 << 20
LONGEST: Final = 4_096
"""Bytes that a closing line has at most."""
_ENDINGS: Final = {".gz": Compression.GZIP, ".zst": Compression.ZSTD}


def kind_of(path: Path) -> tuple[Format, Compression] | None:
    """What a file is by its name, such as `posts.csv.gz`; None where that does not tell."""
    compression = _ENDINGS.get(path.suffix, Compression.NONE)
    inner = path.suffix if compression is Compression.NONE else path.with_suffix("").suffix
    known = inner.removeprefix(".")
    return (Format(known), compression) if known in {one.value for one in Format} else None


def read_closing(path: Path, format_: Format, compression: Compression) -> Closing:
    """The closing record of a whole file, held against what stands before it; raises ExportCut, OSError."""
    if format_ is Format.PARQUET:
        closing: Closing | None = import_module("nms.warehouse.parquet").read_closing(path)
    else:
        with _unpacked(path, compression) as file:
            closing = _read_lines(file, format_)
    if closing is None:
        raise ExportCut(f"{path.name} has no closing record.", file=path.name)
    return closing


def _read_lines(file: IO[bytes], format_: Format) -> Closing | None:
    content, held = sha256(), b""
    while block := file.read(BLOCK):
        held += block
        content.update(held[:-LONGEST])
        held = held[-LONGEST:]
    start = held.rstrip(b"\r\n").rfind(b"\n") + 1
    content.update(held[:start])
    facts = _facts_of(held[start:].decode("utf-8", "replace"), format_)
    if facts is None or facts.get("content_sha256") != content.hexdigest():
        return None
    return Closing(int(facts["rows"]), int(facts["sequence"]), str(facts["sha256"]), content.hexdigest())


def _facts_of(line: str, format_: Format) -> Mapping[str, Any] | None:
    """The members of a closing line; None for another one, and for one that does not end."""
    if not line.endswith("\n"):
        return None
    if format_ is Format.CSV:
        head, *facts = line.split()
        return dict(fact.split("=", 1) for fact in facts) if head == END else None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found.get("_end") if isinstance(found, dict) else None


@contextmanager
def _unpacked(path: Path, compression: Compression) -> Iterator[IO[bytes]]:
    """The content of a file; what ends too early raises ExportCut."""
    try:
        with _open(path, compression) as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ExportCut(f"{path.name} ends too early.", file=path.name) from error


def _open(path: Path, compression: Compression) -> IO[bytes]:
    if compression is Compression.GZIP:
        return cast(IO[bytes], gzip.open(path, "rb"))
    if compression is Compression.ZSTD:
        return cast(IO[bytes], import_module("nms.warehouse.zstd").open_unpacked(path))
    return path.open("rb")

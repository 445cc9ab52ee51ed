"""`nms warehouse`: records as a file, and whether such a file is whole."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Final

import typer

from nms.cli import output
from nms.cli.command import command
from nms.cli.main import new_app
from nms.common.problem import Problem
from nms.warehouse.closing import kind_of, read_closing
from nms.warehouse.entities import Entities
from nms.warehouse.extract import Asked, Extract, read_extract, write
from nms.warehouse.feed import find_place
from nms.warehouse.format import Compression, Format
from nms.warehouse.repository import FeedRepository

app = new_app(help="Export records of the warehouse, and check files of exports.")
APART: Final = "export-command"
TELL_SECONDS: Final = 2.0
Compress = Annotated[
    Compression | None, typer.Option(help="What it is packed with; for parquet zstd when left out, else none.")
]


class FileUnusable(Problem):
    """A file that is named cannot be read or written; `reason` is what the system says."""

    status, code, title = 409, "file-unusable", "A file cannot be used"
    remedy = "Name a file in a directory that this user may use and that has room."


@app.command("export")
@command
async def export(
    entity: Annotated[str, typer.Argument(help="The name of the entity.")],
    file: Annotated[Path, typer.Option("--output", "-o", help="The file; one that is there is replaced.")],
    *,
    format_: Annotated[Format, typer.Option("--format", help="What the records are written as.")] = Format.NDJSON,
    compress: Compress = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="filter=EXPRESSION, sort=, fields=, q= or FIELD[.OPERATOR]=VALUE, as lists take them."),
    ] = None,
) -> None:
    """Write all records that match into a file, of one snapshot; it is there when it is whole and was read back."""
    usual = Compression.ZSTD if format_ is Format.PARQUET else Compression.NONE
    items = tuple(_split(text) for text in where or ())
    asked = Asked(entity, items, format_, usual if compress is None else compress)
    entities = Entities(lambda: None)
    await entities.look()
    extract = read_extract(entities.find(entity), asked)
    began = time.monotonic()
    with _written(file) as (draft, part):
        await _write(extract, await find_place(await FeedRepository.open(), entities), draft)
        closing = await asyncio.to_thread(read_closing, part, asked.format, asked.compression)
    seconds = time.monotonic() - began
    told = (
        f"{file} has {closing.rows:,} records of {entity}, and is whole. Changes since: /data?since={closing.sequence}."
    )
    output.say(told, file=str(file), bytes=file.stat().st_size, seconds=round(seconds, 3), **closing.facts())


@app.command("check")
@command
def check(
    file: Annotated[Path, typer.Argument(help="A file of an export, fetched in whatever way.")],
    *,
    format_: Annotated[
        Format | None, typer.Option("--format", help="What it is; its name tells when left out.")
    ] = None,
    compress: Compress = None,
) -> None:
    """Tell whether the file of an export is whole: it ends with its closing record, whose hash it has."""
    known = kind_of(file) or (Format.NDJSON, Compression.NONE)
    with _told(file):
        closing = read_closing(file, format_ or known[0], compress or known[1])
    output.say(f"{file} has {closing.rows:,} records, and is whole.", file=str(file), **closing.facts())


async def _write(extract: Extract, place: int, draft: IO[bytes]) -> None:
    rows, size, due = 0, 0, time.monotonic() + TELL_SECONDS

    async def take(data: bytes, more: int) -> None:
        nonlocal rows, size, due
        await asyncio.to_thread(draft.write, data)
        rows, size = rows + more, size + len(data)
        if time.monotonic() >= due:
            due = time.monotonic() + TELL_SECONDS
            output.tell(f"{rows:,} records, {size / 1e6:,.0f} MB", rows=rows, bytes=size)

    await write(extract, place, take, apart=APART)
    await asyncio.to_thread(_keep, draft)


def _keep(draft: IO[bytes]) -> None:
    draft.flush()
    os.fsync(draft.fileno())


@contextmanager
def _written(file: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A file beside the one that is wanted, which takes its place when the block ends and is gone when it raises."""
    part = file.with_name(f"{file.name}.part")
    try:
        with _told(file), part.open("wb") as draft:
            yield draft, part
        with _told(file):
            part.replace(file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileUnusable(f"{file} cannot be used: {error.strerror}.", reason=error.strerror) from error


def _split(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise typer.BadParameter(f"`{text}` has no `=`: write `--where userId=4` or `--where 'filter=id gt 7'`")
    return name, value

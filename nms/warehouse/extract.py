"""What an export asks the database for: the JSON text of each record, and what its format is made of."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Self

from nms.common.db.dsn import DSNType
from nms.common.db.quoting import quote_identifier
from nms.common.db.snapshot import open_snapshot
from nms.common.problem import Malformed, Pointer
from nms.common.run import Run
from nms.warehouse.entities import Served
from nms.warehouse.format import Closing, Column, Compression, Format, open_encoder
from nms.warehouse.page import read_question
from nms.warehouse.statement import Listing, compose_whole

Take = Callable[[bytes, int], Awaitable[None]]
"""Takes the next bytes, with how many records more are in them or on their way."""
_NUMBERS: Final = frozenset({"boolean", "smallint", "integer", "bigint", "numeric", "real", "double"})
"""Types whose values no spreadsheet takes for a formula, whatever sign they begin with."""

_MOST_ARGUMENTS: Final = 90
_OF_PAGES: Final = frozenset({"limit", "cursor", "offset", "count", "lineage"})
"""Parameters of lists that say nothing of which records there are."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for: the records of an entity that the parameters of a request choose, in a format."""

    entity: str
    items: tuple[tuple[str, str], ...]
    format: Format
    compression: Compression

    def payload(self) -> dict[str, Any]:
        """As a run keeps it, together with its subject, which is the entity."""
        return {"query": self.items, "format": self.format.value, "compression": self.compression.value}

    @classmethod
    def of(cls, run: Run) -> Self:
        """What a run was ordered for."""
        given = run.payload
        items = tuple((name, text) for name, text in given["query"])
        return cls(run.subject, items, Format(given["format"]), Compression(given["compression"]))


@dataclass(frozen=True, slots=True)
class Extract:
    """Which records are to be exported, and as what."""

    listing: Listing
    values: Sequence[Any]
    format: Format
    compression: Compression

    @property
    def columns(self) -> tuple[Column, ...]:
        """The fields, in the order in which they are written."""
        entity = self.listing.entity
        names = self.listing.view.fields or tuple(entity.fields)
        fields = [(name, entity.fields[name]) for name in names]
        return tuple(Column(name, one.type, one.precision, one.scale) for name, one in fields)

    def statement(self) -> str:
        """The statement that reads them, one row for each record."""
        return compose_whole(self.listing, expressions(self.format, self.columns))

    @property
    def file_name(self) -> str:
        """What a file of it is named."""
        return f"{self.listing.entity.name}{ending(self.format, self.compression)}"


def read_extract(entity: Served, asked: Asked) -> Extract:
    """What a request asks for; raises Malformed with a pointer per parameter."""
    wrong = [Pointer(f"/{name}", "an export is no page", "query") for name, _ in asked.items if name in _OF_PAGES]
    if wrong:
        raise Malformed("An export takes `filter`, `sort`, `fields`, `q` and conditions.", pointers=wrong)
    question = read_question(entity, asked.items)
    return Extract(question.listing, question.values, asked.format, asked.compression)


def ending(format_: Format, compression: Compression) -> str:
    """How names of files of a format end."""
    packed = {Compression.GZIP: ".gz", Compression.ZSTD: ".zst"}
    return f".{format_.value}" + ("" if format_ is Format.PARQUET else packed.get(compression, ""))


def expressions(format_: Format, columns: Sequence[Column]) -> list[str]:
    """What a format needs beside the JSON text: the line of a CSV as bytes, the values of a Parquet file."""
    if format_ is Format.NDJSON:
        return []
    if format_ is Format.CSV:
        return [f"convert_to({_line([_cell(one) for one in columns])}, 'UTF8')"]
    return [_value(one) for one in columns]


def _line(cells: Sequence[str]) -> str:
    """Cells with commas between them; a call takes 100 arguments."""
    while len(cells) > 1:
        parts = [cells[at : at + _MOST_ARGUMENTS] for at in range(0, len(cells), _MOST_ARGUMENTS)]
        cells = [f"concat_ws(',', {', '.join(part)})" for part in parts]
    return cells[0]


def _cell(column: Column) -> str:
    name = quote_identifier(column.name)
    if column.type in _NUMBERS:
        return f"coalesce({name}::text, '')"
    # A time as JSON has it (ISO 8601), which `::text` is not.
    text = f"to_json({name}) #>> '{{}}'" if column.type == "timestamp" else f"{name}::text"
    return f"warehouse.csv_text({text})"


def _value(column: Column) -> str:
    """A value as a file of Parquet is made of it; what lies outside of its types is null."""
    name = quote_identifier(column.name)
    match column.type:
        case "timestamp":
            # Microseconds since 1970 have 64 bits; PostgreSQL counts from 2000 and comes a little further.
            bounds = f"{name} > '-infinity' and {name} < '290000-01-01 00:00:00+00'"
            return f"case when {bounds} then (extract(epoch from {name}) * 1000000)::bigint end"
        case "date":
            return f"case when isfinite({name}) then {name} - '1970-01-01'::date end"
        case "time":
            return f"(extract(epoch from {name}) * 1000000)::bigint"
        case "numeric" if column.is_decimal:
            return f"nullif({name}, 'NaN')"
        case "numeric" | "uuid" | "json":
            return f"{name}::text"
        case _:
            return name


async def write(extract: Extract, sequence: int, take: Take, *, apart: str) -> Closing:
    """Export records of one snapshot and give their closing record; `apart` names the pool.

    What is encoded waits until it is taken, so that no more than one piece is held. `sequence` was settled before.
    """
    loop = asyncio.get_running_loop()
    # One thread for all of it: libraries keep memory for each that they are called from.
    thread = ThreadPoolExecutor(1, "export")
    try:
        encoder = await loop.run_in_executor(thread, open_encoder, extract.format, extract.columns, extract.compression)
        await take(await loop.run_in_executor(thread, encoder.begin), 0)
        async with open_snapshot(DSNType.DWH, apart=apart) as snapshot:
            async for rows in snapshot.pieces(extract.statement(), extract.values, _measure):
                await take(await loop.run_in_executor(thread, encoder.add, rows), len(rows))
        closing, rest = await loop.run_in_executor(thread, encoder.end, sequence)
        await take(rest, 0)
    finally:
        thread.shutdown(wait=False)
    return closing


def _measure(rows: Sequence[Any]) -> int:
    return sum(len(row[0]) for row in rows)

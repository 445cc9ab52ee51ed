"""Which rows of a dataset travel and which constants they get: settled with the servers before a pipeline opens.

Whatever reads a source (the copy, the log, a poll, a comparison) takes the same three from a settled `Pair`:
`source_table(...).where`, the SQL condition; its `columns`; and `filter(...)`, which tells of fields in memory.
"""

import re
from collections.abc import Iterator

import asyncpg

from nms.common.condition import Condition
from nms.common.finding import Finding
from nms.common.flow import Position
from nms.connectors.postgres.catalog import Connection, TableColumn
from nms.connectors.postgres.comparing import reader_of
from nms.connectors.postgres.conditions import filter_rows, full_identity, literal_of, read_literal
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.filter import FilterColumn, refuse
from nms.connectors.postgres.pairing import Pair, Pairing, key_constants
from nms.connectors.postgres.progress import marks_of
from nms.connectors.postgres.statements import Constant

# Texts that the server reads as another value at another time.
_MOVING = re.compile(r"\b(now|today|tomorrow|yesterday)\b", re.IGNORECASE)
_TIMES = ("date", "time", "timestamp")


async def settle(
    source: "Connection | None", target: "Connection | None", pairing: Pairing, spec: PipelineSpec
) -> list[Finding]:
    """Settle every pair with the databases at its ends (None is a queue or topic); gives what stands in the way."""
    found: list[Finding] = []
    for one in pairing.pairs:
        if source is not None:
            found += await settle_conditions(source, one, spec.source.system, heals=spec.heals)
        elif one.spec.where:
            found.append(_unsupported(one, "where", "messages are not filtered: bind the queue to what shall travel"))
        if target is not None:
            found += await settle_constants(target, one, spec.target.system)
        else:
            found += [
                _unsupported(one, part, "messages carry the source's own values")
                for part in ("constants", "casts") if getattr(spec.datasets[one.at], part)
            ]  # fmt: skip
        if spec.shared:
            one.own = own_rows(one)
    return found


async def settle_conditions(source: Connection, pair: Pair, system: str, *, heals: bool) -> list[Finding]:
    """Let the source read the values of a pair's `where`, and give the pair its conditions.

    `heals` is that of the PipelineSpec.
    """
    columns = {column.name: column for column in pair.source.sent()}
    pointer, found = f"/datasets/{pair.at}/where", []
    ordered = source.get_settings().server_encoding == "UTF8"
    settled: list[Condition] = []
    for one in pair.spec.where:
        column = columns.get(one.field)
        if column is None:
            text = f"{pair.spec.source} of {system} has no column {one.field} that is in its log"
            remedy = "Correct `where`, or add the column; generated ones are not in the log."
            found.append(Finding("filter-column", text, system, pointer=pointer, remedy=remedy))
            continue
        reason = refuse(one, _facts_of(column, ordered=ordered))
        if reason:
            text = f"{pair.spec.source}: {one.operator} on column {one.field} cannot be told exactly: {reason}"
            remedy = "Ask for equality, or for another column."
            found.append(Finding("filter-type", text, system, pointer=pointer, remedy=remedy))
            continue
        read = [await _read(source, value, column.plain) for value in one.values]
        found += [_unreadable(pair, column, value, system) for value, text in zip(one.values, read, strict=True)
                  if text is None]  # fmt: skip
        settled.append(Condition(one.field, one.operator, tuple(text for text in read if text is not None)))
    if not found:
        pair.conditions = tuple(settled)
        found += judge_identity(pair, system, heals=heals)
    return found


async def settle_constants(target: Connection, pair: Pair, system: str) -> list[Finding]:
    """Let the target read the values of a pair's `constants`; the pair gets its constants."""
    columns = {column.name: column for column in pair.target.columns}
    in_key = key_constants(pair)
    made: list[Constant] = []
    found: list[Finding] = []
    for name, value in (pair.spec.constants or {}).items():
        column = columns.get(name)
        text = _refuse_constant(pair, name, column, value, keyed=name in in_key)
        if not text and column is not None and value is not None:
            text = await _refuse_value(target, pair, column, value)
        if text or column is None:
            found.append(Finding("constant-value", text, system, pointer=f"/datasets/{pair.at}/constants",
                                 remedy="Correct `constants`."))  # fmt: skip
        else:
            made.append(Constant(name, literal_of(value, column.type), name in in_key))
    if pair.spec.external in columns and pair.key:
        made.append(Constant(pair.spec.external, ""))
    pair.constants = tuple(made)
    return found


def judge_filters(position: Position | None, pairing: Pairing) -> Iterator[Finding]:
    """Filters that are not those by which the rows came that are at the target already."""
    if position is None or "lsn" not in position:
        return
    before = position.get("filters", {})
    marks = marks_of(pairing.conditions()).get("filters", {})
    for one in pairing.pairs:
        name = one.spec.source
        if before.get(name) != marks.get(name) and len(one.conditions) == len(one.spec.where):
            text = f"the filter of {name} is another one than that of the rows at the target"
            remedy = "`nms resync PIPELINE` brings what the filter now lets in, and removes the rest; or take it back."
            yield Finding("filter-changed", text, "", pointer=f"/datasets/{one.at}/where", remedy=remedy)


def own_rows(pair: Pair) -> str:
    """The SQL condition, at the target, of the rows that a pipeline writes there beside others; empty if unknown.

    A filter counts as far as its columns travel as they are: what was written met it.
    """
    to = {left.name: right for left, right in pair.columns if left.type == right.type}
    kept = [Condition(to[one.field].name, one.operator, one.values) for one in pair.conditions if one.field in to]
    constants, kinds = pair.spec.constants or {}, {column.name: column.plain for column in pair.target.columns}
    for one in pair.constants:
        if one.name not in constants:
            # The key as text: it tells nothing that the key does not.
            continue
        value = constants[one.name]
        if value is not None and reader_of(kinds[one.name], text_form=True) is None:
            continue
        kept.append(Condition(one.name, "null") if value is None else Condition(one.name, "eq", (value,)))
    return filter_rows(kept, kinds)


def judge_identity(pair: Pair, system: str, *, heals: bool) -> Iterator[Finding]:
    """Whether the log tells enough of a row before its change to know that it moved into the filter or out of it."""
    source, key = pair.source, pair.source.log_key()
    if not pair.conditions or not key or source.identity == "f":
        return
    outlying = [column.name for column in pair.read_columns() if column.outlying] if source.toasts else []
    by_key = {one.field for one in pair.conditions} <= set(key)
    sql, pointer = full_identity(source.quoted), f"/datasets/{pair.at}/where"
    if outlying:
        text = (
            f"{source.asked}: values of {', '.join(outlying)} may be left out of the log where they did not change,"
            f" and then a row that moves into the filter cannot be made up"
        )
        if by_key:
            text += "; here only a change of the key moves one, and such a change would halt the pipeline"
        yield Finding("filter-identity", text, system, not by_key, sql, pointer)
    elif not by_key:
        text = f"{source.asked}: the log does not tell whether a changed row was within the filter before"
        text += (
            ", so each change of one outside is a delete at the target" if heals else ", so `missing: ignore` cannot"
        )
        yield Finding("filter-identity", text, system, not heals, sql, pointer)


def _facts_of(column: TableColumn, *, ordered: bool) -> FilterColumn:
    return FilterColumn(column.plain, column.is_enum, ordered and not column.collated, column.loose)


def _unsupported(pair: Pair, part: str, reason: str) -> Finding:
    text = f"`{part}` of {pair.spec.source} is for databases: {reason}"
    return Finding("mapping-unsupported", text, "", pointer=f"/datasets/{pair.at}/{part}", remedy=f"Remove `{part}`.")


def _unreadable(pair: Pair, column: TableColumn, value: str, system: str) -> Finding:
    text = f"{pair.spec.source}: {value[:60]!r} is no {column.plain} that column {column.name} could be compared with"
    remedy = "Correct the value; words such as `now` are refused, they would mean something else every day."
    return Finding("filter-value", text, system, pointer=f"/datasets/{pair.at}/where", remedy=remedy)


async def _read(connection: Connection, value: str, kind: str) -> str | None:
    """What a server makes of a text as a value of a type, as text; None where it refuses."""
    if kind.startswith(_TIMES) and _MOVING.search(value):
        return None
    try:
        text: str | None = await connection.fetchval(read_literal(kind), value)
    except (asyncpg.DataError, asyncpg.PostgresSyntaxError, asyncpg.IntegrityConstraintViolationError):
        return None
    return text


def _refuse_constant(pair: Pair, name: str, column: TableColumn | None, value: str | None, *, keyed: bool) -> str:
    if column is None:
        return f"{pair.spec.target} has no column {name}"
    if name in {right.name for _, right in pair.columns}:
        return f"{pair.spec.target}: column {name} is fed by the source already"
    if column.generated or column.identity == "a":
        return f"{pair.spec.target}: column {name} is generated and cannot be written"
    if value is None and (column.required or keyed):
        return f"{pair.spec.target}: column {name} takes no null"
    return ""


async def _refuse_value(target: Connection, pair: Pair, column: TableColumn, value: str) -> str:
    read, fitted = await _read(target, value, column.type), await _read(target, value, column.full_type)
    if read is None or fitted is None:
        return f"{pair.spec.target}: {value[:60]!r} is no {column.type} for column {column.name}"
    same = reader_of(column.plain, text_form=True) or bytes
    if same(read.encode()) != same(fitted.encode()):
        return f"{pair.spec.target}: {value[:60]!r} does not fit into {column.full_type} of column {column.name}"
    return ""

"""The SQL of the feed: changes of several entities in one order; identifiers come from built entities (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from nms.common.db.quoting import quote_literal
from nms.common.document import EntityDocument
from nms.warehouse.table import key_text, table_of

LARGEST_PAGE: Final = 16 << 20
"""Bytes of the records of one page of the feed; the first one may be larger."""

IS_SERVED: Final = "document is not null and state <> 'hidden'"
"""Of which entities there are records to be seen, as `Entity.is_served` has it."""


@dataclass(frozen=True, slots=True)
class Span:
    """Changes behind `after`, up to `upto`; `limit` of them, without the first `offset`."""

    after: int
    upto: int
    limit: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes as JSON, joined by commas; how many, the sequence of the last, whether there is no further one.

    `built` are the entities that are served by then, whoever may see them.
    """

    items: bytes
    count: int
    last: int | None
    is_whole: bool
    built: frozenset[str]


def compose_changes(documents: Iterable[EntityDocument]) -> str:
    """A page in one row: items, their number, the sequence of the last, whether there is no further one, and the names
    of the entities that are built.

    Its parameters: after, upto, the rows to look at (one more than offset and limit), the names of the entities,
    offset, limit, the bytes of a page.
    """
    return _compose(tuple(_rows_of(document) for document in documents))


def compose_newest(entities: Iterable[str]) -> str:
    """The newest change up to a sequence, its parameter, that was committed: a deletion, or of these; 0 without any."""
    newest = [f"(select max(_sequence) from {table_of(name)} where _sequence <= $1)" for name in entities]
    deleted = "(select max(sequence) from warehouse.tombstone where sequence <= $1)"
    return f"select greatest({', '.join(['0', deleted, *newest])})"


def _rows_of(document: EntityDocument) -> str:
    return (
        f"(select {quote_literal(document.name)} as entity, {key_text(document, 'r')} as key, _sequence as sequence,"
        " 'upsert' as op, _source as source, _updated_at as at, _json as record"
        f" from {table_of(document.name)} as r where _sequence > $1 and _sequence <= $2 order by _sequence limit $3)"
    )


@lru_cache(1_000)
def _compose(branches: tuple[str, ...]) -> str:
    deleted = (
        "(select entity, key, sequence, 'delete' as op, source, deleted_at as at, null::text as record"
        " from warehouse.tombstone where sequence > $1 and sequence <= $2 and entity = any($4::text[])"
        " order by sequence limit $3)"
    )
    rows = " union all ".join([*branches, deleted])
    item = (
        '\'{"entity":"\' || entity || \'","key":\' || to_json(key)::text || \',"sequence":\' || sequence ||'
        ' \',"op":"\' || op || \'","source":\' || to_json(source)::text || \',"at":\' || to_json(at)::text ||'
        " ',\"record\":' || coalesce(record, 'null') || '}'"
    )
    return (
        f"with found as materialized (select * from ({rows}) as each order by sequence limit $3),"
        " kept as materialized (select *, coalesce(sum(octet_length(record)) over (order by sequence rows"
        " between unbounded preceding and 1 preceding), 0) as ahead"
        " from (select * from found order by sequence offset $5 limit $6) as page),"
        " cut as (select * from kept where ahead < $7)"
        f" select convert_to(coalesce(string_agg({item}, ',' order by sequence), ''), 'UTF8') as items,"
        " count(*) as count, max(sequence) as last,"
        " (select greatest(count(*) - $5, 0) from found) = count(*) as is_whole,"
        f" array(select name from warehouse.entity where {IS_SERVED}) as built from cut"
    )

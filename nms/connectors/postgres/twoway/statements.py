"""What a two-way pipeline asks of its tables and their last synced state; identifiers come from the catalog.

Sent over libpq, whose parameters are numbered: $1 is the pipeline, $2 the dataset, $3 what is asked for.
"""

from collections.abc import Sequence

from nms.common.db.quoting import quote_identifier, quote_literal
from nms.connectors.postgres.statements import TargetTable, as_streamed, of_text

EMIT_ORIGIN = "select pg_catalog.pg_logical_emit_message(true, 'nms.origin', $1)::text"
HOLD_FENCE = "select nms.advance($1, $2::text::bigint, (select position from nms.position where pipeline = $1))"
FIND_BASE = "select pg_catalog.to_regclass('nms.base')::text"
LIST_BASE_KEYS = (
    "select pg_catalog.to_jsonb(key)::text from nms.base where pipeline = $1 and dataset = $2 and remote is not null"
    " and key > array(select pg_catalog.jsonb_array_elements_text($3::jsonb)) order by key limit 5000"
)
SAMPLE_BASE_KEYS = (
    # Whichever: those that one would always ask for may be gone at the remote, as the oldest are where it purges.
    "select pg_catalog.to_jsonb(key)::text from nms.base where pipeline = $1 and dataset = $2 and remote is not null"
    " and key not in (select array(select pg_catalog.jsonb_array_elements_text(v))"
    " from pg_catalog.jsonb_array_elements($3::jsonb) as t (v)) order by pg_catalog.random() limit 3"
)
KEEP_BASE = (
    "insert into nms.base as b (pipeline, dataset, key, local, remote, sent)"
    " select $1, $2, array(select pg_catalog.jsonb_array_elements_text(v -> 'key')),"
    " nullif(v -> 'local', 'null'), nullif(v -> 'remote', 'null'), nullif(v -> 'sent', '[]')"
    " from pg_catalog.jsonb_array_elements($3::jsonb) as t (v)"
    " on conflict (pipeline, dataset, key) do update"
    " set local = excluded.local, remote = excluded.remote, sent = excluded.sent, revision = default,"
    " updated_at = now()"
)
COUNT_KNOWN = (
    "select pg_catalog.count(*)::text from (select from nms.base"
    " where pipeline = $1 and dataset = $2 and remote is not null and local is not null limit $3::bigint) b"
)
FORGET_BASE = (
    "delete from nms.base where pipeline = $1 and dataset = $2 and key in ("
    "select array(select pg_catalog.jsonb_array_elements_text(v))"
    " from pg_catalog.jsonb_array_elements($3::jsonb) as t (v))"
)
FORGET_ALL = "delete from nms.base where pipeline = $1 and dataset = $2"


def grant_base(login: str) -> str:
    """The rights to keep the last synced state."""
    return f"grant select, insert, update, delete on nms.base to {quote_identifier(login)};"


def look_rows(table: TargetTable, names: Sequence[str]) -> str:
    """Rows by their keys, locked, beside what the remote has of them and the base.

    Each asked for is `{"key": {name: text}, "remote": {name: text} or null}`. Answers in order: key, local, remote as
    the columns hold it, base's local and remote, what was under way, revision; all as text, records as JSON objects.
    """
    asked = [of_text(f"(a.v -> 'key' ->> {quote_literal(names[at])})", table.types[at]) for at in table.key]
    key = ", ".join(as_streamed(f"({one})") for one in asked)
    where = " and ".join(
        f"r.{quote_identifier(table.columns[at])} = {one}" for at, one in zip(table.key, asked, strict=True)
    )
    own = f" and ({table.where})" if table.where else ""
    local = _record(names, [as_streamed(f"t.{quote_identifier(one)}") for one in table.columns])
    texts = [f"(a.v -> 'remote' ->> {quote_literal(name)})" for name in names]
    held = [as_streamed(of_text(text, kind)) for text, kind in zip(texts, table.types, strict=True)]
    return (
        f"select pg_catalog.to_jsonb(array[{key}])::text, case when t.nms_there then {local} end::text,"
        f" case when a.v -> 'remote' <> 'null' then {_record(names, held)} end::text,"
        " b.local::text, b.remote::text, b.sent::text, b.revision::text"
        " from pg_catalog.jsonb_array_elements($3::jsonb) with ordinality as a (v, at)"
        f" left join lateral (select true as nms_there, r.* from {table.own} r where {where}{own} for update) t on true"
        # Not to be flattened: with a table that was never analyzed it would be gone through once a record.
        " left join lateral (select * from nms.base m where m.pipeline = $1 and m.dataset = $2"
        f" and m.key = array[{key}] offset 0) b on true"
        " order by a.at"
    )


def find_changed(table: TargetTable, names: Sequence[str]) -> str:
    """Keys, after one and in their order, of rows that are not as the base has them; both ways."""
    key = ", ".join(as_streamed(f"r.{quote_identifier(table.columns[at])}") for at in table.key)
    local = _record(names, [as_streamed(f"r.{quote_identifier(one)}") for one in table.columns])
    own = f" where {table.where}" if table.where else ""
    return (
        "select pg_catalog.to_jsonb(coalesce(l.key, b.key))::text"
        f" from (select array[{key}] as key, {local} as local from {table.own} r{own}) l"
        " full join (select key, local from nms.base where pipeline = $1 and dataset = $2) b on b.key = l.key"
        " where l.local is distinct from b.local"
        " and coalesce(l.key, b.key) > array(select pg_catalog.jsonb_array_elements_text($3::jsonb))"
        " order by coalesce(l.key, b.key) limit 5000"
    )


def describe_columns(table: TargetTable) -> str:
    """The types of the columns that travel, by their names, as one text."""
    names = ", ".join(quote_literal(one) for one in table.columns)
    return (
        "select pg_catalog.jsonb_object_agg(a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod))::text"
        f" from pg_catalog.pg_attribute a where a.attrelid = pg_catalog.to_regclass({quote_literal(table.name)})"
        f" and a.attname = any(array[{names}]) and not a.attisdropped"
    )


def count_missing(table: TargetTable) -> str:
    """How many rows both sides had that the table has no more, and how many both sides had."""
    return (
        "select pg_catalog.count(*) filter (where l.key is null)::text, pg_catalog.count(*)::text from nms.base b"
        f" left join ({_keys(table)}) l on l.key = b.key"
        " where b.pipeline = $1 and b.dataset = $2 and b.remote is not null and b.local is not null"
    )


def forget_missing(table: TargetTable) -> str:
    """Forget the last synced state of what the table has no more."""
    return (
        "delete from nms.base b where b.pipeline = $1 and b.dataset = $2"
        f" and not exists (select from ({_keys(table)}) l where l.key = b.key)"
    )


def _keys(table: TargetTable) -> str:
    key = ", ".join(as_streamed(f"r.{quote_identifier(table.columns[at])}") for at in table.key)
    own = f" where {table.where}" if table.where else ""
    return f"select array[{key}] as key from {table.own} r{own}"


def _record(names: Sequence[str], values: Sequence[str]) -> str:
    listed = ", ".join(quote_literal(name) for name in names)
    return f"pg_catalog.jsonb_object(array[{listed}]::text[], array[{', '.join(values)}]::text[])"

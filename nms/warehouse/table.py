"""The table of an entity as SQL (pure): columns, what keeps them right whoever writes, indexes.

Columns are the declared fields, texts in the collation C: lists are in the order of code points on every machine.
Behind them stand our own, whose names begin with `_`; triggers fill them. Every name is a field of a document that was
validated, or made of such, and quoted all the same.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from nms.common.db.quoting import quote_identifier, quote_literal
from nms.common.document import EntityDocument, EntityField

SEARCH: Final = "simple"
"""The configuration of full text: words as they are, of whatever language."""
SEARCHED: Final = 100_000
"""Characters of a record that full text looks at: PostgreSQL's vectors end at 1 MB."""
KEY: Final = ".key"
INDEXED: Final = 2_600
"""Bytes of a text that an index holds for certain; of a longer one it depends on how PostgreSQL packs it."""
TYPES: Final = {
    "text": "text",
    "boolean": "boolean",
    "smallint": "smallint",
    "integer": "integer",
    "bigint": "bigint",
    "numeric": "numeric",
    "real": "real",
    "double": "double precision",
    "date": "date",
    "timestamp": "timestamp with time zone",
    "time": "time without time zone",
    "uuid": "uuid",
    "json": "jsonb",
}
"""Types of fields as PostgreSQL's catalog spells them."""
OWN_COLUMNS: Final = (
    # In front of the others: to find it in a row, PostgreSQL goes over all columns before it.
    "_json text not null default ''",
    # What triggers fill has a default too, so that whoever reads the catalog sees that rows may come without it.
    "_sequence bigint not null default 0",
    "_source text not null default 'local'",
    "_external_id text",
    "_origin text",
    "_created_at timestamptz not null default now()",
    "_updated_at timestamptz not null default now()",
    "_raw jsonb",
)
_BARE: Final = frozenset({"boolean", "smallint", "integer", "bigint", "json"})
"""Types whose text is JSON as it is."""
_PLAIN: Final = frozenset({"uuid"})
"""Types whose text is JSON within quotes."""
_MOST_ARGUMENTS: Final = 90


@dataclass(frozen=True, slots=True)
class Index:
    """An index by its name, which is another one when what it holds is; and the field that it is for."""

    name: str
    on: str
    field: str

    def create(self, table: str, *, concurrently: bool = False) -> str:
        """The statement that makes it."""
        word = " concurrently" if concurrently else ""
        return f"create index{word} {quote_identifier(self.name)} on {table} {self.on}"


def table_of(entity: str) -> str:
    """The quoted name of the table of an entity."""
    return f"entity.{quote_identifier(entity)}"


def type_of(field: EntityField) -> str:
    """The type of a field as the catalog spells it."""
    if field.precision is None:
        return TYPES[field.type]
    return f"numeric({field.precision},{field.scale or 0})"


def create_table(document: EntityDocument) -> list[str]:
    """The statements that make the table of an entity with all that belongs to it; for one transaction."""
    table = table_of(document.name)
    columns = [add_column(name, field) + _not_null(document, name) for name, field in document.fields.items()]
    key = ", ".join(quote_identifier(name) for name in document.key)
    search = ["_search tsvector"] if searched_fields(document) else []
    parts = [*columns, *OWN_COLUMNS, *search, *_keys(document.name, key), *_filled_keys(document)]
    return [
        f"create table {table} ({', '.join(parts)})",
        *create_functions(document),
        *create_triggers(document),
        *(index.create(table) for index in indexes_of(document)),
    ]


def add_column(name: str, field: EntityField) -> str:
    """A column as `create table` and `alter table add column` take it, without `not null`."""
    collation = ' collate "C"' if field.type == "text" else ""
    return f"{quote_identifier(name)} {type_of(field)}{collation}"


def searched_fields(document: EntityDocument) -> list[str]:
    """The fields that full text looks into."""
    return [name for name, field in document.fields.items() if field.search]


def indexes_of(document: EntityDocument) -> list[Index]:
    """The indexes that an entity wants beside its key and its sequence."""
    wanted = []
    for name, field in document.fields.items():
        if field.index and document.key != (name,):
            behind = [one for one in document.key if one != name]
            columns = ", ".join(quote_identifier(one) for one in (name, *behind))
            wanted.append(_name_index(document.name, name, f"({columns})"))
    if searched_fields(document):
        wanted.append(_name_index(document.name, "_search", "using gin (_search)"))
    return wanted


def is_own_index(entity: str, name: str) -> bool:
    """Whether an index has a name that we give to those of this entity."""
    head, _, digest = name.rpartition("_")
    return name.startswith(f"{entity}_") and len(digest) == 8 and set(digest) <= set("0123456789abcdef") and bool(head)


def create_functions(document: EntityDocument, *, anew: bool = False) -> list[str]:
    """What the triggers call; replaced whenever fields or key change.

    `anew`: they take nothing over from what stands in a record, which another document's may have written.
    """
    return [_keep_records(document, anew), _bury_records(document)]


def create_triggers(document: EntityDocument) -> list[str]:
    """What keeps a table right whoever writes to it; made anew beside readers where it is there."""
    table, keep, bury = table_of(document.name), *functions_of(document.name)
    old, new = (", ".join(f"{side}.{quote_identifier(name)}" for name in document.key) for side in ("old", "new"))
    return [
        f"create or replace trigger _begin before insert or update or delete or truncate on {table}"
        " for each statement execute function warehouse.begin_writing()",
        f"create or replace trigger _keep before insert or update on {table} for each row execute function {keep}()",
        f"create or replace trigger _delete after delete on {table} referencing old table as gone"
        f" for each statement execute function {bury}()",
        f"create or replace trigger _truncate before truncate on {table} for each statement execute function {bury}()",
        f"create or replace trigger _move after update on {table} for each row"
        f" when (row({old}) is distinct from row({new})) execute function {bury}()",
    ]


def form_of(document: EntityDocument) -> str:
    """What keeps a table, in short: where it is another one, its triggers and records are to be made anew."""
    columns = [add_column(name, field) for name, field in document.fields.items()]
    made = "\n".join([*columns, *create_functions(document), *create_triggers(document)])
    return hashlib.sha256(made.encode()).hexdigest()[:16]


def cast_column(document: EntityDocument, name: str) -> str:
    """The statement that gives a column the type of its field; for an operator, who knows what becomes of values."""
    column, field = quote_identifier(name), document.fields[name]
    collation = ' collate "C"' if field.type == "text" else ""
    free = f"drop trigger if exists _move on {table_of(document.name)}; " if name in document.key else ""
    return (
        f"{free}alter table {table_of(document.name)} alter column {column}"
        f" type {type_of(field)}{collation} using {column}::{type_of(field)};"
    )


def change_key(document: EntityDocument) -> str:
    """The statement that gives a table another key; for an operator, who knows whether it tells records apart."""
    key = ", ".join(quote_identifier(name) for name in document.key)
    # Tables of earlier versions have the name that PostgreSQL gives.
    names = (quote_identifier(f"{document.name}{end}") for end in ("_pkey", KEY))
    dropped = ", ".join(f"drop constraint if exists {name}" for name in names)
    primary, _ = _keys(document.name, key)
    return (
        f"drop trigger if exists _move on {table_of(document.name)}; "
        f"alter table {table_of(document.name)} {dropped}, add {primary};"
    )


def lock_table(entity: str, *, alone: bool) -> str:
    """The statement that waits until nobody writes to a table, or with `alone` until nobody reads it either."""
    return f"lock table {table_of(entity)} in {'access exclusive' if alone else 'share row exclusive'} mode"


def rewrite_records(entity: str) -> str:
    """The statement that has the triggers write some records anew: those of sequences ($1, $2], the first $3 of them.

    One that was changed meanwhile has another sequence, and was written anew by that.
    """
    table = table_of(entity)
    return f"""with bite as materialized (
        select _sequence from {table} where _sequence > $1 and _sequence <= $2 order by _sequence limit $3
    ), written as (
        update {table} as t set _json = t._json from bite where t._sequence = bite._sequence returning 1
    )
    select max(bite._sequence) as last, count(*) as count, (select count(*) from written) as written from bite"""


def has_null(entity: str, name: str) -> str:
    """The query whether any record lacks a field."""
    return f"select exists (select from {table_of(entity)} where {quote_identifier(name)} is null)"


def require_field(document: EntityDocument, name: str) -> tuple[str, str, str]:
    """How a field becomes required beside writers: noted, validated without a lock that matters, then taken over."""
    alter, check = f"alter table {table_of(document.name)}", quote_identifier(f"{name}_set")
    column = quote_identifier(name)
    return (
        f"{alter} drop constraint if exists {check}, add constraint {check} check ({column} is not null) not valid",
        f"{alter} validate constraint {check}",
        f"{alter} alter column {column} set not null, drop constraint {check}",
    )


def drop_check(entity: str, name: str) -> str:
    """The statement that takes back what `require_field` noted."""
    return f"alter table {table_of(entity)} drop constraint if exists {quote_identifier(f'{name}_set')}"


def fill_field(entity: str, name: str) -> str:
    """What an operator runs before a field can be required."""
    column = quote_identifier(name)
    return f"update {table_of(entity)} set {column} = ... where {column} is null;"


def shorten_texts(entity: str, name: str) -> str:
    """What an operator runs before a field can have an index, who knows what becomes of its texts."""
    column = quote_identifier(name)
    return f"update {table_of(entity)} set {column} = ... where octet_length({column}) > {INDEXED};"


def drop_index(name: str) -> str:
    """The statement that drops an index beside writers."""
    return f"drop index concurrently if exists entity.{quote_identifier(name)}"


def functions_of(entity: str) -> tuple[str, str]:
    """The quoted names of the functions that keep records and bury them."""
    keep, bury = (f"entity.{quote_identifier(f'{entity}{end}')}" for end in ("_keep", "_bury"))
    return keep, bury


def json_of(document: EntityDocument, row: str = "new", names: Sequence[str] = ()) -> str:
    """The SQL of a record's JSON text: the declared fields in their order, or those named in theirs."""
    pieces = []
    for at, name in enumerate(names or document.fields):
        field = document.fields[name]
        member = f'{"," if at else "{"}"{name}":'
        value = f"{quote_literal(member)} || {_json_value(f'{row}.{quote_identifier(name)}', field)}"
        pieces.append(f"coalesce({value}, {quote_literal(member + 'null')})")
    return _concat([*pieces, "'}'"])


def key_text(document: EntityDocument, row: str) -> str:
    """The SQL of a record's key as a path has it."""
    return " || ',' || ".join(
        _key_part(f"{row}.{quote_identifier(name)}", document.fields[name]) for name in document.key
    )


def _key_part(column: str, field: EntityField) -> str:
    if field.type == "text":
        return f"warehouse.encode_part({column})"
    return f"({column})::text" if field.type != "date" else f"warehouse.encode_part(to_json({column})#>>'{{}}')"


def _json_value(column: str, field: EntityField) -> str:
    if field.type in _BARE:
        return f"{column}::text"
    return f"'\"' || {column}::text || '\"'" if field.type in _PLAIN else f"to_json({column})::text"


def _concat(pieces: Sequence[str]) -> str:
    """One text of many: joined with `||` each would copy all before it, and a call takes 100 arguments."""
    while len(pieces) > 1:
        parts = [pieces[at : at + _MOST_ARGUMENTS] for at in range(0, len(pieces), _MOST_ARGUMENTS)]
        pieces = [f"concat({', '.join(part)})" for part in parts]
    return pieces[0]


def _not_null(document: EntityDocument, name: str) -> str:
    return " not null" if document.fields[name].required or name in document.key else ""


def _keys(entity: str, key: str) -> tuple[str, str]:
    """The constraints whose indexes stand among the tables, under names that no entity has."""
    primary, order = (quote_identifier(f"{entity}{end}") for end in (KEY, ".sequence"))
    return f"constraint {primary} primary key ({key})", f"constraint {order} unique (_sequence)"


def _filled_keys(document: EntityDocument) -> Iterator[str]:
    # A record with an empty key would have the path of the list.
    for name in document.key:
        if document.fields[name].type == "text":
            yield f"check ({quote_identifier(name)} <> '')"


def _name_index(entity: str, field: str, on: str) -> Index:
    digest = hashlib.sha256(f"{entity} {field} {on}".encode()).hexdigest()[:8]
    return Index(f"{entity}_{field}"[:54] + f"_{digest}", on, field)


def _pinned(document: EntityDocument) -> str:
    """Settings under which values are written in one way, only where they would matter: they cost a microsecond."""
    types = {field.type for field in document.fields.values()}
    zone = " set timezone = 'UTC'" if "timestamp" in types else ""
    return zone + (" set extra_float_digits = 1" if types & {"real", "double"} else "")


def _fill_search(document: EntityDocument, anew: bool) -> str:
    """The lines that keep the vector of full text; to make it costs more than all the rest of a row."""
    names = searched_fields(document)
    if not names:
        return ""
    old, new = (", ".join(f"{side}.{quote_identifier(name)}" for name in names) for side in ("old", "new"))
    made = f"new._search := to_tsvector('{SEARCH}', left(concat_ws(' ', {new}), {SEARCHED}));"
    if anew:
        return f"    {made}\n"
    same = f"row({new})::record operator(pg_catalog.*=) row({old})::record"
    return f"""    if tg_op = 'UPDATE' and {same} then
        new._search := old._search;
    else
        {made}
    end if;
"""


def _keep_records(document: EntityDocument, anew: bool) -> str:
    keep, _ = functions_of(document.name)
    old, new = (", ".join(f"{side}.{quote_identifier(name)}" for name in document.fields) for side in ("old", "new"))
    search = _fill_search(document, anew)
    return f"""create or replace function {keep}() returns trigger language plpgsql{_pinned(document)} as $body$
begin
    new._json := {json_of(document)};
{search}    if tg_op = 'UPDATE' and row({new})::record operator(pg_catalog.*=) row({old})::record then
        new._sequence := old._sequence;
        new._origin := old._origin;
        new._created_at := old._created_at;
        new._updated_at := old._updated_at;
        return new;
    end if;
    new._sequence := nextval('warehouse.sequence');
    new._origin := nullif(current_setting('warehouse.origin', true), '');
    new._created_at := case tg_op when 'UPDATE' then old._created_at else now() end;
    new._updated_at := now();
    return new;
end
$body$"""


def _bury_records(document: EntityDocument) -> str:
    _, bury = functions_of(document.name)
    table = table_of(document.name)
    there = " and ".join(f"there.{quote_identifier(name)} = old.{quote_identifier(name)}" for name in document.key)
    return f"""create or replace function {bury}() returns trigger language plpgsql as $body$
begin
    if tg_op = 'DELETE' then
        {_bury(document, "gone", "gone")};
    elsif tg_op = 'TRUNCATE' then
        {_bury(document, "gone", f"{table} as gone")};
    elsif not exists (select from {table} as there where {there}) then
        {_bury(document, "old", "(select 1) as one")};
    end if;
    return null;
end
$body$"""


def _bury(document: EntityDocument, row: str, rows: str) -> str:
    origin = "nullif(current_setting('warehouse.origin', true), '')"
    return f"""insert into warehouse.tombstone (entity, key, sequence, source, external_id, origin, deleted_at)
        select {quote_literal(document.name)}, {key_text(document, row)}, nextval('warehouse.sequence'),
            {row}._source, {row}._external_id, {origin}, now()
        from {rows}
        on conflict (entity, key) do update set sequence = excluded.sequence, source = excluded.source,
            external_id = excluded.external_id, origin = excluded.origin, deleted_at = excluded.deleted_at"""

"""The one place of this room where SQL is composed: identifiers come from built entities, values are parameters."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from nms.common.db.quoting import quote_identifier, quote_literal
from nms.warehouse.entities import Served
from nms.warehouse.filter import All, Condition, Either, Node, Not
from nms.warehouse.table import SEARCH, TYPES, json_of, table_of

LARGEST_PAGE: Final = 16 << 20
"""Bytes of the records of one page; a single record may be larger."""
WEIGHED_FROM: Final = 100
"""Records from which on a page is weighed before it is glued: that costs some of the time of a usual page."""
BETWEEN: Final = b",\n"
"""What stands between records: a line break stands in none of them, so their ends are found."""
_BETWEEN: Final = quote_literal(BETWEEN.decode())
_SIGNS: Final = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "like", "ilike": "ilike"}
_REMEMBERED: Final = 4_096


@dataclass(frozen=True, slots=True)
class Sort:
    """One part of an order: null stands behind all values, in front of them when it descends."""

    field: str
    descends: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Behind which record a page starts, in front of which it ends when `backward`; `nulls` of its sort values."""

    nulls: tuple[bool, ...]
    backward: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What is shown of a record: all fields, or these; and where it came from."""

    fields: tuple[str, ...] | None = None
    lineage: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """What the text of a list's statement depends on. Its values are those of the filter, the text that is searched,
    the key of the parent, the sort values of the start, in this order.

    `sort` ends with the key. `parent` is the entity, and the field of this one, that the list belongs to.
    """

    entity: Served
    sort: tuple[Sort, ...]
    limit: int
    view: View = View()
    filter: Node | None = None
    values: int = 0
    search: bool = False
    parent: tuple[Served, str] | None = None
    start: Start | None = None
    offset: int = 0
    counted: bool = False


@lru_cache(_REMEMBERED)
def compose_list(listing: Listing) -> str:
    """A page in one row: `items` (bytes), `found`, the sort values of its `first` and `last` record, `state`,
    `counted` and whether the parent `exists`.

    `found` is one more than the limit where there are more records: then one of them stands at the end of `items`, or
    at their begin where the page ends. `items` are null where that is too much: weigh them.
    """
    if listing.limit > WEIGHED_FROM:
        return compose_weighed(listing)
    items = f"case when octet_length(items) <= {LARGEST_PAGE} then convert_to(items, 'UTF8') end as items"
    return (
        f"select {', '.join([items, *_told(listing)])} from (select count(*) as found,"
        f" string_agg(j, {_BETWEEN}) as items, {_sort_values(listing)} from ({_rows(listing)}) as r) as a"
    )


@lru_cache(_REMEMBERED)
def compose_weighed(listing: Listing) -> str:
    """A page that is weighed before it is glued, as `compose_list` has it, but that `items` are those of the page.

    They are null where they are larger than a page may be, and `size` says by how much.
    """
    items = (
        f"case when size - beyond <= {LARGEST_PAGE} or least(found, {listing.limit}) = 1"
        f" then {_cut(listing)} end as items"
    )
    # What is too large together is not glued to learn that; to weigh a record reads nothing of it.
    place = 1 if _is_backward(listing) else listing.limit + 1
    rows = (
        "(select *, count(*) over whole as n, sum(octet_length(j)) over whole as weight,"
        f" nth_value(octet_length(j), {place}) over whole as last from ({_rows(listing)}) as r"
        " window whole as (rows between unbounded preceding and unbounded following)) as r"
    )
    light = f"weight - case when n > {listing.limit} then last else 0 end <= {LARGEST_PAGE}"
    return (
        f"select {', '.join([items, 'size - beyond as size', *_told(listing)])} from (select count(*) as found,"
        f" string_agg(case when {light} or n = 1 then j end, {_BETWEEN}) as items,"
        f" coalesce(sum(octet_length(j)), 0) as size, {_beyond(listing)} as beyond, {_sort_values(listing)}"
        f" from {rows}) as a"
    )


def _told(listing: Listing) -> list[str]:
    """What a page tells beside its records."""
    low, high = _edges(listing)
    count = range(len(listing.sort))
    told = [
        "found",
        f"array[{', '.join(f'k{at}[{low}]::text' for at in count)}] as first",
        f"array[{', '.join(f'k{at}[{high}]::text' for at in count)}] as last",
        f"{_state(listing)} as state",
    ]
    if listing.counted:
        told.append(f"(select count(*) from {table_of(listing.entity.name)} where {_matching(listing)}) as counted")
    if listing.parent is not None:
        told.append(f"{_parent_exists(listing)} as exists")
    return told


def _sort_values(listing: Listing) -> str:
    return ", ".join(f"array_agg(k{at}) as k{at}" for at in range(len(listing.sort)))


def compose_estimate(listing: Listing) -> str:
    """What PostgreSQL thinks of a list before it reads it: its plan as JSON."""
    return f"explain (format json) {_rows(listing)}"


def compose_count(listing: Listing) -> str:
    """The plan of all records of a list, of which the number of rows is wanted."""
    return f"explain (format json) select from {table_of(listing.entity.name)} where {_matching(listing)}"


@lru_cache(_REMEMBERED)
def compose_state(listing: Listing) -> str:
    """The newest change of what a list shows."""
    return f"select {_state(listing)}"


@lru_cache(_REMEMBERED)
def compose_record(entity: Served, view: View) -> str:
    """A record by its key, as bytes, and its sequence."""
    key = " and ".join(f"{_column(name)} = {cast(entity, name, at)}" for at, name in enumerate(entity.key, 1))
    shown = f"convert_to({_shown(entity, view)}, 'UTF8')"
    return f"select {shown}, _sequence from {table_of(entity.name)} as shown where {key}"


def cast(entity: Served, field: str, parameter: int) -> str:
    """A parameter, which is sent as a text, as a value of a field."""
    return f"${parameter}::text::{TYPES[entity.fields[field].type]}"


def _column(name: str) -> str:
    return quote_identifier(name)


def _edges(listing: Listing) -> tuple[str, str]:
    """Where the shown records begin and end among those that were found."""
    if _is_backward(listing):
        return f"greatest(found - {listing.limit - 1}, 1)", "found"
    return "1", f"least(found, {listing.limit})"


def _beyond(listing: Listing) -> str:
    """The bytes of the record that shows only that there are more; 0 where there are none."""
    place = 1 if _is_backward(listing) else listing.limit + 1
    return f"case when count(*) > {listing.limit} then (array_agg(octet_length(j)))[{place}] else 0 end"


def _cut(listing: Listing) -> str:
    """The records without that one and its comma: cut from what is glued, which costs less than to glue an array."""
    given = "convert_to(items, 'UTF8')"
    more = f"beyond + {len(BETWEEN)} * (beyond > 0)::integer"
    return (
        f"substr({given}, 1 + {more})"
        if _is_backward(listing)
        else f"substr({given}, 1, octet_length(items) - ({more}))"
    )


def _is_backward(listing: Listing) -> bool:
    return listing.start is not None and listing.start.backward


def _rows(listing: Listing) -> str:
    """The records of a page and one more, in the order shown, with their sort values k0, k1, ..."""
    start = listing.start
    backward = start is not None and start.backward
    order = tuple(Sort(one.field, one.descends != backward) for one in listing.sort)
    keys = ", ".join(f"{_column(one.field)} as k{at}" for at, one in enumerate(listing.sort))
    shown = f"select {_shown(listing.entity, listing.view)} as j, {keys} from {table_of(listing.entity.name)} as shown"
    matching = _matching(listing)
    branches = ["true"] if start is None else list(_after(listing, order, start.nulls))
    bound = f"limit {listing.limit + 1}" + (f" offset {listing.offset}" if listing.offset else "")
    parts = [f"{shown} where {_both(matching, branch)} order by {_ordered(order)} {bound}" for branch in branches]
    numbered = ", ".join(f"k{at}{_direction(one)}" for at, one in enumerate(order))
    rows = parts[0]
    if len(parts) > 1:
        rows = " union all ".join(f"({part})" for part in parts) + f" order by {numbered} limit {listing.limit + 1}"
    if backward:
        numbered = ", ".join(f"k{at}{_direction(one)}" for at, one in enumerate(listing.sort))
        rows = f"select * from ({rows}) as b order by {numbered}"
    return rows


def _ordered(order: Sequence[Sort]) -> str:
    return ", ".join(f"{_column(one.field)}{_direction(one)}" for one in order)


def _direction(one: Sort) -> str:
    return " desc" if one.descends else ""


def _after(listing: Listing, order: Sequence[Sort], nulls: tuple[bool, ...]) -> Iterator[str]:
    """Conditions of what comes behind a record, each one range of an index, together once every record.

    A comparison of rows stands for all columns that go one way and hold no null.
    """
    first = _start_values(listing)
    nullable = [one.field not in listing.entity.key and not listing.entity.fields[one.field].required for one in order]
    known: list[str] = []
    found: list[list[str]] = []
    at = 0
    while at < len(order):
        # A null is no parameter: nothing is compared with it.
        one, parameter = order[at], first + nulls[:at].count(False)
        column = _column(one.field)
        end = _run_of(order, nullable, nulls, at)
        behind: list[str] = []
        if nulls[at]:
            if one.descends:
                behind.append(f"{column} is not null")
        else:
            behind.append(_compare(listing, order[at:end], parameter))
            if nullable[at] and not one.descends:
                behind.append(f"{column} is null")
        found.append([" and ".join([*known, condition]) for condition in behind])
        known += [
            f"{_column(each.field)} is null"
            if nulls[at + offset]
            else f"{_column(each.field)} = {cast(listing.entity, each.field, parameter + offset)}"
            for offset, each in enumerate(order[at:end])
        ]
        at = end
    branches = [branch for level in reversed(found) for branch in level]
    yield from branches or ["false"]


def _run_of(order: Sequence[Sort], nullable: Sequence[bool], nulls: Sequence[bool], at: int) -> int:
    """The end of the columns that one comparison of rows takes together."""
    end = at + 1
    if not nulls[at]:
        while end < len(order) and order[end].descends == order[at].descends and not nullable[end]:
            end += 1
    return end


def _compare(listing: Listing, run: Sequence[Sort], parameter: int) -> str:
    columns = ", ".join(_column(one.field) for one in run)
    values = ", ".join(cast(listing.entity, one.field, parameter + at) for at, one in enumerate(run))
    return f"({columns}) {'<' if run[0].descends else '>'} ({values})"


def _start_values(listing: Listing) -> int:
    """The number of the first sort value among the parameters."""
    return listing.values + listing.search + (listing.parent is not None) + 1


def _matching(listing: Listing) -> str:
    """The condition of all records of a list, on whatever page."""
    parts = [] if listing.filter is None else [f"({_where(listing, listing.filter)})"]
    if listing.search:
        parts.append(f"_search @@ websearch_to_tsquery('{SEARCH}', ${listing.values + 1}::text)")
    if listing.parent is not None:
        parent, field = listing.parent
        parts.append(f"{_column(field)} = {_parent_key(listing, parent)}")
    return " and ".join(parts) or "true"


def _both(one: str, other: str) -> str:
    return " and ".join(part for part in (one, other) if part != "true") or "true"


def _parent_key(listing: Listing, parent: Served) -> str:
    return cast(parent, parent.key[0], listing.values + listing.search + 1)


def _parent_exists(listing: Listing) -> str:
    assert listing.parent is not None
    parent = listing.parent[0]
    return (
        f"exists (select from {table_of(parent.name)} where {_column(parent.key[0])} = {_parent_key(listing, parent)})"
    )


def _state(listing: Listing) -> str:
    """The newest change of the entities that a list looks at, deletions too; 0 where nothing ever was."""
    entities = [listing.entity, *([listing.parent[0]] if listing.parent is not None else [])]
    newest = [
        one
        for entity in entities
        for one in (
            f"(select max(_sequence) from {table_of(entity.name)})",
            f"(select max(sequence) from warehouse.tombstone where entity = {quote_literal(entity.name)})",
        )
    ]
    return f"coalesce(greatest({', '.join(newest)}), 0)"


def _shown(entity: Served, view: View) -> str:
    """The JSON text of a record of `shown`."""
    text = "shown._json" if view.fields is None else json_of(entity.document, "shown", view.fields)
    if not view.lineage:
        return text
    members = ("source", "external_id", "sequence", "created_at", "updated_at")
    told = " || ',' || ".join(f"'\"{name}\":' || coalesce(to_json(shown._{name})::text, 'null')" for name in members)
    return f"left({text}, -1) || ',\"_lineage\":{{' || {told} || '}}}}'"


def _where(listing: Listing, node: Node) -> str:
    """A condition as SQL; a null makes none of them true, and what is negated is true unless its part is."""
    match node:
        case Not(part):
            return f"({_where(listing, part)}) is not true"
        case All(parts):
            return " and ".join(f"({_where(listing, part)})" for part in parts)
        case Either(parts):
            return " or ".join(f"({_where(listing, part)})" for part in parts)
        case Condition():
            return _condition(listing, node)


def _condition(listing: Listing, one: Condition) -> str:
    column = _column(one.field)
    parameter = one.at + 1
    if one.path:
        column = f"({column} #> ${parameter}::text[])"
        parameter += 1
    if listing.entity.fields[one.field].type == "json":
        return _json_condition(column, one, parameter)
    if one.operator == "is":
        return f"{column} is {one.state}"
    type_ = TYPES[one.compared]
    if one.operator == "ilike":
        column += ' collate "default"'
    if one.operator == "in":
        return f"{column} = any(${parameter}::text[]::{type_}[])"
    return f"{column} {_SIGNS[one.operator]} ${parameter}::text::{type_}"


def _json_condition(column: str, one: Condition, parameter: int) -> str:
    if one.operator == "is":
        return f"coalesce({column}, 'null') = '{one.state}'"
    if one.operator in ("eq", "in"):
        return f"{column} = any(${parameter}::text[]::jsonb[])"
    text = f"({column} #>> '{{}}')"
    if one.compared == "number":
        compared = f"{text}::numeric {_SIGNS[one.operator]} ${parameter}::text::numeric"
        return f"case when jsonb_typeof({column}) = 'number' then {compared} end"
    text += f' collate "{"default" if one.operator == "ilike" else "C"}"'
    return f"case when jsonb_typeof({column}) = 'string' then {text} {_SIGNS[one.operator]} ${parameter}::text end"


def compose_whole(listing: Listing, expressions: Sequence[str]) -> str:
    """All records of a list in its order, one row each: the JSON text as bytes, then these expressions."""
    columns = ", ".join([f"convert_to({_shown(listing.entity, listing.view)}, 'UTF8')", *expressions])
    rows = f"select {columns} from {table_of(listing.entity.name)} as shown where {_matching(listing)}"
    return f"{rows} order by {_ordered(listing.sort)}"

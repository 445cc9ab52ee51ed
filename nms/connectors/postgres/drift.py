"""What becomes of a pair of tables when the source's changed: pure (DESIGN 4.8)."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nms.connectors.postgres import alterations
from nms.connectors.postgres.catalog import Table, TableColumn
from nms.connectors.postgres.conditions import full_identity
from nms.connectors.postgres.pairing import Pair, pair, widens
from nms.connectors.postgres.statements import quote_table

OWN_TYPES = 16384
"""Object ids from here on are given by each database itself (FirstNormalObjectId)."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a table is left out, and the exact statements that make it fit again."""

    code: str
    detail: str
    sql: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As positions have it."""
        return asdict(self)


@dataclass(slots=True)
class Verdict:
    """The pair as it goes on, what the target must do before, whether rows must be copied again; or a pause."""

    pair: Pair | None = None
    steps: tuple[str, ...] = ()
    copy: bool = False
    pause: Pause | None = None


def judge(one: Pair, source: Table, names: tuple[str, str], *, follows: bool) -> Verdict:
    """What becomes of a pair whose source table now is as given; `follows` lets the target change with it."""
    pause = _broken(one, source)
    if pause is not None:
        return Verdict(pause=pause)
    steps, target = complete(one, source) if follows else ((), one.target)
    found = pair([one.spec], {one.spec.source: source}, {one.spec.target: target}, names)
    fatal = [finding for finding in found.findings if finding.fatal and finding.code != "column-left-out"]
    if fatal or not found.pairs:
        first = fatal[0] if fatal else found.findings[0]
        return Verdict(pause=Pause(first.code, first.sentence, first.sql))
    made = found.pairs[0].settled_as(one)
    return Verdict(made, steps, copy=bool(gained(one.fed(), made)))


def complete(one: Pair, source: Table) -> tuple[tuple[str, ...], Table]:
    """The statements by which the target gets what it lacks of the source's columns, and the target after them."""
    steps: list[str] = []
    columns = {column.name: column for column in one.target.columns}
    before = {column.name: column for column in one.source.columns}
    fed = one.fed()
    for column in source.sent():
        old, to = before.get(column.name), fed.get(column.name)
        if to is None and one.spec.fields is None and column.name not in columns and column.number:
            steps.append(alterations.add_column(one.target.quoted, column.name, column.full_type, column.missing))
            columns[column.name] = _taken_over(column)
        elif to is not None and old is not None and to in columns and _widens_both(old, column, columns[to]):
            steps.append(alterations.alter_column(one.target.quoted, to, column.full_type))
            columns[to] = replace(_taken_over(column), name=to, identity=columns[to].identity)
    return tuple(steps), replace(one.target, columns=list(columns.values()))


def gained(fed: dict[str, str], made: Pair) -> list[str]:
    """The columns that begin to travel and of which rows that are there may have another value at the target."""
    return [
        left.name for left, right in made.columns
        if fed.get(left.name) != right.name
        and (left.missing != right.missing or left.identity or (left.has_default and left.missing is None))
    ]  # fmt: skip


def unfed(fed: dict[str, str], made: Pair) -> list[str]:
    """Columns of the target that were fed, are still there, and would get nothing from now on."""
    if made.spec.fields is not None:
        return []
    there, now = {column.name for column in made.target.columns}, set(made.fed().values())
    return [to for to in fed.values() if to in there and to not in now]


def travels_alike(column: TableColumn) -> bool:
    """Whether a column's binary form is read alike by every server that is given the same column."""
    return column.portable and "interval 17" not in column.wire


def _widens_both(old: TableColumn, new: TableColumn, target: TableColumn) -> bool:
    return new.full_type != old.full_type == target.full_type and widens(old, new)


def retyped(columns: Iterable[tuple[str, int, int]], made: Pair) -> list[str]:
    """Columns of the target that have another type than the source's, which changed since it was as given.

    Columns are given by name, type object id and type modifier.
    """
    types = {name: (oid, modifier) for name, oid, modifier in columns}
    return [
        right.name for left, right in made.columns
        if types.get(left.name, (left.oid, left.modifier)) != (left.oid, left.modifier)
        and right.full_type != left.full_type
    ]  # fmt: skip


def _taken_over(column: TableColumn) -> TableColumn:
    has_default, wire = column.missing is not None, column.wire if travels_alike(column) else ""
    return replace(column, required=False, has_default=has_default, generated=False, identity="", wire=wire)


def _broken(one: Pair, source: Table) -> Pause | None:
    return _moved(one, source) or _lost(one, source) or _rekeyed(one, source) or _retyped(one, source)


def _moved(one: Pair, source: Table) -> Pause | None:
    if (source.schema, source.relation) == (one.source.schema, one.source.relation):
        return None
    return renamed(one.spec.source, (one.source.schema, one.source.relation), (source.schema, source.relation))


def _lost(one: Pair, source: Table) -> Pause | None:
    there = {column.name for column in source.columns}
    lost = [(left, right) for left, right in one.columns if left.name not in there]
    asked = [condition.field for condition in one.conditions if condition.field not in there]
    if asked:
        return Pause("column-gone", f"{one.spec.source} lost column {asked[0]}, which `where` asks for")
    if not lost:
        return None
    told, sql = [], []
    for left, right in lost:
        new = _renamed(one, source, left)
        if new is None:
            told.append(f"column {left.name} was dropped")
            sql.append(alterations.drop_column(one.target.quoted, right.name))
        else:
            told.append(f"column {left.name} was renamed to {new.name}")
            if one.spec.fields is None:
                sql.append(alterations.rename_column(one.target.quoted, right.name, new.name))
    if one.spec.fields is not None:
        return Pause("column-gone", f"{one.spec.source}: {', '.join(told)}; say so in `fields`", "\n".join(sql))
    return Pause("column-gone", f"{one.spec.source}: {', '.join(told)}", "\n".join(sql))


def _renamed(one: Pair, source: Table, old: TableColumn) -> TableColumn | None:
    """The column that has the number of one that is gone: a column keeps it under another name."""
    known = {column.name for column in one.source.columns}
    for at, column in enumerate(source.columns):
        same = (column.oid, column.modifier) == (old.oid, old.modifier) and column.name not in known
        # Without a number (it got a third name meanwhile) its place among as many columns tells.
        placed = len(source.columns) == len(one.source.sent()) and one.source.sent()[at].name == old.name
        if same and (column.number == old.number if column.number and old.number else placed):
            return column
    return None


def _rekeyed(one: Pair, source: Table) -> Pause | None:
    key = source.log_key()
    if one.conditions and one.source.identity == "f" != source.identity:
        text = f"{one.spec.source} has lost replica identity full, by which rows are seen to leave the filter"
        return Pause("key-lost", text, full_identity(source.quoted))
    if one.spec.key or not one.key or set(key) == set(one.key):
        return None
    fed = one.fed()
    if not key:
        text = f"{one.spec.source} has lost its key, so its changes no longer say which row they are of"
        return Pause("key-lost", text, alterations.add_key(one.source.quoted, one.key))
    text = f"{one.spec.source}: rows are now told apart by ({', '.join(key)}), they were by ({', '.join(one.key)})"
    to = [fed.get(name, name) for name in key]
    sql = "" if one.target.has_key(to) else alterations.create_key(one.target.quoted, to)
    return Pause("key-changed", text, sql)


def _retyped(one: Pair, source: Table) -> Pause | None:
    now, before = ({column.name: column for column in table.columns} for table in (source, one.source))
    told, sql = [], []
    for field in {condition.field for condition in one.conditions}:
        if now[field].oid != before[field].oid:
            text = f"{one.spec.source}: column {field}, which `where` asks for, is now {now[field].full_type}"
            return Pause("type-changed", text)
    for left, right in one.columns:
        column = now[left.name]
        if (left.oid, left.modifier) != (column.oid, column.modifier) and not widens(left, column):
            told.append(f"column {left.name} is now {column.full_type}, it was {left.full_type}")
            sql.append(alterations.cast_column(one.target.quoted, right.name, column.full_type))
    return Pause("type-changed", f"{one.spec.source}: {', '.join(told)}", "\n".join(sql)) if told else None


def renamed(name: str, before: tuple[str, str], now: tuple[str, str]) -> Pause:
    """The pause of a table that has another schema or name now."""
    quoted = quote_table(*now)
    text = f"{name} is now named {quoted}; name it in the document, or give it its name back at the source"
    return Pause("table-renamed", text, alterations.rename_table(quoted, before[1]) if now[0] == before[0] else "")


def own_types(columns: Sequence[TableColumn]) -> list[str]:
    """The names of types whose object ids differ between databases."""
    return sorted({column.type for column in columns if column.oid >= OWN_TYPES})

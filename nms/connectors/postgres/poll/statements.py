"""SQL of a poll: which rows are new, composed as in `statements` and of its parts."""

from collections.abc import Iterable, Sequence

from nms.common.db.quoting import quote_identifier, quote_literal
from nms.connectors.postgres.poll.place import Horizon
from nms.connectors.postgres.statements import TargetTable, of_text, select_where, versions

_NOTED = "nms.change"


def since_scan(oldest: int, newest: int) -> str:
    """Rows by the transaction that wrote them, whose ages (modulo 2^32) are above `newest` and up to `oldest`."""
    return f"age(xmin) > {int(newest)} and age(xmin) <= {int(oldest)}"


def since_column(column: str, horizon: Horizon) -> str:
    """Rows by a column of type xid8 whose transaction a snapshot did not see."""
    name = quote_identifier(column)
    return f"{name} >= {quote_literal(str(horizon.xmin))}::xid8 and not {_seen(name, horizon)}"


def since_value(column: str, kind: str, value: str) -> str:
    """Rows by a time or number, from a value on."""
    return f"{quote_identifier(column)} >= {quote_literal(value)}::{kind}"


def among_noted(table: TargetTable, relations: Iterable[int], horizon: Horizon) -> str:
    """Rows whose key was noted by a transaction that a snapshot did not see."""
    keys = ", ".join(quote_identifier(table.columns[at]) for at in table.key)
    return f"({keys}) in (select {_key_of(table, 'c')} from {_NOTED} c where {_noted(relations, horizon)})"


def in_partitions(oids: Iterable[int]) -> str:
    """Rows of some partitions."""
    return f"tableoid = any({_oids(oids)})"


def select_changed(table: TargetTable, conditions: Sequence[str], upto: Sequence[str] | None, *, only: bool) -> str:
    """The rows that meet any of the conditions, their key up to one."""
    return select_where(table, _any(conditions), upto, only=only)


def select_outside(table: TargetTable, conditions: Sequence[str], *, only: bool) -> str:
    """The keys of rows that meet any of the conditions and are outside of the filter of the pipeline."""
    where = f"({_any(conditions)}) and ({table.where}) is not true"
    fields = [quote_identifier(table.columns[at]) for at in table.key]
    return f"select {_shown(table, fields, 'xmin')} from {_from(table, only)} where {where}"


def select_gone(table: TargetTable, relations: Iterable[int], horizon: Horizon, *, only: bool) -> str:
    """The keys that were noted since a snapshot and have no row of the pipeline, in the form that values travel in."""
    fields = [f"k.{quote_identifier(table.columns[at])}" for at in table.key]
    names = ", ".join([*(quote_identifier(table.columns[at]) for at in table.key), "nms_newest"])
    places = ", ".join(str(number) for number in range(1, len(table.key) + 1))
    pairs = zip(table.key, fields, strict=True)
    same = " and ".join(f"t.{quote_identifier(table.columns[at])} = {one}" for at, one in pairs)
    mine = f" and ({table.where})" if table.where else ""
    return (
        f"select {_shown(table, fields, 'k.nms_newest')} from (select {_key_of(table, 'c')}, max(c.xid::text::numeric)"
        f" from {_NOTED} c where {_noted(relations, horizon)} group by {places}) as k ({names})"
        f" where not exists (select from {_from(table, only)} t where {same}{mine})"
    )


def select_highest(table: TargetTable, column: str, *, only: bool) -> str:
    """The highest value of a column, as text; null where there is none."""
    return f"select max({quote_identifier(column)})::text from {_from(table, only)}"


def lock_tables(tables: Iterable[tuple[TargetTable, bool]]) -> str:
    """The lock that keeps tables from being rewritten, emptied or altered; readers and writers pass."""
    names = ", ".join(_from(table, only) for table, only in tables)
    return f"lock table {names} in access share mode"


def follow_table(pipeline: str, table: str, key: Sequence[str]) -> str:
    """The call that has changes of a table noted for a pipeline (see changes.sql)."""
    names = ", ".join(quote_literal(name) for name in key)
    return f"select nms.follow({quote_literal(pipeline)}, {quote_literal(table)}::regclass, array[{names}]);"


def grant_change_log(login: str) -> str:
    """The rights of a pipeline's login to the change log."""
    name = quote_identifier(login)
    return (
        f"grant usage on schema nms to {name};\n"
        f"grant select on nms.change, nms.reader to {name};\n"
        f"grant execute on function nms.confirm(text, xid8), nms.forget(text) to {name};"
    )


def create_index(table: str, column: str) -> str:
    """An index, made while the table is in use."""
    return f"create index concurrently on {table} ({quote_identifier(column)});"


def feed_cursor(schema: str, relation: str, column: str) -> str:
    """What fills a column of type xid8 with the transaction that wrote the row last."""
    name, touch = quote_identifier(column), quote_identifier(f"touch_{relation}"[:60])
    table, function = f"{quote_identifier(schema)}.{quote_identifier(relation)}", f"{quote_identifier(schema)}.{touch}"
    return (
        f"alter table {table} alter column {name} set default pg_current_xact_id();\n"
        f"create function {function}() returns trigger language plpgsql as\n"
        f"$$ begin new.{name} := pg_current_xact_id(); return new; end $$;\n"
        f"create trigger {touch} before insert or update on {table} for each row execute function {function}();"
    )


def _from(table: TargetTable, only: bool) -> str:
    return f"only {table.name}" if only else table.name


def _any(conditions: Sequence[str]) -> str:
    return " or ".join(f"({one})" for one in conditions)


def _shown(table: TargetTable, fields: Sequence[str], version: str) -> str:
    shown = [f"format('%s', {one})" if table.text_form else one for one in fields]
    return ", ".join([*shown, *versions(table, version)])


def _key_of(table: TargetTable, alias: str) -> str:
    return ", ".join(of_text(f"{alias}.key[{number}]", table.types[at]) for number, at in enumerate(table.key, 1))


def _noted(relations: Iterable[int], horizon: Horizon) -> str:
    return (
        f"c.key is not null and c.relation = any({_oids(relations)})"
        f" and c.xid >= {quote_literal(str(horizon.xmin))}::xid8 and not {_seen('c.xid', horizon)}"
    )


def _seen(xid: str, horizon: Horizon) -> str:
    return f"pg_visible_in_snapshot({xid}, {quote_literal(horizon.snapshot)}::pg_snapshot)"


def _oids(oids: Iterable[int]) -> str:
    return quote_literal("{" + ",".join(str(int(oid)) for oid in sorted(oids)) + "}") + "::oid[]"

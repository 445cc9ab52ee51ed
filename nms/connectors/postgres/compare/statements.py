"""The SQL of comparing, composed as in `postgres.statements`: names from the catalog, values as parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

from nms.common.db.quoting import quote_identifier
from nms.connectors.postgres.statements import TargetTable, delete_row, of_text, update_row

Value = str | None


@dataclass(frozen=True, slots=True)
class Form:
    """One side of a dataset: its table, its columns, and each of them as an expression that both sides show alike.

    `alike` says that key columns have one type on both sides, so that a key is found by its index; `weak` names key
    columns that may be null. `portable` says that both servers hash one text to one number. `where` is the SQL
    condition that rows of the pipeline meet; empty when all are.
    """

    table: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    shown: tuple[str, ...]
    key: tuple[int, ...]
    alike: bool
    weak: tuple[int, ...]
    portable: bool
    where: str = ""

    def hash_of(self, places: Sequence[int]) -> str:
        """The 64-bit hash of some columns' text."""
        text = f"row({', '.join(self.shown[at] for at in places)})::text"
        if self.portable:
            return f"pg_catalog.hashtextextended({text}, 0)"
        digest = f"encode(substr(sha256(convert_to({text}, 'UTF8')), 1, 8), 'hex')"
        return f"('x' || {digest})::bit(64)::bigint"

    def columns(self, places: Sequence[int]) -> list[str]:
        """Quoted columns."""
        return [f"t.{quote_identifier(self.names[at])}" for at in places]


@dataclass(frozen=True, slots=True)
class Condition:
    """Columns (by place) and the values of which each has one; None is null. All of them hold, or it does not."""

    columns: tuple[tuple[int, tuple[Value, ...]], ...]

    def values(self) -> list[str]:
        """The parameters, in the order of `sql`."""
        return [value for _, values in self.columns for value in values if value is not None]

    def sql(self, form: Form, first: int) -> str:
        """True or false, never null; parameters are numbered from `first`."""
        number, parts = first, []
        for at, values in self.columns:
            (column,) = form.columns([at])
            tests = []
            for value in values:
                if value is None:
                    tests.append(f"{column} is null")
                else:
                    tests.append(f"{column} = ${number}::text::{form.types[at]}")
                    number += 1
            parts.append(f"({' or '.join(tests)})")
        return f"coalesce({' and '.join(parts)}, false)"


def list_rows(form: Form) -> str:
    """Hash of the key, the key, hash of the row: of every row, in the order of the first."""
    fields = [form.hash_of(form.key), *(form.shown[at] for at in form.key), form.hash_of(range(len(form.names)))]
    return f"select {', '.join(fields)} from {form.table} t{_where(_keyed(form))} order by 1"


def list_holding(form: Form, condition: Condition) -> str:
    """Hash of the key and the key of every row that a condition holds for, in the order of the first."""
    fields = [form.hash_of(form.key), *(form.shown[at] for at in form.key)]
    where = _where([*_keyed(form), condition.sql(form, 1)])
    return f"select {', '.join(fields)} from {form.table} t{where} order by 1"


def list_keys(form: Form, fields: Sequence[str], *, by_text: bool, lock: str = "") -> str:
    """Fields of the rows of certain keys, each with the number of its key among those given.

    Parameters: for each column of the key an array of texts; with `lock` one more of the versions that rows must
    have (see `version`), and those that nobody else has are held. `by_text` finds keys that are no values here.
    """
    names = [f"nms_k{number}" for number in range(len(form.key))]
    matches = [_match(form, at, f"w.{name}", by_text=by_text) for at, name in zip(form.key, names, strict=True)]
    if lock:
        names.append("nms_version")
        matches.append("t.xmin = w.nms_version::xid")
    arrays = ", ".join(f"${number}::text[]" for number in range(1, len(names) + 1))
    held = f" for {lock} of t skip locked" if lock else ""
    return (
        f"select {', '.join(['w.nms_number::text', *fields])}"
        f" from unnest({arrays}) with ordinality as w ({', '.join(names)}, nms_number)"
        f" join {form.table} t on {' and '.join([*matches, *_own(form)])}{held}"
    )


def version() -> str:
    """What changes with every new version of a row: the transaction that wrote it."""
    return "t.xmin::text"


def show(form: Form, places: Sequence[int]) -> list[str]:
    """Columns in text form."""
    return [as_text(column) for column in form.columns(places)]


def as_text(column: str) -> str:
    """A column in the form that its type's output function gives; a cast to text differs for bool, bpchar and inet."""
    return f"case when {column} is distinct from null then pg_catalog.format('%s', {column}) end"


def update_seen(table: TargetTable, present: Sequence[int]) -> str:
    """As `update_row`, unless the row has another version by now; that is the last parameter."""
    return update_row(table, present) + _as_seen(len(present) + len(table.key))


def delete_seen(table: TargetTable) -> str:
    """As `delete_row`, unless the row has another version by now; that is the last parameter."""
    return delete_row(table) + _as_seen(len(table.key))


def test_condition(form: Form, condition: Condition) -> str:
    """Reads nothing; fails where a value is none of its column's type, or the type knows no equality."""
    return f"select {condition.sql(form, 1)} from {form.table} t limit 0"


def _as_seen(count: int) -> str:
    return f" and xmin = ${count + 1}::text::xid"


def _match(form: Form, at: int, given: str, *, by_text: bool) -> str:
    if by_text or not form.alike:
        return f"pg_catalog.format('%s', {form.shown[at]}) = {given}"
    return f"t.{quote_identifier(form.names[at])} = {of_text(given, form.types[at])}"


def _keyed(form: Form) -> list[str]:
    return [*(f"{column} is not null" for column in form.columns(form.weak)), *_own(form)]


def _own(form: Form) -> list[str]:
    return [f"({form.where})"] if form.where else []


def _where(conditions: Sequence[str]) -> str:
    return f" where {' and '.join(conditions)}" if conditions else ""

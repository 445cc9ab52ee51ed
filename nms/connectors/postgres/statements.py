"""The one place where SQL is composed: identifiers come from the catalog, through one quoting function."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nms.common.db.quoting import quote_identifier, quote_literal

# Sent over libpq, whose parameters are numbered.
ADVANCE_POSITION = "select nms.advance($1, $2::text::bigint, $3::text::jsonb)"
HOLD_POSITION = "update nms.position set updated_at = now() where pipeline = $1 and epoch = $2::text::bigint"
NO_FLUSH = "set local synchronous_commit = off"
STORE_LAYOUT = (
    "update nms.position set layouts = layouts || jsonb_build_object($3::text, $4::text::jsonb)"
    " where pipeline = $1 and epoch = $2::text::bigint"
)
STORE_PAUSE = (
    "update nms.position set position = jsonb_set(position, '{paused}', coalesce(position -> 'paused', '{}')"
    " || jsonb_build_object($3::text, $4::text::jsonb)) where pipeline = $1 and epoch = $2::text::bigint"
)
READ_SNAPSHOT = "select pg_current_snapshot()::text"

MOST_COLUMNS = 1600
DELETE_OP, UPSERT_OP, FIRST_PARTIAL_OP = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Constant:
    """What every row gets in one column: its name, the value as SQL (empty: the row's key as text), whether a key's."""

    name: str
    value: str
    in_key: bool = False


@dataclass(frozen=True, slots=True)
class TargetTable:
    """A table to write: quoted name, column names and types in the order of the values, indexes of its key.

    `text_form` says that values come in text form and are cast by the server; `acts` that deleting a row may change
    others (a foreign key with `on delete cascade` or `set null`). `version` is the index of a column that grows with
    every change of a row: older values are passed over. `where` is the SQL condition that the rows of the pipeline
    meet, others are left alone; empty when all are its own. `constants` are written beside the values.
    `inexact` says that keys may be equal and not the same (1.0 and 1.00); `only` that tables which inherit from it are
    none of ours. With a `mark` rows are read with one text more, which tells their versions apart. `required` are the
    indexes of columns that no row can be without, and that have no default.
    """

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    key: tuple[int, ...]
    text_form: bool
    stage: str
    acts: bool = False
    version: int | None = None
    where: str = ""
    constants: tuple[Constant, ...] = ()
    inexact: bool = False
    only: bool = False
    mark: str = ""
    required: frozenset[int] = frozenset()

    @property
    def own(self) -> str:
        """The name that leaves children out."""
        return f"only {self.name}" if self.only else self.name

    @property
    def op_column(self) -> str:
        """The column of the stage that says what to do with a row."""
        name = "nms_op"
        while name in self.columns:
            name += "_"
        return name

    @property
    def stageable(self) -> bool:
        """Whether changes may be folded and staged: a stage has one column more, and folding keeps what came last."""
        return len(self.columns) < MOST_COLUMNS and self.version is None


def quote_table(schema: str, relation: str) -> str:
    """A quoted, qualified table name."""
    return f"{quote_identifier(schema)}.{quote_identifier(relation)}"


def insert_row(table: TargetTable, present: Sequence[int] | None = None, *, absent: bool = False) -> str:
    """Insert of a row, or its update where the key is there already: all its columns, or those present.

    With `absent` nothing is tried where the key is there: PostgreSQL misses required columns before it sees the key.
    """
    places = range(len(table.columns)) if present is None else present
    parameters = _parameters(table, places)
    columns, values = written(table, parameters, places)
    rows = f"values ({values})"
    if absent:
        key = _where_key(table, [parameters[places.index(at)] for at in table.key])
        rows = f"select {values} where not exists (select from {table.own} where {key})"
    return f"insert into {table.name} as t ({columns}) overriding system value {rows}{on_conflict(table, places)}"


def insert_new(table: TargetTable) -> str:
    """Insert of a whole row that leaves one already there as it is."""
    places = range(len(table.columns))
    columns, values = written(table, _parameters(table, places), places)
    return (
        f"insert into {table.name} ({columns}) overriding system value values ({values})"
        f" on conflict ({_keyquote_names(table)}) do nothing"
    )


def update_row(table: TargetTable, present: Sequence[int]) -> str:
    """Update of the present columns; parameters: those values, then the key's."""
    places = [*present, *table.key]
    parameters = _parameters(table, places)
    sets = ", ".join(
        f"{quote_identifier(table.columns[at])} = {value}" for at, value in zip(present, parameters, strict=False)
    )
    if set(table.key) <= set(present):
        key = _key_text(parameters[: len(present)], present, table.key)
        sets += "".join(f", {quote_identifier(one.name)} = {key}" for one in table.constants if not one.value)
    newer = ""
    if table.version in present:
        newer = _not_newer(table, "", parameters[present.index(table.version)])
    return f"update {table.own} set {sets} where {_all(_where_key(table, parameters[len(present) :]), newer)}"


def delete_row(table: TargetTable) -> str:
    """Delete by key."""
    where = _all(_where_key(table, _parameters(table, table.key)), table.where)
    return f"delete from {table.own} where {where}"


def truncate_tables(tables: Sequence[TargetTable]) -> list[str]:
    """Truncate of tables by one statement; of those that are not the pipeline's alone its rows are deleted."""
    whole = [table.own for table in tables if not table.where]
    shared = [empty_table(table) for table in reversed(tables) if table.where]
    return shared + ([f"truncate {', '.join(whole)}"] if whole else [])


def create_stage(table: TargetTable) -> str:
    """The temporary table that rows are copied into: the target's types, or text where the server casts."""
    types = ["text"] * len(table.columns) if table.text_form else list(table.types)
    columns = ", ".join(f"{quote_identifier(name)} {kind}" for name, kind in zip(table.columns, types, strict=True))
    return (
        f"create temporary table if not exists {table.stage}"
        f" ({table.op_column} smallint not null default {UPSERT_OP}, {columns}) on commit delete rows"
    )


def copy_stage(table: TargetTable, *, with_op: bool) -> str:
    """COPY into the stage."""
    columns = quote_names([table.op_column, *table.columns] if with_op else table.columns)
    return f"copy {table.stage} ({columns}) from stdin (format binary)"


def copy_table(table: TargetTable) -> str:
    """COPY straight into the table."""
    return f"copy {table.name} ({quote_names(table.columns)}) from stdin (format binary)"


def delete_staged(table: TargetTable) -> str:
    """Delete of every staged key."""
    staged = f"select from {table.stage} s where s.{table.op_column} = {DELETE_OP} and {_join(table)}"
    if table.where:
        # The stage has columns of the same names, which stay out of sight of the condition here.
        return f"delete from {table.own} t where {table.where} and exists ({staged})"
    return f"delete from {table.own} t using {table.stage} s where s.{table.op_column} = {DELETE_OP} and {_join(table)}"


def insert_staged(
    table: TargetTable, op: int = UPSERT_OP, present: Sequence[int] | None = None, *, absent: bool = False
) -> str:
    """Insert, or update where the key is there, of every staged row of one op, as `insert_row` has it."""
    places = range(len(table.columns)) if present is None else present
    columns, values = written(table, [_staged(table, at) for at in places], places)
    where = f"s.{table.op_column} = {op}"
    if absent:
        where = f"{where} and not exists (select from {table.own} t where {_join(table)})"
    into = f"insert into {table.name} as t ({columns}) overriding system value"
    return f"{into} select {values} from {table.stage} s where {where}{on_conflict(table, places)}"


def update_staged(table: TargetTable, op: int, present: Sequence[int]) -> str:
    """Update of the present columns of every staged row of one op."""
    sets = ", ".join(f"{quote_identifier(table.columns[at])} = {_staged(table, at)}" for at in present)
    where = f"s.{table.op_column} = {op} and {_join(table)}"
    return f"update {table.own} t set {sets} from {table.stage} s where {where}"


def clear_stage(table: TargetTable) -> str:
    """Empty the stage."""
    return f"truncate {table.stage}"


def sweep_range(table: TargetTable, after: Sequence[str] | None, upto: Sequence[str] | None) -> str:
    """Delete, in a range of keys, what is not staged; without a key everything."""
    if not table.key:
        return empty_table(table)
    bounds = _all(_range(table, "t.", after, upto), table.where)
    where = f"{bounds} and " if bounds else ""
    return f"delete from {table.own} t where {where}not exists (select from {table.stage} s where {_join(table)})"


def empty_table(table: TargetTable) -> str:
    """Delete of all rows of the pipeline; unlike a truncate it fires row triggers and honours foreign keys."""
    return f"delete from {table.own}" + (f" where {table.where}" if table.where else "")


def select_rows(source: TargetTable, after: Sequence[str] | None, upto: Sequence[str] | None, *, only: bool) -> str:
    """The rows of the pipeline whose key lies after one and up to another."""
    bounds = _all(_range(source, "", after, upto), source.where)
    return f"select {_selected(source)} from {_from(source, only)}" + (f" where {bounds}" if bounds else "")


def select_where(source: TargetTable, condition: str, upto: Sequence[str] | None, *, only: bool) -> str:
    """The rows of the pipeline that meet a condition and whose key lies up to one."""
    where = _all(_all(f"({condition})", _range(source, "", None, upto)), source.where)
    return f"select {_selected(source)} from {_from(source, only)} where {where}"


def select_key(source: TargetTable, *, only: bool) -> str:
    """The row of one key, given as parameters, if it is one of the pipeline."""
    where = _all(_where_key(source, _parameters(source, source.key)), source.where)
    return f"select {_selected(source)} from {_from(source, only)} where {where}"


def lock_table(source: TargetTable, *, only: bool) -> str:
    """The lock that keeps a table from being rewritten, emptied or altered; readers and writers pass."""
    return f"lock table {_from(source, only)} in access share mode"


def select_bound(source: TargetTable, after: Sequence[str] | None, size: int, *, only: bool) -> str:
    """The key that ends a chunk of so many rows, in text form; no row when fewer are left.

    Rows are counted whether they are of the pipeline or not, so that a chunk's time has a bound.
    """
    bounds = _range(source, "", after, None)
    # Qualified, or `order by` would mean the text forms that stand under the same names.
    key = ", ".join(f"t.{quote_identifier(source.columns[at])}" for at in source.key)
    texts = ", ".join(f"{quote_identifier(source.columns[at])}::text" for at in source.key)
    where = f" where {bounds}" if bounds else ""
    return f"select {texts} from {_from(source, only)} t{where} order by {key} offset {int(size) - 1} limit 1"


def select_keys(table: TargetTable, after: Sequence[str] | None, size: int) -> str:
    """The next so many keys of the pipeline's rows, in order and in text form."""
    key = ", ".join(f"t.{quote_identifier(table.columns[at])}" for at in table.key)
    texts = ", ".join(as_streamed(f"t.{quote_identifier(table.columns[at])}") for at in table.key)
    where = _all(_range(table, "t.", after, None), *_fixed(table, "t."), table.where)
    bounds = f" where {where}" if where else ""
    return f"select {texts} from {table.own} t{bounds} order by {key} limit {int(size)}"


def start_replication(slot: str, lsn: str, options: dict[str, str]) -> str:
    """START_REPLICATION on a logical slot (PostgreSQL manual, 55.4)."""
    given = ", ".join(f"{quote_identifier(name)} {quote_literal(value)}" for name, value in options.items())
    return f"START_REPLICATION SLOT {quote_identifier(slot)} LOGICAL {lsn} ({given})"


def select_any(table: str) -> str:
    """Whether a table has any row."""
    return f"select exists (select from {table})"


def count_rows(table: str) -> str:
    """How many rows a table has."""
    return f"select count(*) from {table}"


def _all(*conditions: str) -> str:
    return " and ".join(one for one in conditions if one)


def quote_names(columns: Iterable[str]) -> str:
    """Quoted identifiers, separated by commas."""
    return ", ".join(quote_identifier(name) for name in columns)


def _from(table: TargetTable, only: bool) -> str:
    return f"only {table.name}" if only else table.name


def _selected(table: TargetTable) -> str:
    names = [quote_identifier(name) for name in table.columns]
    return ", ".join([*(as_streamed(name) if table.text_form else name for name in names), *versions(table, "xmin")])


def versions(table: TargetTable, version: str) -> list[str]:
    """The text that tells versions of a row apart, of an SQL expression; none where nobody asks for it."""
    return [f"{quote_literal(table.mark)} || ({version})::text"] if table.mark else []


def as_streamed(name: str) -> str:
    """A value as text, as the stream has it."""
    # By the type's output function; a cast to text differs for bool, bpchar and inet.
    return f"case when {name} is distinct from null then pg_catalog.format('%s', {name}) end"


def _parameters(table: TargetTable, places: Iterable[int]) -> list[str]:
    if table.text_form:
        return [of_text(f"${number}::text", table.types[at]) for number, at in enumerate(places, 1)]
    return [f"${number}" for number, _ in enumerate(places, 1)]


def _staged(table: TargetTable, at: int) -> str:
    name = f"s.{quote_identifier(table.columns[at])}"
    return of_text(name, table.types[at]) if table.text_form else name


def of_text(value: str, kind: str) -> str:
    """A text read as a type."""
    # A cast from text is the type's input function; of regclass it is another one, that knows names only.
    if kind == "regclass":
        return f"pg_catalog.regclassin(pg_catalog.textout({value}))"
    return f"{value}::{kind}"


def _where_key(table: TargetTable, values: Sequence[str]) -> str:
    pairs = zip(table.key, values, strict=True)
    return _all(*(f"{quote_identifier(table.columns[at])} = {value}" for at, value in pairs), *_fixed(table))


def _join(table: TargetTable) -> str:
    keys = (f"t.{quote_identifier(table.columns[at])} = {_staged(table, at)}" for at in table.key)
    return _all(*keys, *_fixed(table, "t."))


def _fixed(table: TargetTable, prefix: str = "") -> list[str]:
    return [f"{prefix}{quote_identifier(one.name)} = {one.value}" for one in table.constants if one.in_key]


def written(table: TargetTable, values: Sequence[str], places: Iterable[int]) -> tuple[str, str]:
    """The columns of a new row and their values, constants behind them."""
    names = [*(table.columns[at] for at in places), *(one.name for one in table.constants)]
    more = [one.value or _key_text(values, places, table.key) for one in table.constants]
    return quote_names(names), ", ".join([*values, *more])


def _key_text(values: Sequence[str], places: Iterable[int], key: Sequence[int]) -> str:
    by_place = dict(zip(places, values, strict=True))
    return " || ',' || ".join(f"({by_place[at]})::text" for at in key)


def _keyquote_names(table: TargetTable) -> str:
    return quote_names([*(table.columns[at] for at in table.key), *(one.name for one in table.constants if one.in_key)])


def on_conflict(table: TargetTable, places: Sequence[int], *, differing: bool = False) -> str:
    """What becomes of the row that has the key already; with `differing` one that has these values is let be."""
    if not table.key:
        return ""
    # Not the key, which a target may refuse to write (generated always as identity), unless it may look otherwise.
    others = [table.columns[at] for at in places if at not in table.key or table.inexact]
    others += [one.name for one in table.constants if not one.in_key]
    sets = ", ".join(f"{quote_identifier(name)} = excluded.{quote_identifier(name)}" for name in others)
    newer = ""
    if table.version is not None and table.version in places:
        newer = _not_newer(table, "t.", f"excluded.{quote_identifier(table.columns[table.version])}")
    where = _all(newer, _differs(others) if differing else "")
    done = f"update set {sets}{where and ' where '}{where}" if sets else "nothing"
    return f" on conflict ({_keyquote_names(table)}) do {done}"


def _differs(names: Sequence[str]) -> str:
    # As images: some types have no equality (json), and of others values may be equal and not the same (1.0 and 1.00).
    here, new = (", ".join(f"{row}.{quote_identifier(name)}" for name in names) for row in ("t", "excluded"))
    return f"row({here})::record operator(pg_catalog.*<>) row({new})::record"


def _not_newer(table: TargetTable, prefix: str, value: str) -> str:
    assert table.version is not None
    column = prefix + quote_identifier(table.columns[table.version])
    return f"({column} is null or {column} <= {value})"


def _range(table: TargetTable, prefix: str, after: Sequence[str] | None, upto: Sequence[str] | None) -> str:
    key = ", ".join(prefix + quote_identifier(table.columns[at]) for at in table.key)
    bounds = []
    for sign, bound in ((">", after), ("<=", upto)):
        if bound is not None:
            pairs = zip(bound, table.key, strict=True)
            values = ", ".join(f"{quote_literal(value)}::{table.types[at]}" for value, at in pairs)
            bounds.append(f"({key}) {sign} ({values})")
    return " and ".join(bounds)

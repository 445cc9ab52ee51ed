"""Which column of a source table goes into which of a target table, and what stands in the way (pure)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from nms.common.change import Column, Shape
from nms.common.condition import Condition
from nms.common.db.quoting import quote_identifier
from nms.common.finding import Finding
from nms.common.flow import DatasetSpec
from nms.connectors.postgres.alterations import create_table
from nms.connectors.postgres.casting import cast_of, judge_casts, read_as
from nms.connectors.postgres.catalog import Table, TableColumn
from nms.connectors.postgres.conditions import filter_rows
from nms.connectors.postgres.filter import Filter
from nms.connectors.postgres.statements import Constant, TargetTable

# Conversions that lose nothing and that the server does by a cast from the text form.
_WIDER: Mapping[str, frozenset[str]] = {
    "smallint": frozenset({"integer", "bigint", "numeric"}),
    "integer": frozenset({"bigint", "numeric"}),
    "bigint": frozenset({"numeric"}),
    "real": frozenset({"double precision"}),
    "character varying": frozenset({"text"}),
    "text": frozenset({"character varying"}),
    "bpchar": frozenset({"text", "character varying"}),
    "json": frozenset({"jsonb"}),
    "uuid": frozenset({"text"}),
    "date": frozenset({"timestamp without time zone"}),
}
# Types that the server rounds to their modifier without a word; of the others a value that does not fit is refused.
_ROUNDED = ("numeric", "time", "timestamp", "interval")
# What a type without a modifier holds, where that has a bound: digits before and behind the point, or characters.
_BOUNDS = {"smallint": (5, 0), "integer": (10, 0), "bigint": (19, 0), "uuid": (36, 0), "date": (0, 0)}
_MODIFIER = re.compile(r"\((-?\d+)(?:,(-?\d+))?\)")


@dataclass(slots=True)
class Pair:
    """A source table beside its target table: the columns that travel, in the source's order, and the key.

    `conditions` (over source columns) and `constants` have the values as the servers read them; `own` is the SQL
    condition by which the rows of the pipeline are known at a target that others write too. `at` numbers the dataset.
    """

    spec: DatasetSpec
    source: Table
    target: Table
    columns: list[tuple[TableColumn, TableColumn]]
    key: tuple[str, ...]
    at: int = 0
    conditions: tuple[Condition, ...] = ()
    constants: tuple[Constant, ...] = ()
    own: str = ""

    @property
    def text_form(self) -> bool:
        """Whether values must travel in text form: a type differs or its binary form is not portable."""
        return any(
            left.type != right.type or left.wire != right.wire or not left.portable for left, right in self.columns
        )

    def fed(self) -> dict[str, str]:
        """Which column of the source goes into which of the target."""
        return {left.name: right.name for left, right in self.columns}

    def settled_as(self, other: "Pair") -> "Pair":
        """This pair with what the servers read of the document for another one of the same dataset."""
        return replace(self, at=other.at, conditions=other.conditions, constants=other.constants, own=other.own)

    def shape(self) -> Shape:
        """The shape of the changes of this pair."""
        names = [left.name for left, _ in self.columns]
        columns = tuple(Column(left.name, left.type, left.oid) for left, _ in self.columns)
        return Shape(self.spec.source, columns, tuple(names.index(name) for name in self.key))

    def filter(self, *, text_form: bool) -> Filter | None:
        """What tells of a row of the stream whether it travels; None when all do."""
        types = {column.name: column.plain for column in self.source.columns}
        return Filter(self.conditions, types, text_form=text_form) if self.conditions else None

    def read_columns(self) -> list[TableColumn]:
        """The source's columns that travel or that the filter needs."""
        needed = {left.name for left, _ in self.columns} | {one.field for one in self.conditions}
        return [column for column in self.source.columns if column.name in needed]

    def source_table(self, *, text_form: bool) -> TargetTable:
        """How to read the source's columns; `where` is the SQL condition that the rows that travel meet."""
        types = {column.name: column.plain for column in self.source.columns}
        made = self._table(self.source, [left for left, _ in self.columns], text_form)
        return replace(made, where=filter_rows(self.conditions, types))

    def target_table(self, *, text_form: bool, stage: str) -> TargetTable:
        """How to write the target's columns."""
        made = self._table(self.target, [right for _, right in self.columns], text_form)
        types = tuple(read_as(self.spec, left, right) for left, right in self.columns)
        return replace(made, types=types, stage=stage, where=self.own, constants=self.constants)

    def _table(self, table: Table, columns: Sequence[TableColumn], text_form: bool) -> TargetTable:
        names = [left.name for left, _ in self.columns]
        return TargetTable(
            table.quoted,
            tuple(column.name for column in columns),
            tuple(column.cast for column in columns),
            tuple(names.index(name) for name in self.key),
            text_form,
            "",
            table.acts,
            names.index(self.spec.version) if self.spec.version in names else None,
            inexact=any(
                column.inexact for column, (left, _) in zip(columns, self.columns, strict=True) if left.name in self.key
            ),
            only=table.only,
            required=frozenset(at for at, column in enumerate(columns) if column.needed),
        )


@dataclass(slots=True)
class Pairing:
    """All pairs of a pipeline and all findings; `above` names the datasets whose tables a dataset's table refers to."""

    pairs: list[Pair] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    as_text: bool = False
    for_messages: bool = False
    above: dict[str, set[str]] = field(default_factory=dict)

    @property
    def defers(self) -> bool:
        """Whether a target has constraints that may be checked at the commit, and are not unless asked."""
        return any(one.target.defers for one in self.pairs)

    @property
    def text_form(self) -> bool:
        """One form for the whole pipeline, since a slot's stream has one; queues and topics take text only."""
        return self.as_text or any(pair.text_form for pair in self.pairs)

    def conditions(self) -> list[tuple[str, str]]:
        """The SQL condition of every dataset's rows, empty where all travel."""
        return [(one.spec.source, one.source_table(text_form=False).where) for one in self.pairs]


def pair(
    specs: Sequence[DatasetSpec], sources: Mapping[str, Table], targets: Mapping[str, Table], names: tuple[str, str]
) -> Pairing:
    """Put every mapping's tables side by side; `names` are those of the two systems."""
    result = Pairing()
    for at, spec in enumerate(specs):
        pointer = f"/datasets/{at}"
        source, target = sources.get(spec.source), targets.get(spec.target)
        if source is None:
            text = f"table {spec.source} does not exist in {names[0]}"
            remedy = "Correct the name, or create the table."
            result.findings.append(Finding("table-missing", text, names[0], pointer=f"{pointer}/source", remedy=remedy))
        if target is None:
            result.findings.append(_absent_target(spec, source, names[1], f"{pointer}/target"))
        if source is not None and target is not None:
            _pair_one(result, spec, (source, target), names, pointer)
    return result


def _absent_target(spec: DatasetSpec, source: Table | None, system: str, pointer: str) -> Finding:
    text = f"table {spec.target} does not exist in {system}"
    remedy = "Correct the name, or create the table."
    if source is None or spec.fields is not None:
        return Finding("table-missing", text, system, pointer=pointer, remedy=remedy)
    columns = [(column.name, column.full_type, column.required) for column in source.sent()]
    sql = create_table(spec.target, columns, spec.key or source.log_key())
    return Finding("table-missing", text, system, True, sql, pointer, "the owner of the schema", remedy)


def _pair_one(
    result: Pairing, spec: DatasetSpec, tables: tuple[Table, Table], names: tuple[str, str], pointer: str
) -> None:
    source, target = tables
    left = {column.name: column for column in source.sent()}
    right = {column.name: column for column in target.columns}
    constant = spec.constants or {}
    fields = spec.fields or {
        name: name for name in left if name in right and not right[name].generated and name not in constant
    }
    columns: list[tuple[TableColumn, TableColumn]] = []
    for name, to in fields.items():
        problem = _column_finding(left.get(name), right.get(to), (name, to), (spec, target, names))
        if problem is not None:
            result.findings.append(replace(problem, pointer=f"{pointer}/fields"))
        else:
            columns.append((left[name], right[to]))
            result.findings += _width_findings((spec, target), (left[name], right[to]), names[1], f"{pointer}/fields")
    order = {name: at for at, name in enumerate(left)}
    columns.sort(key=lambda one: order[one[0].name])
    key = spec.key or source.log_key()
    made = Pair(spec, source, target, columns, key, int(pointer.rpartition("/")[2]))
    result.findings += _table_findings(made, right, {*fields.values(), *constant}, names, pointer)
    result.findings += judge_casts(
        spec, [left[name] for name in fields if name in left], key, names[0], f"{pointer}/casts"
    )
    if set(key) <= {one.name for one, _ in columns}:
        result.pairs.append(made)


def _column_finding(
    left: TableColumn | None,
    right: TableColumn | None,
    pair_names: tuple[str, str],
    tables: tuple[DatasetSpec, Table, tuple[str, str]],
) -> Finding | None:
    (name, to), (spec, target, names) = pair_names, tables
    if left is None:
        text = f"{spec.source} of {names[0]} has no column {name} that could travel (generated ones do not)"
        return Finding("column-missing", text, names[0], remedy="Correct `fields`, or add the column.")
    column = f"alter table {target.quoted} {{}} column {quote_identifier(to)} {{}};"
    if right is None:
        text = f"{spec.target} of {names[1]} has no column {to}"
        return Finding("column-missing", text, names[1], sql=column.format("add", left.full_type))
    if right.generated:
        text = f"{spec.target} of {names[1]}: column {to} is generated and cannot be written"
        return Finding("column-generated", text, names[1], remedy="Leave it out: name the other columns in `fields`.")
    read_as = cast_of(spec, left)
    if read_as != right.type and right.type not in _WIDER.get(read_as, frozenset()):
        text = f"{spec.source}: column {name} is {left.full_type}, {to} of {names[1]} is {right.full_type}"
        cast = f"type {left.full_type} using {quote_identifier(to)}::text::{left.full_type}"
        remedy = "Or leave the column out: name the others in `fields`."
        return Finding("type-differs", text, names[1], sql=column.format("alter", cast), remedy=remedy)
    return None


def _width_findings(
    tables: tuple[DatasetSpec, Table], columns: tuple[TableColumn, TableColumn], system: str, pointer: str
) -> list[Finding]:
    (spec, target), (left, right) = tables, columns
    if not narrows(left.held, right.held):
        return []
    asked = left.name in (spec.casts or {})
    rounded = (right if asked else left).held.startswith(_ROUNDED)
    if asked and not rounded:
        # What does not fit is refused, as is what cannot be cast.
        return []
    effect = "values would be rounded" if rounded else "longer values are refused"
    if left.held.startswith("bit("):
        effect = "values of another length are refused"
    text = f"{spec.source}: column {left.name} is {left.held}, {right.name} at {system} {right.held}: {effect}"
    sql = f"alter table {target.quoted} alter column {quote_identifier(right.name)} type {left.full_type};"
    fatal = rounded and not asked
    if right.held != right.full_type:
        return [Finding("type-narrower", text, system, fatal, pointer=pointer, remedy=f"Widen {right.full_type}.")]
    return [Finding("type-narrower", text, system, fatal, sql, pointer)]


def widens(old: TableColumn, new: TableColumn) -> bool:
    """Whether a column that changed its type or modifier holds every value as it was."""
    wider = old.type == new.type or new.type in _WIDER.get(old.type, frozenset())
    return wider and not narrows(old.full_type, new.full_type)


def narrows(source: str, target: str) -> bool:
    """Whether a type with its modifier holds less than the one it comes from."""
    left, right = _modifiers(source), _modifiers(target)
    if target.startswith("interval ") and target.partition("(")[0] != source.partition("(")[0]:
        return True
    if target.startswith("bit("):
        return source.startswith("bit(") and left != right
    if right is None:
        return False
    if left is None:
        return True
    if target.startswith("numeric"):
        return right[0] - right[1] < left[0] - left[1] or right[1] < left[1]
    return right[0] < left[0]


def _modifiers(full_type: str) -> tuple[int, int] | None:
    found = _MODIFIER.search(full_type)
    return _BOUNDS.get(full_type) if found is None else (int(found[1]), int(found[2] or 0))


def _table_findings(
    made: Pair, right: Mapping[str, TableColumn], fed: set[str], names: tuple[str, str], pointer: str
) -> list[Finding]:
    found: list[Finding] = []
    unfed = [column.name for column in right.values() if column.needed and column.name not in fed]
    if unfed:
        text = f"{made.spec.target}: nothing feeds the required columns {', '.join(unfed)}"
        remedy = "Feed them by `fields`, give them a default, or let them be null."
        found.append(Finding("column-unfed", text, names[1], pointer=f"{pointer}/fields", remedy=remedy))
    if made.spec.fields is None:
        found += [
            _left_out(made, column, names[1], pointer) for column in made.source.sent() if column.name not in right
        ]
        found += [
            _not_sent(made, column, names[1], pointer)
            for column in made.source.columns
            if column.generated and column.name in right and not right[column.name].generated
        ]
    if not made.columns:
        text = f"{made.spec.source} and {made.spec.target} have no column in common"
        remedy = "Say in `fields` which column goes where."
        found.append(Finding("no-common-column", text, names[1], pointer=f"{pointer}/fields", remedy=remedy))
    always = [to.name for left, to in made.columns if to.identity == "a" and left.name not in made.key]
    if always:
        text = f"{made.spec.target}: column {', '.join(always)} is generated always as identity and cannot be updated"
        sql = "\n".join(
            f"alter table {made.target.quoted} alter column {quote_identifier(name)} set generated by default;"
            for name in always
        )
        found.append(Finding("identity-always", text, names[1], sql=sql, pointer=f"{pointer}/fields"))
    if made.spec.version is not None and made.spec.version not in {left.name for left, _ in made.columns}:
        text = f"{made.spec.source}: `version` names {made.spec.version}, which does not travel"
        remedy = "Name a field that grows with every change of a record, and that `fields` has."
        found.append(Finding("version-missing", text, names[0], pointer=f"{pointer}/version", remedy=remedy))
    found += _key_findings(made, names, pointer)
    return found


def _left_out(made: Pair, column: TableColumn, system: str, pointer: str) -> Finding:
    text = f"{made.spec.target} of {system} has no column {column.name}, so its values would not travel"
    sql = f"alter table {made.target.quoted} add column {quote_identifier(column.name)} {column.full_type};"
    remedy = "Or name the `fields` that shall travel."
    return Finding("column-left-out", text, system, sql=sql, pointer=f"{pointer}/fields", remedy=remedy)


def _not_sent(made: Pair, column: TableColumn, system: str, pointer: str) -> Finding:
    text = f"{made.spec.source}: column {column.name} is generated and not in the log, so its values would not travel"
    remedy = f"Let {system} generate it too, or name the `fields` that shall travel."
    return Finding("column-left-out", text, system, pointer=f"{pointer}/fields", remedy=remedy)


def _key_findings(made: Pair, names: tuple[str, str], pointer: str) -> list[Finding]:
    if not made.key:
        return [_keyless(made.spec, made.source, names[0], pointer)]
    found = []
    source, target, key = made.source, made.target, made.key
    to = {left.name: right.name for left, right in made.columns}
    missing = [name for name in key if name not in to]
    if missing:
        text = f"{made.spec.source}: key column {missing[0]} does not travel"
        remedy = "Add it to `fields`, and to the target where it lacks it."
        return [Finding("key-incomplete", text, names[0], pointer=f"{pointer}/fields", remedy=remedy)]
    if made.spec.key:
        found += _declared_key(made.spec.key, source, names[0], f"{pointer}/key")
    columns = tuple(to[name] for name in key)
    if not (target.has_key(columns) or target.has_key((*columns, *key_constants(made)))):
        text = f"{made.spec.target} has no unique index on ({', '.join(columns)}), so rows cannot be told apart"
        sql = f"create unique index on {target.quoted} ({_quoted(columns)});"
        found.append(Finding("key-missing", text, names[1], sql=sql, pointer=f"{pointer}/target"))
    return found


def key_constants(made: Pair) -> tuple[str, ...]:
    """The constants that are part of the target's key, beside the key that travels; the fewest that do."""
    to = {left.name: right.name for left, right in made.columns}
    columns = {to[name] for name in made.key if name in to}
    constant = set(made.spec.constants or {})
    for one in sorted(made.target.keys, key=lambda one: len(one.columns)):
        more = set(one.columns) - columns
        if columns <= set(one.columns) and more <= constant:
            return tuple(name for name in one.columns if name in more)
    return ()


def _keyless(spec: DatasetSpec, source: Table, system: str, pointer: str) -> Finding:
    text, sql = f"{spec.source} has no key: only its inserts travel, updates and deletes do not", ""
    if source.identity == "n":
        text = f"{spec.source} has replica identity nothing: only its inserts travel, updates and deletes do not"
        sql = f"alter table {source.quoted} replica identity default;" if source.keys else ""
    elif source.identity == "f":
        text += "; name `key` columns, its whole rows are in the log"
    remedy = "" if sql else "Give the table a primary key, or a unique index as its replica identity."
    return Finding("no-key", text, system, False, sql, f"{pointer}/source", remedy=remedy)


def _declared_key(key: tuple[str, ...], source: Table, system: str, pointer: str) -> list[Finding]:
    found = []
    if set(key) != set(source.log_key()) and source.identity != "f":
        log = f"({', '.join(source.log_key())})" if source.log_key() else "nothing"
        text = f"{source.asked}: the log names rows by {log}, the pipeline by ({', '.join(key)})"
        sql = f"alter table {source.quoted} replica identity full;"
        found.append(Finding("identity-differs", text, system, sql=sql, pointer=pointer))
    if not source.has_key(key):
        text = f"{source.asked}: nothing makes ({', '.join(key)}) unique, so rows could be taken for one"
        sql = f"create unique index on {source.quoted} ({_quoted(key)});"
        found.append(Finding("key-not-unique", text, system, sql=sql, pointer=pointer))
    empty = [column.name for column in source.columns if column.name in key and not column.required]
    if empty:
        text = f"{source.asked}: key column {', '.join(empty)} may be null, and such rows would be missed"
        sql = "\n".join(
            f"alter table {source.quoted} alter column {quote_identifier(name)} set not null;" for name in empty
        )
        found.append(Finding("key-nullable", text, system, sql=sql, pointer=pointer))
    return found


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(quote_identifier(name) for name in names)

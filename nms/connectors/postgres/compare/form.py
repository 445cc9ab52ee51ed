"""How both sides of a dataset are shown alike, so that equal rows have equal texts (pure)."""

from dataclasses import replace

from nms.common.db.quoting import quote_identifier
from nms.connectors.postgres.casting import read_as
from nms.connectors.postgres.catalog import Table, TableColumn
from nms.connectors.postgres.compare.statements import Form, as_text
from nms.connectors.postgres.pairing import Pair

# Of these the text form tells the modifier: 1.5 as numeric(4,2) is 1.50.
_SCALED = ("numeric", "time", "timestamp", "interval")
_CHECKED_VERSION = 160000
# What jsonb refuses and json takes: a null character, and halves of surrogate pairs.
_NO_JSONB = r"\\u(0000|[dD][89a-fA-F])"


def forms_of(pair: Pair, *, portable: bool, version: int) -> tuple[Form, Form]:
    """Source and target of a pair; `version` is the source's, `portable` as in Form."""
    left, right = zip(*pair.columns, strict=True)
    shown = [_shown(pair, *columns, version) for columns in pair.columns]
    names = [column.name for column in left]
    key = tuple(names.index(name) for name in pair.key)
    alike = all(left[at].type == right[at].type and not _is_cast(pair, left[at]) for at in key)
    fixed = [f"{quote_identifier(one.name)} = {one.value}" for one in pair.constants if one.in_key]
    own = " and ".join([pair.own] * bool(pair.own) + fixed)
    source = _form(pair.source, left, [source for source, _ in shown], (key, alike, portable))
    target = _form(pair.target, right, [target for _, target in shown], (key, True, portable))
    return replace(source, where=pair.source_table(text_form=True).where), replace(target, where=own)


def _form(
    table: Table, columns: tuple[TableColumn, ...], shown: list[str], how: tuple[tuple[int, ...], bool, bool]
) -> Form:
    key, alike, portable = how
    return Form(
        f"only {table.quoted}" if table.only else table.quoted,
        tuple(column.name for column in columns),
        tuple(column.type for column in columns),
        tuple(shown),
        key,
        alike,
        tuple(at for at in key if not columns[at].required),
        portable,
    )


def _shown(pair: Pair, left: TableColumn, right: TableColumn, version: int) -> tuple[str, str]:
    source, target = (f"t.{quote_identifier(column.name)}" for column in (left, right))
    cast = _is_cast(pair, left)
    if left.type == right.type == "bpchar" and not cast:
        # Blanks behind it only tell the modifier; the cast drops them.
        return f"{source}::text", f"{target}::text"
    scaled = right.type.startswith(_SCALED) and left.full_type != right.full_type
    if left.type == right.type and not scaled and not cast:
        return source, target
    if right.type == "jsonb":
        return _as_jsonb(as_text(source), version), as_text(target)
    # As the value travels: from its text form, so that 0.1 as real is 0.1 as double precision.
    kind = f"{read_as(pair.spec, left, right)}{f'::{right.full_type}' if scaled else ''}"
    return f"({as_text(source)})::{kind}", target


def _is_cast(pair: Pair, column: TableColumn) -> bool:
    return column.name in (pair.spec.casts or {})


def _as_jsonb(text: str, version: int) -> str:
    # What cannot become jsonb is told by the target when it is written, not by the reading of all others.
    good = f"pg_input_is_valid({text}, 'jsonb')" if version >= _CHECKED_VERSION else f"{text} !~ '{_NO_JSONB}'"
    return f"case when {good} then ({text})::jsonb::text else {text} end"

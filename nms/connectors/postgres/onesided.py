"""Pairings of tables with what is no table: messages out of them, messages into them (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nms.common.flow import DatasetSpec
from nms.connectors.postgres.catalog import Table, TableKey
from nms.connectors.postgres.pairing import Pairing, pair


def mirror(specs: Sequence[DatasetSpec], sources: Mapping[str, Table], system: str) -> Pairing:
    """Every table beside itself, for targets that are no tables: what would travel, in text form."""
    alone = [
        replace(spec, target=spec.source, fields=_own_names(spec), constants=None, casts=None) for spec in specs
    ]  # fmt: skip
    targets = {name: _writable(table) for name, table in sources.items()}
    pairing = pair(alone, sources, targets, (system, system))
    # What is said of both sides is said of one table here.
    seen: set[tuple[str, str]] = set()
    told, pairing.findings = pairing.findings, []
    for finding in told:
        identity = (finding.code, finding.pointer.removesuffix("/target").removesuffix("/source"))
        if identity not in seen:
            seen.add(identity)
            pairing.findings.append(finding)
    pairing.as_text = True
    return pairing


def receive(
    specs: Sequence[DatasetSpec], targets: Mapping[str, Table], names: tuple[str, str], *, heals: bool
) -> Pairing:
    """Every table beside what messages bring: fields by the names of the mapping, typed as the columns they go to.

    Rows that are only updated need not have every required column fed.
    """
    sources = {one.source: _imagine(one, targets[one.target]) for one in specs if one.target in targets}
    named = [replace(one, key=one.key or _key_fields(one, targets[one.target])) if one.target in targets else one
             for one in specs]  # fmt: skip
    pairing = pair(named, sources, targets, names)
    told, pairing.findings = pairing.findings, []
    for finding in told:
        if finding.code == "no-key":
            pairing.findings.append(
                replace(finding, fatal=True, remedy="Name in `key` the fields that tell rows apart.")
            )
        elif finding.code != "table-missing" or finding.system == names[1]:
            pairing.findings.append(replace(finding, fatal=finding.fatal and (heals or finding.code != "column-unfed")))
    pairing.as_text = True
    return pairing


def _key_fields(spec: DatasetSpec, target: Table) -> tuple[str, ...] | None:
    back = {to: name for name, to in (spec.fields or {column.name: column.name for column in target.columns}).items()}
    primary = next((key.columns for key in target.keys if key.primary), ())
    primary = tuple(name for name in primary if name not in (spec.constants or {}))
    return tuple(back[name] for name in primary) if primary and set(primary) <= set(back) else None


def _imagine(spec: DatasetSpec, target: Table) -> Table:
    """A table as a queue would have it: the fields that the mapping names, or one for every column."""
    columns = {column.name: column for column in target.columns if not column.generated}
    fields = spec.fields or {name: name for name in columns}
    made = [replace(columns[to], name=name, identity="", required=True) for name, to in fields.items() if to in columns]
    key = spec.key or _key_fields(spec, target)
    keys = [] if key is None else [TableKey(key, primary=True, identity=True, required=True)]
    return replace(target, asked=spec.source, identity="f", columns=made, keys=keys, parents=set())


def _own_names(spec: DatasetSpec) -> dict[str, str] | None:
    return None if spec.fields is None else {name: name for name in spec.fields}


def _writable(table: Table) -> Table:
    columns = [replace(column, identity="") for column in table.columns]
    return replace(table, columns=columns)

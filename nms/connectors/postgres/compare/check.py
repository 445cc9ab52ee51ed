"""What stands in the way of a comparison, and what it need not ask for."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import asyncpg

from nms.common.db.quoting import quote_identifier
from nms.common.finding import Finding
from nms.connectors.postgres import alterations
from nms.connectors.postgres.catalog import Connection, Table, queries
from nms.connectors.postgres.compare.form import forms_of
from nms.connectors.postgres.compare.statements import Condition, Form, test_condition
from nms.connectors.postgres.config import PipelineSpec, RuleSpec
from nms.connectors.postgres.facts import Facts
from nms.connectors.postgres.pairing import Pair, Pairing, narrows

# What only those need who follow the log, or who empty tables and stage rows.
_NEEDLESS = frozenset({"identity-differs", "truncate-right", "temporary-right", "self-reference"})


def suit_comparison(findings: Sequence[Finding], facts: Facts) -> Iterator[Finding]:
    """The findings as a comparison has them."""
    for one in findings:
        if one.code in _NEEDLESS or (one.code == "unlogged" and one.system == facts.source.system):
            continue
        if one.code == "no-key":
            text = f"{_source_of(one, facts)} has no key by which both sides could be compared"
            remedy = "Name `key` columns that tell its rows apart, or give the table a primary key."
            yield replace(one, sentence=text, fatal=True, sql="", remedy=remedy)
        elif one.code == "target-filled":
            if _source_of(one, facts) not in facts.spec.rules:
                text = f"{_source_of(one, facts)}: rows of {one.system} that the source does not have are deleted"
                yield replace(one, sentence=text, sql="", remedy="Nothing to do if that is meant.")
        else:
            yield one


async def judge_rules(source: Connection, target: Connection, pairing: Pairing, spec: PipelineSpec) -> list[Finding]:
    """Columns that rules name and that do not travel, values that are none, rights that are missing."""
    found: list[Finding] = []
    for at, dataset in enumerate(spec.datasets):
        rule = spec.rules.get(dataset.source)
        pairs = [one for one in pairing.pairs if one.spec.source == dataset.source]
        if rule is not None and pairs:
            found += await _judge_rule((source, target), pairs[0], rule, (spec, f"/datasets/{at}/compare"))
    return found


async def _judge_rule(
    ends: tuple[Connection, Connection], pair: Pair, rule: RuleSpec, named: tuple[PipelineSpec, str]
) -> list[Finding]:
    spec, pointer = named
    names = [left.name for left, _ in pair.columns]
    absent = [name for name in (*(column for column, _ in rule.when), *rule.take) if name not in names]
    if absent:
        text = f"{pair.spec.source}: column {absent[0]} of `compare` does not travel"
        return [Finding("column-missing", text, spec.source.system, pointer=pointer, remedy="Add it to `fields`.")]
    found = list(_judge_types(pair, rule, (spec.target.system, f"{pointer}/take")))
    condition, taken = rule.condition(names), rule.places(names)
    forms = forms_of(pair, portable=True, version=0)
    sides = zip(ends, forms, (spec.source, spec.target), (pair.source, pair.target), strict=True)
    for connection, form, access, table in sides:
        found += await _judge_condition(connection, form, condition, (access.system, f"{pointer}/when"))
        columns = [form.names[place] for place in taken]
        found += await _judge_rights(connection, table, columns, (access.system, pointer))
    return found


def _judge_types(pair: Pair, rule: RuleSpec, named: tuple[str, str]) -> Iterator[Finding]:
    system, pointer = named
    for left, right in pair.columns:
        both = (left.full_type, right.full_type)
        if left.name in rule.take and (left.type != right.type or narrows(*both) or narrows(*both[::-1])):
            text = f"{pair.spec.source}: {left.name} is {both[0]}, {right.name} of {system} is {both[1]}"
            sql = f"alter table {pair.target.quoted} alter column {quote_identifier(right.name)} type {left.full_type};"
            yield Finding("type-differs", f"{text}; what both sides take needs one type", system, True, sql, pointer)


async def _judge_condition(
    connection: Connection, form: Form, condition: Condition, named: tuple[str, str]
) -> list[Finding]:
    system, pointer = named
    try:
        await connection.fetch(test_condition(form, condition), *condition.values())
    except (asyncpg.DataError, asyncpg.SyntaxOrAccessError, asyncpg.IntegrityConstraintViolationError) as error:
        text = f"the condition cannot be asked of {system}: {error}"
        remedy = "Write values as the column's type has them."
        return [Finding("condition-unfit", text, system, pointer=pointer, remedy=remedy)]
    return []


async def _judge_rights(
    connection: Connection, table: Table, columns: Sequence[str], named: tuple[str, str]
) -> list[Finding]:
    system, pointer = named
    rows = await queries.list_updatable(connection, oid=table.oid, columns=list(columns))
    missing = [column for column in columns if column not in {row["name"] for row in rows}]
    if not missing:
        return []
    login = (await queries.get_server(connection))["login"]
    sql = alterations.grant_update(table.quoted, missing, login)
    text = f"login {login} of {system} may not update {', '.join(missing)} of {table.asked}, which takes from the other"
    return [Finding("update-right", text, system, sql=sql, pointer=pointer)]


def _source_of(finding: Finding, facts: Facts) -> str:
    _, _, rest = finding.pointer.partition("/datasets/")
    return facts.spec.datasets[int(rest.partition("/")[0])].source

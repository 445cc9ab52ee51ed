"""Preflight of a poll: how the changes of each table are found, what is missed that way, what mends that."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nms.common.finding import Finding
from nms.connectors.postgres.catalog import Connection, queries
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.pairing import Pair, Pairing
from nms.connectors.postgres.poll import statements as asking

CHANGES = Path(__file__).with_name("changes.sql").read_text()
OWNER = "the owner of the tables"
TRIGGERS = 4
_VALUES = ("timestamp", "date", "smallint", "integer", "bigint", "numeric", "double precision", "real")
_XID = "xid8"
_OF_THE_LOG = frozenset({"identity-differs", "filter-identity"})


@dataclass(frozen=True, slots=True)
class Filler:
    """What fills a column: the text of its default, whether a row trigger may; whether an index begins with it."""

    default: str
    touched: bool
    indexed: bool


@dataclass(frozen=True, slots=True)
class Noted:
    """What is there of the change log: whether at all, whether we may use it, and by table its key and its faults."""

    there: bool
    usable: bool
    tables: Mapping[int, tuple[tuple[str, ...], int, int]]


def suit_poll(findings: Iterable[Finding], spec: PipelineSpec) -> Iterator[Finding]:
    """What was found with the log in mind, as it is for a poll."""
    for one in findings:
        if one.code == "no-key":
            text = (
                f"{spec.datasets[_number(one)].source} has no key, so rows that are read again could not be told apart"
            )
            remedy = "Give the table a primary key, or a unique index on columns that are never null."
            yield replace(one, sentence=text, fatal=True, sql="", remedy=remedy)
        elif one.code not in _OF_THE_LOG and not (one.code == "unlogged" and one.system == spec.source.system):
            yield one


async def judge_poll(source: Connection, pairing: Pairing, spec: PipelineSpec, login: str) -> list[Finding]:
    """How the changes of each table are found, and what that misses; `login` is ours at the source."""
    oids = [one.source.oid for one in pairing.pairs]
    fillers = {
        (row["table_oid"], row["name"]): Filler(row["filler"], row["touched"], row["indexed"])
        for row in await queries.list_feeders(source, oids=oids)
    }
    noted = await _read_noted(source, spec, oids)
    heirs = {row["relation"] for row in await queries.list_heirs(source, oids=oids)}
    findings = list(_judge_change_log(pairing, spec, noted, login))
    for one in pairing.pairs:
        pointer = f"/datasets/{[each.source for each in spec.datasets].index(one.spec.source)}"
        if spec.change_log and one.source.oid in heirs:
            findings.append(_refuse_heir(one, spec, pointer))
        findings += _judge_cursor(one, fillers, spec, pointer)
        findings += _judge_deletes(one, spec, pointer)
    return findings


def install(pairing: Pairing, pipeline: str) -> str:
    """The SQL that has the changes of a pipeline's tables noted."""
    calls = [asking.follow_table(pipeline, one.source.quoted, one.key) for one in pairing.pairs]
    return "\n".join([CHANGES.rstrip(), *calls])


async def _read_noted(source: Connection, spec: PipelineSpec, oids: Sequence[int]) -> Noted:
    row = await queries.get_change_log(source)
    if not row["there"] or not row["usable"]:
        return Noted(row["there"], row["usable"], {})
    rows = await queries.list_followed(source, pipeline=spec.name, oids=oids)
    tables = {row["relation"]: (tuple(row["key"]), row["triggers"], row["lacking"]) for row in rows}
    return Noted(True, True, tables)


def _judge_change_log(pairing: Pairing, spec: PipelineSpec, noted: Noted, login: str) -> Iterator[Finding]:
    if not spec.change_log:
        return
    name = spec.source.system
    grants = asking.grant_change_log(login)
    missing = [one for one in pairing.pairs if not _follows(one, noted)]
    if noted.there and not noted.usable:
        text = f"login {login} of {name} may not use the change log"
        yield Finding(
            "change-log-right", text, name, sql=grants, pointer="/change_log", run_as="the owner of the schema nms"
        )
    elif missing:
        text = f"nothing notes the changes of {', '.join(one.spec.source for one in missing)}"
        remedy = "`nms doctor PIPELINE --prepare` makes the change log where the login may."
        sql = f"{install(pairing, spec.name)}\n{grants}"
        yield Finding("change-log-missing", text, name, sql=sql, pointer="/change_log", run_as=OWNER, remedy=remedy)
    for one in pairing.pairs:
        lacking = noted.tables.get(one.source.oid, ((), 0, 0))[2]
        if lacking and one not in missing:
            text = f"{lacking} partitions of {one.spec.source} are newer than its change log: they are scanned"
            sql = asking.follow_table(spec.name, one.source.quoted, one.key)
            yield Finding("change-log-behind", text, name, False, sql, "/change_log", OWNER)


def _follows(one: Pair, noted: Noted) -> bool:
    key, triggers, _ = noted.tables.get(one.source.oid, ((), 0, 0))
    return triggers == TRIGGERS and key == tuple(one.key)


def _judge_cursor(
    one: Pair, fillers: Mapping[tuple[int, str], Filler], spec: PipelineSpec, pointer: str
) -> Iterator[Finding]:
    name, cursor, system, pointer = one.spec.source, one.spec.cursor, spec.source.system, f"{pointer}/cursor"
    if cursor is None:
        return
    column = next((each for each in one.source.columns if each.name == cursor), None)
    if column is None or not (column.type == _XID or column.type.startswith(_VALUES)):
        text = f"{name} has no column {cursor}" if column is None else f"{name}: column {cursor} is {column.full_type}"
        remedy = "A cursor is a column of type xid8, or a time or number that grows; without one rows are scanned."
        yield Finding("cursor-unfit", text, system, pointer=pointer, remedy=remedy)
        return
    filler = fillers[one.source.oid, cursor]
    if not filler.indexed:
        text = f"{name}: no index begins with {cursor}, so every round reads the whole table"
        sql = asking.create_index(one.source.quoted, cursor)
        yield Finding("cursor-unindexed", text, system, False, sql, pointer)
    if column.type != _XID:
        text = (
            f"{name}: changes that do not raise {cursor}, or commit more than {one.spec.overlap:.0f} s"
            " after it was set, are missed"
        )
        remedy = "Leave `cursor` out (rows are scanned then), name a column of type xid8, or write `change_log: true`."
        yield Finding("cursor-guess", text, system, False, pointer=pointer, remedy=remedy)
    elif not ("pg_current_xact_id" in filler.default and filler.touched):
        text = f"{name}: nothing writes the transaction of an insert and an update into {cursor}, so they are missed"
        sql = asking.feed_cursor(one.source.schema, one.source.relation, cursor)
        yield Finding("cursor-unfed", text, system, False, sql, pointer)


def _refuse_heir(one: Pair, spec: PipelineSpec, pointer: str) -> Finding:
    # A trigger for each statement fires for the table that the statement names, not for those that inherit from it.
    text = f"{one.spec.source} inherits from another table: what is written through that one is not noted"
    remedy = "Leave `change_log` out (rows are scanned then), or write `capture: log`."
    return Finding("change-log-heir", text, spec.source.system, pointer=f"{pointer}/source", remedy=remedy)


def _judge_deletes(one: Pair, spec: PipelineSpec, pointer: str) -> Iterator[Finding]:
    if spec.change_log:
        return
    how = f"by {one.spec.cursor}" if one.spec.cursor else "by reading all its rows"
    text = f"changes of {one.spec.source} are found {how}: deletes are not seen, a key that changes leaves its old row"
    remedy = "Write `change_log: true`; `nms doctor PIPELINE --prepare` makes the triggers that note keys."
    yield Finding("deletes-unseen", text, spec.source.system, False, pointer=f"{pointer}/source", remedy=remedy)


def _number(finding: Finding) -> int:
    return int(finding.pointer.removeprefix("/datasets/").split("/")[0])

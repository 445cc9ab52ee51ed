"""Compare the tables of both sides: an order-independent hash on the servers, the keys only where it differs."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.flow.proof.records import TABLES, Fault, Verdict

PINNED = "set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres'; set extra_float_digits = 1"
DIGEST = """
select count(*) as rows, coalesce(sum(('x' || left(md5(t::text), 16))::bit(64)::bigint::numeric), 0)::text as hash
from {table} t
"""
ROWS = """
select {key} as key, version, md5(t::text) as hash from {table} t
"""
MONEY = """
select (select coalesce(sum(balance), 0) from account) + (select coalesce(sum(amount), 0) from line)
     + (select coalesce(sum(amount), 0) from subscription)
"""
"""What every source transaction preserves: one statement, so one snapshot of three tables."""


async def digest(connection: Any, tables: Iterable[str] = TABLES) -> dict[str, tuple[int, str]]:
    """Row count and hash of each table."""
    await connection.execute(PINNED)
    found = {}
    for table in tables:
        row = await connection.fetchrow(DIGEST.format(table=table))
        found[table] = (row["rows"], row["hash"])
    return found


async def judge_digests(source: Any, target: Any, verdict: Verdict) -> None:
    """Count lost, doubled and invented rows of the tables whose digests differ."""
    left, right = await digest(source), await digest(target)
    verdict.facts["rows"] = sum(rows for rows, _ in left.values())
    for table in TABLES:
        if left[table] != right[table]:
            query = ROWS.format(table=table, key=TABLES[table])
            compare_rows(table, await source.fetch(query), await target.fetch(query), verdict)


def compare_rows(table: str, source: Iterable[Any], target: Iterable[Any], verdict: Verdict) -> None:
    """Name what differs; rows have key, version and hash."""
    theirs = {row["key"]: row for row in source}
    ours: dict[str, Any] = {}
    copies: Counter[str] = Counter()
    for row in target:
        ours[row["key"]] = row
        copies[row["key"]] += 1
    for key in sorted(theirs.keys() - ours.keys()):
        verdict.add(Fault.LOST, f"{table} {key}: missing at the target")
    for key in sorted(ours.keys() - theirs.keys()):
        verdict.add(
            Fault.LOST, f"{table} {key}: its delete is lost, the target still has version {ours[key]['version']}"
        )
    for key in sorted(theirs.keys() & ours.keys()):
        if copies[key] > 1:
            verdict.add(Fault.DOUBLED, f"{table} {key}: {copies[key]} rows at the target")
        elif theirs[key]["hash"] != ours[key]["hash"]:
            sentence = f"version {theirs[key]['version']} at the source, {ours[key]['version']} at the target"
            verdict.add(Fault.LOST, f"{table} {key}: {sentence}, contents differ")

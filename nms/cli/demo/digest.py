"""Whether two sides hold the same rows: digests made on the servers, and the keys only where these differ."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nms.connectors.postgres.catalog import Connection, Table, read_tables
from nms.connectors.postgres.digests import digest_table, list_hashes

FIRST_KEYS = 3
KEY_LENGTH = 80
Parts = Mapping[int, tuple[int, str]]
"""Of each part of a table: how many rows, and the digest of their texts."""


@dataclass
class Difference:
    """One dataset on both sides; the lists hold the keys of the rows that differ, as text.

    `missing` are only at the source, `stale` have other values at the target, `extra` are only at the target,
    `doubled` stand there more often than at the source (once for each row too many).
    """

    dataset: str
    rows: int
    target_rows: int
    missing: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Rows whose last change did not arrive."""
        return len(self.missing) + len(self.stale)

    @property
    def surplus(self) -> int:
        """Rows at the target that the source does not have, or not as often."""
        return len(self.extra) + len(self.doubled)

    def sentences(self) -> list[str]:
        """What differs, with the first keys."""
        told = {
            "missing at the target": self.missing,
            "with other values at the target": self.stale,
            "only at the target": self.extra,
            "doubled at the target": self.doubled,
        }
        return [f"{self.dataset}: {len(keys):,} {what}: {_name(keys)}" for what, keys in told.items() if keys]

    def to_dict(self) -> dict[str, Any]:
        """Numbers, and the first keys of each kind."""
        kinds = {name: getattr(self, name) for name in ("missing", "stale", "extra", "doubled")}
        return {
            "dataset": self.dataset,
            "source_rows": self.rows,
            "target_rows": self.target_rows,
            **{name: len(keys) for name, keys in kinds.items()},
            "first_keys": {name: keys[:FIRST_KEYS] for name, keys in kinds.items() if keys},
        }


async def compare(source: Connection, target: Connection, datasets: Sequence[str]) -> list[Difference]:
    """Compare tables of the same name on both sides, each side in one snapshot, whatever order its rows have.

    A table without a key is compared as a multiset of whole rows.
    """
    async with (
        source.transaction(isolation="repeatable_read", readonly=True),
        target.transaction(isolation="repeatable_read", readonly=True),
    ):
        tables, others = await read_tables(source, datasets), await read_tables(target, datasets)
        return [await _compare_one(source, target, tables[name], others[name]) for name in datasets]


async def _compare_one(source: Connection, target: Connection, table: Table, other: Table) -> Difference:
    columns, key = [column.name for column in table.columns], table.log_key()
    left, right = await asyncio.gather(
        _digest(source, digest_table(table.quoted, columns, key)),
        _digest(target, digest_table(other.quoted, columns, key)),
    )
    found = Difference(table.asked, _count(left), _count(right))
    parts = sorted(part for part in left.keys() | right.keys() if left.get(part) != right.get(part))
    if parts:
        theirs = await source.fetch(list_hashes(table.quoted, columns, key), parts)
        ours = await target.fetch(list_hashes(other.quoted, columns, key), parts)
        _tell_apart(found, _rows(theirs), _rows(ours))
    return found


async def _digest(connection: Connection, sql: str) -> Parts:
    return {row["part"]: (row["rows"], row["digest"]) for row in await connection.fetch(sql)}


def _count(parts: Parts) -> int:
    return sum(rows for rows, _ in parts.values())


def _rows(rows: Sequence[Any]) -> Counter[tuple[str, str]]:
    return Counter((row["key"], row["hash"]) for row in rows)


def _tell_apart(found: Difference, source: Counter[tuple[str, str]], target: Counter[tuple[str, str]]) -> None:
    """Sort what stands on one side only: a key with other values on both sides is stale, not missing and extra."""
    missing = Counter(key for key, _ in (source - target).elements())
    surplus = Counter(key for key, _ in (target - source).elements())
    known = {key for key, _ in source}
    stale = missing & surplus
    found.stale = sorted(stale.elements())
    found.missing = sorted((missing - stale).elements())
    found.doubled = sorted(key for key in (surplus - stale).elements() if key in known)
    found.extra = sorted(key for key in (surplus - stale).elements() if key not in known)


def _name(keys: Sequence[str]) -> str:
    shown = ", ".join(key if len(key) <= KEY_LENGTH else key[:KEY_LENGTH] + "..." for key in keys[:FIRST_KEYS])
    return shown + (", ..." if len(keys) > FIRST_KEYS else "")

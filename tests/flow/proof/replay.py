"""A naive replicator: decode a slot as text and replay it one change at a time, faithfully or with a planted fault.

It is the control of the experiment: a faithful replay must be judged clean, each planted fault must be named. Messages
are those of PostgreSQL's manual, "Logical Replication Message Formats", protocol version 1.
"""

import json
import struct
from dataclasses import dataclass, field
from typing import Any

SLOT = "proof_replay"
READ = """
select data from pg_logical_slot_get_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'proof')
"""
JSONB = 3802
UNCHANGED = object()


@dataclass
class Relation:
    """A table as the stream described it: column names, which of them are the key, which are jsonb."""

    name: str
    columns: list[str]
    key: list[str]
    documents: set[str] = field(default_factory=set)


@dataclass
class Change:
    """One change; old holds the former key where it changed or the row was deleted."""

    op: str
    relation: Relation
    new: dict[str, Any] = field(default_factory=dict)
    old: dict[str, Any] = field(default_factory=dict)

    @property
    def written(self) -> dict[str, Any]:
        return {name: value for name, value in self.new.items() if value is not UNCHANGED}

    @property
    def where(self) -> dict[str, Any]:
        return {name: (self.old or self.new)[name] for name in self.relation.key}


class Reader:
    """Bytes of one message, taken from the front."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> Any:
        value = struct.unpack_from(form, self.data, self.at)[0]
        self.at += struct.calcsize(form)
        return value

    def text(self) -> str:
        end = self.data.index(0, self.at)
        value = self.data[self.at : end].decode()
        self.at = end + 1
        return value

    def bytes(self, length: int) -> bytes:
        self.at += length
        return self.data[self.at - length : self.at]

    def values(self, relation: Relation) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in relation.columns[: self.take("!H")]:
            kind = self.bytes(1)
            if kind == b"t":
                found[name] = self.bytes(self.take("!I")).decode()
            else:
                found[name] = UNCHANGED if kind == b"u" else None
        return found


class Decoder:
    """pgoutput messages -> transactions, each a list of changes in commit order."""

    def __init__(self) -> None:
        self.relations: dict[int, Relation] = {}
        self.transactions: list[list[Change]] = []

    def feed(self, data: bytes) -> None:
        reader = Reader(data)
        kind = reader.bytes(1)
        if kind == b"B":
            self.transactions.append([])
        elif kind == b"R":
            self._relate(reader)
        elif kind in (b"I", b"U", b"D"):
            self.transactions[-1].append(self._change(kind.decode(), reader))
        elif kind == b"T":
            count = reader.take("!I")
            reader.take("!B")
            for _ in range(count):
                self.transactions[-1].append(Change("T", self.relations[reader.take("!I")]))

    def _relate(self, reader: Reader) -> None:
        number = reader.take("!I")
        reader.text()
        relation = Relation(reader.text(), [], [])
        reader.take("!B")
        for _ in range(reader.take("!H")):
            in_key = reader.take("!B")
            relation.columns.append(reader.text())
            if reader.take("!i") == JSONB:
                relation.documents.add(relation.columns[-1])
            reader.take("!i")
            if in_key:
                relation.key.append(relation.columns[-1])
        self.relations[number] = relation

    def _change(self, op: str, reader: Reader) -> Change:
        change = Change(op, self.relations[reader.take("!I")])
        while reader.at < len(reader.data):
            if reader.bytes(1) == b"N":
                change.new = reader.values(change.relation)
            else:
                change.old = reader.values(change.relation)
        return change


async def decode(connection: Any, slot: str) -> list[list[Change]]:
    """All transactions of the slot, in commit order, empty ones left out."""
    decoder = Decoder()
    for row in await connection.fetch(READ, slot):
        decoder.feed(row[0])
    return [transaction for transaction in decoder.transactions if transaction]


async def apply(connection: Any, change: Change) -> None:
    """One change as one statement; values travel as text in one jsonb record and the server casts them."""
    table = change.relation.name
    row = change.written
    row |= {name: json.loads(row[name]) for name in change.relation.documents if row.get(name)}
    names = ", ".join(row)
    same = " and ".join(f"t.{name} = k.{name}" for name in change.relation.key)
    record = f"jsonb_populate_record(null::public.{table}, $1::text::jsonb)"
    if change.op == "T":
        await connection.execute(f"truncate {table}")
    elif change.op == "I":
        query = f"insert into {table} ({names}) select {names} from {record}"
        await connection.execute(query, json.dumps(row))
    elif change.op == "U":
        pairs = ", ".join(f"{name} = r.{name}" for name in row)
        key = record.replace("$1", "$2")
        query = f"update {table} t set {pairs} from {record} r, {key} k where {same}"
        await connection.execute(query, json.dumps(row), json.dumps(change.where))
    else:
        await connection.execute(f"delete from {table} t using {record} k where {same}", json.dumps(change.where))


async def replay(connection: Any, transactions: list[list[Change]]) -> None:
    """Each list of changes as one target transaction."""
    for transaction in transactions:
        async with connection.transaction():
            for change in transaction:
                await apply(connection, change)

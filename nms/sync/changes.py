"""Held changes: their JSON form, and how those are replayed or dropped that somebody asked for."""

import base64
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from nms.common.change import NULL, UNCHANGED, Change, Field, Op, Shape
from nms.common.flow import Batch, ChangeRefused, Opened, Part, Position
from nms.common.problem import Problem
from nms.common.run import Claimed
from nms.connectors.postgres.problems import Refused
from nms.sync.problems import DatasetGone, RowMissing
from nms.sync.repository import SyncRepository

Row = dict[str, Any]
MESSAGE = "message"
SHOWN_BYTES = 2_000
PORTION = 200
"""Changes replayed in one transaction; a target counts those that met no row only in short batches."""


class Held:
    """Settles held changes at an opened pipeline, under the fence of the run that works it."""

    def __init__(self, repository: SyncRepository, claimed: Claimed, opened: Opened) -> None:
        self._repository = repository
        self._claimed = claimed
        self._opened = opened

    async def settle(self, asked: Iterable[Row], position: Position) -> None:
        """Replay or drop what was asked for (rows by id); `position` is where the target stands."""
        known = set(self._opened.names)
        where = {name: value for name, value in position.items() if name != "replayed"}
        for rows in join_rows(asked):
            await self._mark([row["id"] for row in rows if row["state"] == "dropping"], "dropped")
            waiting = [row for row in rows if row["state"] == "replaying"]
            dataset = rows[0]["dataset"]
            problem: Problem | None = None
            if dataset not in known:
                problem = DatasetGone(f"{dataset} is no dataset of the pipeline any more", dataset=dataset)
            while waiting and problem is None:
                problem = await self._replay(waiting[:PORTION], where)
                waiting = waiting[PORTION:] if problem is None else waiting
            if problem is not None:
                await self._hold_again([row["id"] for row in waiting], problem)

    async def _replay(self, rows: list[Row], position: Position) -> Problem | None:
        # The ids travel in the target's transaction: after a crash they tell what is done already.
        ids = [row["id"] for row in rows]
        shape = self._opened.shape(rows[0]["dataset"])
        try:
            read = [(row["id"], self._changes(row, shape)) for row in rows]
        except Problem as problem:
            # A message that still cannot be read.
            return problem
        try:
            applied = await self._opened.target.apply(replay_of({**position, "replayed": ids}, read))
        except ChangeRefused as refused:
            return refused.problem
        except Refused as problem:
            return problem
        if applied.missing:
            # The position says that they are done: that is taken back first, or a crash would make it so.
            await self._opened.target.apply(batch_of(position, []))
            return RowMissing(f"{applied.missing} of {len(ids)} changes met no row at the target", ids=ids)
        await self._mark(ids, "replayed")
        return None

    def _changes(self, row: Row, shape: Shape) -> list[Change]:
        if row["op"] != MESSAGE:
            return [decode(row["change"], shape)]
        return self._opened.read(row["dataset"], base64.b64decode(row["change"]["body"]))

    async def _mark(self, ids: list[int], state: str) -> None:
        if ids:
            async with self._repository.transaction() as tx:
                await self._claimed.fence(tx)
                await tx.mark_settled(ids, state)

    async def _hold_again(self, ids: list[int], problem: Problem) -> None:
        if ids:
            async with self._repository.transaction() as tx:
                await self._claimed.fence(tx)
                await tx.mark_held_again(ids, problem.to_dict())


def join_rows(rows: Iterable[Row]) -> list[list[Row]]:
    """Held rows in groups that no key connects, each in the order of ids; a move connects two keys.

    Rows of a keyless dataset stand alone.
    """
    groups: dict[int, list[Row]] = {}
    group_of: dict[tuple[str, str], int] = {}
    for row in rows:
        body = row["change"]
        names = [(row["dataset"], key) for key in (body["key"], body["old_key"]) if key]
        met = sorted({group_of[name] for name in names if name in group_of})
        number = met[0] if met else row["id"]
        groups.setdefault(number, []).append(row)
        for other in met[1:]:
            groups[number] += groups.pop(other)
            group_of.update({name: number for name, at in group_of.items() if at == other})
        group_of.update(dict.fromkeys(names, number))
    return [sorted(group, key=lambda row: int(row["id"])) for group in groups.values()]


def replay_of(position: Position, read: Sequence[tuple[int, Part]]) -> Batch:
    """What is held (its id and its changes) as a batch; the id names its changes for good."""
    batch = batch_of(position, [change for _, changes in read for change in changes])
    batch.ends, batch.edition = [(len(changes), held) for held, changes in read], "replay-"
    return batch


def batch_of(position: Position, changes: Part) -> Batch:
    """Changes in memory as a batch."""
    return Batch(position, lambda: parts_of(changes), len(changes), small=changes)


async def parts_of(changes: Part) -> AsyncIterator[Part]:
    """Changes in memory as the only part of a batch."""
    yield changes


def encode(change: Change) -> dict[str, Any]:
    """A change as JSON: fields as base64 of their frames, null where a value was left out as unchanged."""
    return {
        "op": change.op.value,
        "columns": [column.name for column in change.shape.columns],
        "key": base64.b64encode(change.key).decode(),
        "old_key": None if change.old_key is None else base64.b64encode(change.old_key).decode(),
        "values": [None if field is None else base64.b64encode(field).decode() for field in change.values],
    }


def encode_message(body: bytes) -> dict[str, Any]:
    """A message that cannot be read as JSON: its bytes as base64, and its beginning as a person reads it."""
    shown = body[:SHOWN_BYTES].decode(errors="replace").replace("\0", "\ufffd")
    return {"body": base64.b64encode(body).decode(), "key": None, "old_key": None, "shown": {"message": shown}}


def decode(body: dict[str, Any], shape: Shape) -> Change:
    """A change from `encode`'s JSON: columns that are gone are left out, a new one is null in an insert."""
    op = Op(body["op"])
    held = dict(zip(body["columns"], map(_field, body["values"]), strict=False))
    new = NULL if op is Op.INSERT else UNCHANGED
    values = tuple(held.get(column.name, new) for column in shape.columns) if body["values"] else ()
    old_key = None if body["old_key"] is None else base64.b64decode(body["old_key"])
    return Change(shape, op, base64.b64decode(body["key"]), values, old_key)


def _field(text: str | None) -> Field:
    return UNCHANGED if text is None else base64.b64decode(text)

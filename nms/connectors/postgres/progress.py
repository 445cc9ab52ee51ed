"""The position of a PostgreSQL source: where in the log, and how far each table's copy has come."""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nms.common.flow import Position
from nms.connectors.postgres.snapshot import Dataset
from nms.connectors.postgres.wal import parse_lsn


def position_of(generation: int, lsn: str, datasets: Sequence[Dataset], paused: Mapping[str, Any]) -> Position:
    """The position at an LSN; `tables` is there only while something is left to copy, `paused` while a table is.

    `filters` tells by which filters the rows came that are at the target, where there are any.
    """
    position: Position = {
        "generation": generation,
        "lsn": lsn,
        **marks_of((one.name, one.table.where) for one in datasets),
    }
    if not all(dataset.settled for dataset in datasets):
        position["tables"] = {dataset.name: _state(dataset) for dataset in datasets}
    if paused:
        position["paused"] = dict(paused)
    return position


def marks_of(conditions: Iterable[tuple[str, str]]) -> Position:
    """The part of a position that tells filters (SQL conditions by dataset) from others; empty where there is none."""
    marks = {name: hashlib.sha256(where.encode()).hexdigest()[:12] for name, where in conditions if where}
    return {"filters": marks} if marks else {}


def restore(position: Position, datasets: Iterable[Dataset]) -> None:
    """Set datasets to where a position left them."""
    tables = position.get("tables")
    for dataset in datasets:
        state: Position = {"done": True} if tables is None else tables.get(dataset.name, {"done": True})
        dataset.done = state.get("done", False)
        dataset.after = tuple(state["after"]) if state.get("after") is not None else None
        dataset.rows = state.get("rows", 0)
        dataset.sweep = state.get("sweep", False)
        # From its low mark on changes are applied, so those of the next life must be, whatever was copied by then.
        dataset.started = dataset.done or dataset.after is not None or state.get("started", False)
        dataset.repairs = {base64.b64decode(key) for key in state.get("repairs", ())}


def _state(dataset: Dataset) -> Position:
    state: Position = {"done": dataset.done, "after": dataset.after, "rows": dataset.rows, "started": dataset.started}
    if dataset.sweep:
        state["sweep"] = True
    if dataset.repairs:
        state["repairs"] = [base64.b64encode(key).decode() for key in sorted(dataset.repairs)]
    return state


def place_of(position: Position) -> int:
    """A position as a number that grows; one of another capture, or none, counts by where it stood."""
    if "place" in position:
        return int(position["place"])
    return parse_lsn(position["lsn"]) if "lsn" in position else 0

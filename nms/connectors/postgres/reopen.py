"""The tables of a pipeline that goes on: which follow on, which are copied anew, which are left out (DESIGN 4.8)."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg

from nms.common.flow import DatasetSpec, Position
from nms.connectors.postgres import slot
from nms.connectors.postgres.catalog import Connection, Table, queries, read_tables
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.drift import Pause, complete, gained, renamed, retyped, travels_alike, unfed
from nms.connectors.postgres.layouts import Stored, describe, recall, renumber, table_of, unknown_types
from nms.connectors.postgres.look import read_kinds
from nms.connectors.postgres.pairing import Pair, Pairing, pair
from nms.connectors.postgres.preflight import Checked
from nms.connectors.postgres.problems import FenceRaised
from nms.connectors.postgres.progress import marks_of
from nms.connectors.postgres.selection import settle
from nms.connectors.postgres.statements import empty_table
from nms.connectors.postgres.takeover import Stand, is_sweepable


@dataclass(slots=True)
class Reopening:
    """What is known of a pipeline that goes on, and what was decided of its tables so far."""

    spec: PipelineSpec
    source: Connection
    target: Connection
    checked: Checked
    stand: Stand
    pairs: list[Pair] = field(default_factory=list)
    paused: dict[str, Any] = field(default_factory=dict)
    states: dict[str, Position] = field(default_factory=dict)
    fresh: list[Pair] = field(default_factory=list)
    changed: bool = False

    @property
    def names(self) -> tuple[str, str]:
        """The names of both systems."""
        return self.spec.source.system, self.spec.target.system


async def reopen(
    spec: PipelineSpec, ends: tuple[Connection, Connection], checked: Checked, stand: Stand
) -> tuple[Position, Pairing]:
    """Where the pipeline goes on and with which tables; publishes those that came and writes what was decided."""
    assert stand.position is not None
    work = Reopening(spec, *ends, checked, stand)
    for at, dataset in enumerate(spec.datasets):
        await _choose(work, at, dataset)
    await _publish(work)
    position = await _write(work)
    return position, Pairing(work.pairs, as_text=_travel_as_text(work))


async def _choose(work: Reopening, at: int, dataset: DatasetSpec) -> None:
    name, stored = dataset.source, work.stand.layouts.get(dataset.source)
    assert work.stand.position is not None
    before = work.stand.position.get("paused", {}).get(name)
    if stored is None:
        outcome = _begin(work, at, dataset)
    elif before is not None:
        outcome = _mended(work, at, dataset, stored) or Pause(**before)
    else:
        outcome = await _follow(work, at, dataset, stored)
    if isinstance(outcome, Pause):
        work.paused[name] = outcome.to_dict()
        work.changed |= before != work.paused[name]
    else:
        work.changed |= before is not None
        work.pairs.append(outcome)


def _begin(work: Reopening, at: int, dataset: DatasetSpec) -> Pair | Pause:
    """A table that the document did not have before."""
    obstacle, now = _obstacle(work, at), _present(work, dataset)
    if obstacle is not None or now is None:
        return obstacle or _gone(dataset)
    work.fresh.append(now)
    work.states[dataset.source] = {"done": not work.spec.copy}
    return now


def _mended(work: Reopening, at: int, dataset: DatasetSpec, stored: Stored) -> Pair | Pause | None:
    """A table that was left out, once it fits again: changes are missing, so it is copied and swept; else None."""
    obstacle, now = _obstacle(work, at), _present(work, dataset)
    if obstacle is not None or now is None:
        return obstacle
    before = ((name, oid, modifier) for name, oid, modifier, _ in stored["columns"])
    if unfed(stored["fed"], now) or retyped(before, now):
        return None
    work.fresh.append(now)
    work.states[dataset.source] = {"sweep": is_sweepable(now)}
    return now


async def _follow(work: Reopening, at: int, dataset: DatasetSpec, stored: Stored) -> Pair | Pause:
    """A table as the log had it where the position stands; the present one may be ahead of that."""
    facts = work.checked.facts
    assert facts is not None
    present, target = facts.source.tables.get(dataset.source), facts.target.tables.get(dataset.target)
    if present is None or present.oid != stored["oid"]:
        return await _lost(work, dataset, stored)
    rights = [one for one in _fatal(work, at) if one not in work.checked.pairing.findings]
    as_of = await _as_of(work, present, stored)
    tables = {} if target is None else {dataset.target: target}
    found = pair([dataset], {dataset.source: as_of}, tables, work.names)
    fatal = [one for one in found.findings if one.fatal and one.code != "column-left-out"] + rights
    there = set() if target is None else {column.name for column in target.columns}
    missing = [to for to in stored["fed"].values() if to not in there]
    if missing and target is not None and dataset.fields is None:
        # The target was changed first; the source will follow, or has.
        mended = _mended(work, at, dataset, stored)
        text = f"{dataset.target} no longer has column {', '.join(missing)}, which {dataset.source} feeds"
        return mended or Pause("column-missing", text)
    if fatal or not found.pairs:
        first = fatal[0] if fatal else found.findings[0]
        return Pause(first.code, first.sentence, first.sql)
    made = replace(found.pairs[0], at=at)
    unsettled = [one for one in await settle(work.source, work.target, Pairing([made]), work.spec) if one.fatal]
    if unsettled:
        return Pause(unsettled[0].code, unsettled[0].sentence, unsettled[0].sql)
    if gained(stored["fed"], made):
        work.states[dataset.source] = {"started": True}
        work.changed = True
    return made


async def _as_of(work: Reopening, present: Table, stored: Stored) -> Table:
    relation = recall(stored)
    unknown = unknown_types(relation, [present])
    kinds = await read_kinds(work.source, unknown)
    return renumber(table_of(relation, present, present, kinds), stored)


async def _lost(work: Reopening, dataset: DatasetSpec, stored: Stored) -> Pause:
    row = await queries.get_table_name(work.source, oid=stored["oid"])
    if row is None:
        return _gone(dataset)
    schema, relation = stored["name"]
    return renamed(dataset.source, (schema, relation), (row["schema"], row["relation"]))


def _gone(dataset: DatasetSpec) -> Pause:
    text = f"{dataset.source} was dropped at the source; once it is there again it is copied"
    return Pause("table-gone", text)


def _present(work: Reopening, dataset: DatasetSpec) -> Pair | None:
    return next((one for one in work.checked.pairing.pairs if one.spec.source == dataset.source), None)


def _fatal(work: Reopening, at: int) -> list[Any]:
    return [one for one in work.checked.findings if one.fatal and f"{one.pointer}/".startswith(f"/datasets/{at}/")]


def _obstacle(work: Reopening, at: int) -> Pause | None:
    found = _fatal(work, at)
    return Pause(found[0].code, found[0].sentence, found[0].sql) if found else None


def _travel_as_text(work: Reopening) -> bool:
    # The log may soon bring what the tables have now, and the form cannot change on the way.
    present = work.checked.pairing
    coming = [
        column for one in present.pairs if work.spec.drift == "propagate" and one.spec.fields is None
        for column in one.source.sent() if column.name not in {right.name for right in one.target.columns}
    ]  # fmt: skip
    return present.text_form or any(one.text_form for one in work.pairs) or not all(map(travels_alike, coming))


async def _publish(work: Reopening) -> None:
    known = [one.source for one in work.pairs if one not in work.fresh]
    await slot.check_publications(work.source, work.spec.slot, known)
    await slot.follow_publications(
        work.source, work.spec.slot, [one.source for one in work.fresh], {one.source for one in work.spec.datasets}
    )


async def _write(work: Reopening) -> Position:
    stand, names = work.stand, {one.source for one in work.spec.datasets}
    assert stand.position is not None
    layouts = {name: stored for name, stored in stand.layouts.items() if name in names}
    work.changed |= bool(work.fresh) or layouts != stand.layouts
    if not work.changed:
        return stand.position
    async with work.target.transaction():
        # First, so that a worker that was stopped on the way here finds the fence raised before it changes anything.
        await _save(work, stand.position, stand.layouts)
        for at, one in enumerate(work.pairs):
            if one in work.fresh:
                work.pairs[at] = await _prepare(work, one)
                if one.spec.source not in work.paused:
                    layouts[one.spec.source] = describe(work.pairs[at])
        work.pairs = [one for one in work.pairs if one.spec.source not in work.paused]
        position = _position(work)
        await _save(work, position, layouts)
    return position


def _position(work: Reopening) -> Position:
    before = work.stand.position
    assert before is not None
    position = {name: value for name, value in before.items() if name not in ("tables", "paused", "filters")}
    position |= marks_of(Pairing(work.pairs).conditions())
    states = {one.spec.source: {"done": True} for one in work.pairs}
    states |= {name: state for name, state in before.get("tables", {}).items() if name in states} | work.states
    if not all(state.get("done") and not state.get("repairs") for state in states.values()):
        position["tables"] = states
    if work.paused:
        position["paused"] = work.paused
    return position


async def _save(work: Reopening, position: Position, layouts: dict[str, Stored]) -> None:
    held = await queries.update_tables(
        work.target, pipeline=work.spec.name, epoch=work.stand.fence.epoch, position=json.dumps(position),
        source_system=work.stand.system_identifier, layouts=json.dumps(layouts),
    )  # fmt: skip
    if not held:
        raise FenceRaised(f"{work.spec.name} has gone to another worker")


async def _prepare(work: Reopening, one: Pair) -> Pair:
    """Have the target do what a table needs before it is copied anew; where it refuses, the table stays left out."""
    name, state = one.spec.source, work.states[one.spec.source]
    steps = list(complete(one, one.source)[0]) if work.spec.drift == "propagate" else []
    if state.get("sweep") is False:
        steps.append(empty_table(one.target_table(text_form=True, stage="")))
    try:
        async with work.target.transaction():
            for step in steps:
                await work.target.execute(step)
            targets = await read_tables(work.target, [one.spec.target])
            return pair([one.spec], {name: one.source}, targets, work.names).pairs[0].settled_as(one)
    except asyncpg.PostgresError as error:
        work.states.pop(name)
        work.paused[name] = Pause("drift-refused", f"{one.spec.target}: {error}", "\n".join(steps)).to_dict()
        return one

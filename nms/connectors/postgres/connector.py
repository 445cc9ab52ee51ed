"""Opens a pipeline between two PostgreSQL systems: takes over, checks, and starts where the target stands."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from nms.common.change import Change, Shape
from nms.common.flow import DatasetSpec, Position
from nms.connectors.postgres import catalog, slot
from nms.connectors.postgres.catalog import Connection, parents_first, queries
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.display import show_key, show_values
from nms.connectors.postgres.libpq import Access, Libpq
from nms.connectors.postgres.pairing import Pairing
from nms.connectors.postgres.pgoutput import Decoder, Layout, Relation
from nms.connectors.postgres.preflight import check_open
from nms.connectors.postgres.problems import SchemaChanged, translate
from nms.connectors.postgres.progress import restore
from nms.connectors.postgres.snapshot import Backfill, Dataset
from nms.connectors.postgres.source import Plan, PostgresSource
from nms.connectors.postgres.spool import SpoolSpace
from nms.connectors.postgres.statements import start_replication
from nms.connectors.postgres.takeover import find_start, new_sessions, session_prefix, take_over
from nms.connectors.postgres.target import PostgresTarget
from nms.connectors.postgres.wal import WalStream, parse_lsn
from nms.connectors.postgres.watch import Watch
from nms.connectors.postgres.writer import Writer

_PROTOCOLS = ((160000, "4"), (150000, "3"), (140000, "2"))


@dataclass(slots=True)
class Opened:
    """An open pipeline: where it starts, its two ends, its watch."""

    position: Position
    epoch: int
    source: PostgresSource
    target: PostgresTarget
    watch: Watch
    text_form: bool
    datasets: list[Dataset] = field(default_factory=list)

    @property
    def copying(self) -> bool:
        """Whether rows that were there before are still being copied."""
        return self.source.backfill is not None

    def copied(self) -> tuple[int, int]:
        """Rows copied, and about how many there are."""
        return sum(one.rows for one in self.datasets), sum(max(one.rows, one.estimate) for one in self.datasets)

    def facts(self) -> dict[str, Any]:
        """Lag, retained log and what each dataset has copied, as JSON."""
        state, backfill = self.watch.state, self.source.backfill
        return {
            "delay_ms": None if self.source.beat_delay is None else round(self.source.beat_delay * 1000, 1),
            "retained_bytes": None if state is None else state.retained,
            "behind_bytes": None if state is None else state.behind,
            "over_budget": self.watch.over_budget(),
            "waiting_for_transactions": 0 if backfill is None else backfill.waiting_for,
            "silent_for": self.source.silent_for(),
            "epoch": self.epoch,
            "tables": {one.name: {"copied": one.rows, "of": one.estimate, "done": one.done} for one in self.datasets},
        }

    def place_of(self, position: Position) -> int:
        """A position as a number that grows with the log."""
        return parse_lsn(position["lsn"])

    def shape(self, dataset: str) -> Shape:
        """The shape of a dataset's changes."""
        return next(one.shape for one in self.datasets if one.name == dataset)

    def show_key(self, change: Change) -> str:
        """A change's key as a person reads it."""
        return show_key(change.shape, change.key, text_form=self.text_form)

    def show_values(self, change: Change) -> dict[str, str | None]:
        """A change's values as a person reads them."""
        return show_values(change, text_form=self.text_form)

    async def close(self) -> None:
        """Close both ends; safe to call twice."""
        await self.source.close()
        await self.target.close()
        with suppress(Exception):
            await self.watch.close()


@asynccontextmanager
async def open_pipeline(spec: PipelineSpec) -> AsyncIterator[Opened]:
    """Take the pipeline over from whoever had it and open both ends; raises a Problem that names what is wrong."""
    opened = await _connect(spec)
    try:
        yield opened
    finally:
        await opened.close()


async def release_pipeline(spec: PipelineSpec) -> None:
    """Give back what a pipeline holds: slot and publications at the source, its position at the target."""
    source = await catalog.connect(spec.source, name=f"nms-release:{spec.name}")
    try:
        await slot.drop_slot(source, spec.slot)
    finally:
        source.terminate()
    target = await catalog.connect(spec.target, name=f"nms-release:{spec.name}")
    try:
        await queries.claim_sessions(target, prefix=session_prefix(spec.name), own="-")
        await queries.delete_position(target, pipeline=spec.name)
    finally:
        target.terminate()


async def _connect(spec: PipelineSpec) -> Opened:
    own = new_sessions(spec.name)
    source = await catalog.connect(spec.source, name=own + "read", waits=False)
    watcher: Connection | None = None
    target: Connection | None = None
    try:
        target = await catalog.connect(spec.target, name=own + "open")
        watcher = await catalog.connect(spec.source, name=own + "watch", waits=False)
        opened = await _open(spec, source, target, watcher, own)
    except BaseException as error:
        for connection in (source, watcher):
            if connection is not None:
                connection.terminate()
        if isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            raise translate(error, at=f"{spec.source.system} or {spec.target.system}") from error
        raise
    finally:
        if target is not None:
            target.terminate()
    return opened


async def _open(spec: PipelineSpec, source: Connection, target: Connection, watcher: Connection, own: str) -> Opened:
    checked = await check_open(source, target, spec)
    checked.refuse(spec.name)
    pairing = checked.pairing
    stand = await take_over(spec, source, target, own)
    position = await find_start(spec, source, target, pairing, stand)
    server = await queries.get_server(source)
    datasets = _datasets(pairing)
    restore(position, datasets)
    plan = Plan(
        server["version"], position["generation"], position["lsn"], bool(position.get("sweep")),
        spec.batch_changes, datasets,
    )  # fmt: skip
    made = PostgresSource(plan, source, Decoder(_layouts(pairing, datasets)), SpoolSpace(spec.spool, spec.spool_budget))
    watch = Watch(watcher, spec.slot, [one.source for one in pairing.pairs], spec.wal_budget)
    try:
        await _begin(spec, made, watch, own, pairing)
        writers = _writers(pairing, datasets, heals=spec.heals)
        end = await PostgresTarget.open(spec.target, stand.fence, writers, name=own + "write")
    except BaseException:
        await made.close()
        raise
    return Opened(position, stand.fence.epoch, made, end, watch, pairing.text_form, datasets)


def _datasets(pairing: Pairing) -> list[Dataset]:
    by_oid = {one.source.oid: one for one in pairing.pairs}
    ordered = [by_oid[table.oid] for table in parents_first([one.source for one in pairing.pairs])]
    made = []
    for one in ordered:
        estimate = max(one.source.estimate, 0)
        row_bytes = max(32, one.source.bytes // estimate) if estimate else 0
        table = one.source_table(text_form=pairing.text_form)
        made.append(Dataset(one.spec.source, one.shape(), table, one.source.only, estimate, row_bytes))
    return made


def _layouts(pairing: Pairing, datasets: list[Dataset]) -> Callable[[Relation], Layout | None]:
    shapes = {dataset.name: dataset.shape for dataset in datasets}
    known = {(one.source.schema, one.source.relation): shapes[one.spec.source] for one in pairing.pairs}

    def layout(relation: Relation) -> Layout | None:
        shape = known.get((relation.schema, relation.name))
        if shape is None:
            return None
        sent = dict(relation.columns)
        lost = [column.name for column in shape.columns if sent.get(column.name) != column.oid]
        if lost:
            raise SchemaChanged(
                f"{shape.dataset}: column {', '.join(lost)} was dropped, renamed or changed its type",
                dataset=shape.dataset, columns=lost,
            )  # fmt: skip
        names = [name for name, _ in relation.columns]
        picks = tuple(names.index(column.name) for column in shape.columns)
        return Layout(shape, picks, picks == tuple(range(len(names))))

    return layout


def _writers(pairing: Pairing, datasets: list[Dataset], *, heals: bool) -> Callable[[Shape], Writer]:
    numbers = {dataset.name: at for at, dataset in enumerate(datasets)}
    pairs = {one.spec.source: one for one in pairing.pairs}

    def writer(shape: Shape) -> Writer:
        one = pairs[shape.dataset]
        number = numbers[shape.dataset]
        table = one.target_table(text_form=pairing.text_form, stage=f"nms_stage_{number}")
        return Writer(number, shape, table, [right.oid for _, right in one.columns], heals=heals)

    return writer


async def _begin(spec: PipelineSpec, made: PostgresSource, watch: Watch, own: str, pairing: Pairing) -> None:
    plan = made.plan
    version = plan.version
    names = slot.plan_publications(spec.slot, [one.source for one in pairing.pairs])
    options = {
        "proto_version": next((text for least, text in _PROTOCOLS if version >= least), "1"),
        "publication_names": ",".join(f'"{name}"' for name in names),
        "binary": "false" if pairing.text_form else "true",
        "messages": "true",
    }
    if version >= 140000:
        options["streaming"] = "on"
    stream = await WalStream.open(
        spec.source,
        name=own + "stream",
        start=start_replication(spec.slot, plan.start, options),
        confirmed=parse_lsn(plan.start),
        idle=made.is_idle,
    )
    backfill = None
    if not all(dataset.done and not dataset.repairs for dataset in plan.datasets):
        try:
            repair = await Libpq.connect(spec.source, name=own + "repair")
        except BaseException:
            await stream.close()
            raise
        backfill = Backfill(made.connection, repair, plan.datasets, made.space)
        backfill.throttle = watch.over_budget
    made.start(stream, backfill, watch)


__all__ = ["Access", "DatasetSpec", "Opened", "PipelineSpec", "open_pipeline", "release_pipeline"]

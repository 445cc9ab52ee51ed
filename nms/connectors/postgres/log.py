"""The source's end of a pipeline that follows the log: slot, stream, copy and watch, opened together."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nms.common.flow import Position
from nms.connectors.postgres import slot
from nms.connectors.postgres.catalog import Connection, parents_first, queries
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.end import TableEnd
from nms.connectors.postgres.libpq import Libpq
from nms.connectors.postgres.look import Looker
from nms.connectors.postgres.pairing import Pair, Pairing
from nms.connectors.postgres.pgoutput import Decoder
from nms.connectors.postgres.progress import place_of, restore
from nms.connectors.postgres.snapshot import Backfill, Dataset
from nms.connectors.postgres.source import Plan, PostgresSource
from nms.connectors.postgres.spool import SpoolSpace
from nms.connectors.postgres.statements import start_replication
from nms.connectors.postgres.tables import Tables, Terms
from nms.connectors.postgres.wal import WalStream, parse_lsn
from nms.connectors.postgres.watch import Watch

_LASTING = ("system", "since")
_PROTOCOLS = ((160000, "4"), (150000, "3"), (140000, "2"))


@dataclass(frozen=True, slots=True)
class Sessions:
    """A worker's sessions at the source: how their names begin, one to read tables with, one to watch with."""

    own: str
    read: Connection
    watch: Connection


@dataclass(slots=True)
class LogEnd(TableEnd):
    """The source's end of an open pipeline that follows the log."""

    source: PostgresSource
    watch: Watch

    @property
    def copying(self) -> bool:
        """Whether rows that were there before are still being copied."""
        return self.source.backfill is not None

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
            "paused": dict(self.source.plan.tables.paused),
            "tables": {one.name: {"copied": one.rows, "of": one.estimate, "done": one.done} for one in self.datasets},
        }

    def place_of(self, position: Position) -> int:
        """A position as a number that grows with the log."""
        return place_of(position)

    async def close(self) -> None:
        """Close the stream, the copy and the watch; safe to call twice."""
        try:
            await self.source.close()
        finally:
            with suppress(Exception):
                await self.watch.close()


async def open_log(spec: PipelineSpec, sessions: Sessions, pairing: Pairing, position: Position) -> LogEnd:
    """Begin to read from a position; what is given back closes the sessions."""
    server = await queries.get_server(sessions.read)
    pairs = _ordered(pairing)
    datasets = make_datasets(pairing)
    restore(position, datasets)
    paused = position.get("paused", {})
    for dataset in datasets:
        dataset.paused = dataset.name in paused
    looker = Looker(spec, sessions.own, asks_target=not pairing.for_messages)
    drift = "ignore" if pairing.for_messages and spec.drift == "propagate" else spec.drift
    names = (spec.source.system, spec.target.system)
    terms = Terms(pairing.text_form, drift, names, spec.heals, looker.ask)
    tables = Tables(list(zip(pairs, datasets, strict=True)), terms, paused)
    watch = Watch(sessions.watch, spec.slot, tables.followed, spec.wal_budget)

    async def copy(source: PostgresSource) -> Backfill:
        repair = await Libpq.connect(spec.source, name=sessions.own + "repair", reads=True)
        backfill = Backfill(source.connection, repair, datasets, source.space)
        backfill.throttle = watch.is_tight
        return backfill

    plan = Plan(
        server["version"], position["generation"], position["lsn"], spec.batch_changes, tables, copy, datasets,
        {name: position[name] for name in _LASTING if name in position}, spec.name.encode() if spec.back else None,
    )  # fmt: skip
    made = PostgresSource(plan, sessions.read, Decoder(tables.layout), SpoolSpace(spec.spool, spec.spool_budget))
    watch.lose = made.pause
    try:
        await _begin(spec, made, watch, (sessions.own, pairing.text_form))
    except BaseException:
        await made.close()
        raise
    return LogEnd(pairing.text_form, datasets, made, watch)


def make_datasets(pairing: Pairing) -> list[Dataset]:
    """The source's tables, ready to be read, parents before children."""
    return [_dataset(one, text_form=pairing.text_form) for one in _ordered(pairing)]


def _ordered(pairing: Pairing) -> list[Pair]:
    by_oid = {one.source.oid: one for one in pairing.pairs}
    return [by_oid[table.oid] for table in parents_first([one.source for one in pairing.pairs])]


def _dataset(one: Pair, *, text_form: bool) -> Dataset:
    estimate = max(one.source.estimate, 0)
    row_bytes = max(32, one.source.bytes // estimate) if estimate else 0
    table = one.source_table(text_form=text_form)
    return Dataset(one.spec.source, one.shape(), table, one.source.only, estimate, row_bytes)


async def _begin(spec: PipelineSpec, made: PostgresSource, watch: Watch, named: tuple[str, bool]) -> None:
    own, text_form = named
    plan = made.plan
    version = plan.version
    rows = await queries.list_publications(made.connection, names=list(slot.publication_names(spec.slot)))
    options = {
        "proto_version": next((text for least, text in _PROTOCOLS if version >= least), "1"),
        "publication_names": ",".join(f'"{row["name"]}"' for row in rows),
        "binary": "false" if text_form else "true",
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
    if not all(dataset.settled for dataset in plan.datasets):
        try:
            backfill = await plan.copy(made)
        except BaseException:
            await stream.close()
            raise
    made.start(stream, backfill, watch)

"""From the documents of a pipeline to what its connectors are opened with."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nms.common.condition import conditions_of, text_of
from nms.common.document import (
    EntityDocument,
    InboxSystem,
    PipelineDocument,
    PostgresSystem,
    SystemDocument,
    WarehouseSystem,
    parse_document,
    received_key,
)
from nms.common.document.mapping import DatasetMapping
from nms.common.document.pipeline import Conflicts
from nms.common.document.rule import CompareRule
from nms.common.problem import Malformed
from nms.common.rounds import NEVER
from nms.connectors.postgres.config import RuleSpec
from nms.connectors.postgres.connector import Access, DatasetSpec, PipelineSpec
from nms.connectors.warehouse.stand import as_source, as_target
from nms.sync.capture import Way
from nms.sync.merge import Rules
from nms.sync.settings import SyncSettings


def way_of(documents: Mapping[str, Any], generation: int, spool: Path, settings: SyncSettings) -> Way:
    """What a pipeline is opened with; secrets are read now, so that a rotated one is taken up."""
    pipeline = parse_document(documents["pipeline"])
    if not isinstance(pipeline, PipelineDocument):
        raise Malformed("the stored document is not a pipeline")
    source, target = _system(documents["source"]), _system(documents["target"])
    datasets = tuple(_dataset(dataset, source, target) for dataset in pipeline.datasets)
    entities = {name: _entity(body) for name, body in documents.get("entities", {}).items()}
    spec = PipelineSpec(
        name=pipeline.name,
        slot=pipeline.slot,
        source=access_of(source),
        target=access_of(target),
        datasets=_stand_in(datasets, (source, target), entities, whole=pipeline.direction == "one-way"),
        generation=generation,
        copy=pipeline.initial == "copy",
        heals=pipeline.missing == "upsert",
        drift=pipeline.drift,
        batch_changes=pipeline.batch.changes,
        wal_budget=pipeline.wal_budget,
        # Records that others wrote, over REST or from elsewhere, are none of its own; both ways it knows what is.
        shared=pipeline.shared or (isinstance(target, WarehouseSystem) and pipeline.direction == "one-way"),
        spool=spool / pipeline.name,
        spool_budget=settings.spool_budget,
        capture=pipeline.capture,
        every=NEVER if pipeline.on_demand else pipeline.interval,
        change_log=pipeline.change_log,
        back=pipeline.back if pipeline.direction == "two-way" else "",
        follows_deletes=pipeline.deletes == "all",
        rules={dataset.source: _rule(dataset.compare) for dataset in pipeline.datasets if dataset.compare},
    )
    return Way(spec, source, target, _conflict_rules(pipeline.conflicts or Conflicts()), entities)


def _system(body: Mapping[str, Any]) -> SystemDocument:
    system = parse_document(dict(body))
    if not isinstance(system, SystemDocument):
        raise Malformed("the stored document is not a system")
    return system


def _stand_in(
    datasets: tuple[DatasetSpec, ...], ends: tuple[SystemDocument, SystemDocument],
    entities: Mapping[str, EntityDocument], *, whole: bool,
) -> tuple[DatasetSpec, ...]:  # fmt: skip
    """The datasets as the database has them: those of the warehouse are the tables of its entities."""
    source, target = ends
    if isinstance(source, WarehouseSystem):
        datasets = tuple(as_source(one, entities[one.source]) for one in datasets)
    if isinstance(target, WarehouseSystem):
        fed = not source.is_database
        datasets = tuple(
            as_target(one, entities[one.target], source.name, fed=fed, whole=fed and whole) for one in datasets
        )
    return datasets


def _entity(body: Mapping[str, Any]) -> EntityDocument:
    entity = parse_document(dict(body))
    if not isinstance(entity, EntityDocument):
        raise Malformed("the stored document is not an entity")
    return entity


def access_of(system: SystemDocument) -> Access:
    """How to reach a database; secrets are read now."""
    if isinstance(system, WarehouseSystem):
        dsn, secret = system.login()
        return Access(system.name, dsn, None if secret is None else secret.get_secret_value())
    if not isinstance(system, PostgresSystem):
        # Only its name is told; its connector reads the rest.
        return Access(system.name, "")
    address = system.address()
    password = None if address.password is None else address.password.get_secret_value()
    return Access(system.name, str(address), password)


def _conflict_rules(conflicts: Conflicts) -> Rules:
    return Rules(conflicts.policy, conflicts.newest, conflicts.fields)


def _rule(rule: CompareRule) -> RuleSpec:
    return RuleSpec(tuple(rule.when.items()), rule.take)


def _dataset(dataset: DatasetMapping, source: SystemDocument, target: SystemDocument) -> DatasetSpec:
    key = received_key(dataset, source, target) if isinstance(source, InboxSystem) else dataset.key
    constants = {name: None if value is None else text_of(value) for name, value in (dataset.constants or {}).items()}
    made = DatasetSpec(
        dataset.source, dataset.target, dataset.fields, key, dataset.version,
        where=conditions_of(dataset.where), constants=constants, casts=dataset.casts,
    )  # fmt: skip
    return replace(made, cursor=dataset.cursor, overlap=dataset.overlap or made.overlap)

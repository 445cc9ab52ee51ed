"""What follows from a change of a pipeline, in words; one that is paused does it once it is resumed."""

from collections.abc import Iterator, Mapping
from itertools import chain

from nms.cfg.models import Identity
from nms.cfg.systems import tell_move
from nms.common.document import DatasetMapping, Document, PipelineDocument, PostgresSystem, SystemDocument

Documents = Mapping[Identity, Document]


def tell_pipelines(before: Documents, after: Documents) -> Iterator[tuple[Identity, str]]:
    """What the workers of sync will do where a pipeline comes, changes or goes; a sentence for each."""
    for identity in before.keys() | after.keys():
        old, new = before.get(identity), after.get(identity)
        if isinstance(old, PipelineDocument) and isinstance(new, PipelineDocument) and old != new:
            told = _tell_change(old, new, after)
        elif isinstance(new, PipelineDocument) and not isinstance(old, PipelineDocument):
            told = _tell_start(new, after)
        elif isinstance(old, PipelineDocument) and new is None:
            told = iter([f"pipeline {old.name} is stopped and gives back what it holds at its ends; its rows stay"])
        else:
            continue
        for sentence in told:
            yield identity, sentence


def _tell_start(pipeline: PipelineDocument, after: Documents) -> Iterator[str]:
    yield f"pipeline {pipeline.name} starts"
    if not _is_database(pipeline.source, after) or pipeline.capture == "compare":
        return
    for dataset in pipeline.datasets:
        told = "is copied" if pipeline.initial == "copy" else "is followed from now on; rows that are there stay behind"
        yield f"table {dataset.source} {told}"


def _tell_change(old: PipelineDocument, new: PipelineDocument, after: Documents) -> Iterator[str]:
    name = new.name
    yield f"pipeline {name} restarts"
    moved = [side for side in ("source", "target") if getattr(old, side) != getattr(new, side)]
    for side in moved:
        if isinstance(after.get(("system", getattr(new, side))), PostgresSystem):
            yield from tell_move(new if old.capture == new.capture else old, getattr(new, side))
    if old.capture != new.capture:
        yield from _tell_capture(new)
    elif not moved and _is_database(new.source, after):
        yield from chain.from_iterable(_tell_datasets(old, new, after))


def _tell_capture(new: PipelineDocument) -> Iterator[str]:
    if new.capture == "compare":
        yield f"pipeline {new.name} compares its tables whole in its next round"
    elif new.initial == "copy":
        yield from (f"table {dataset.source} is copied again" for dataset in new.datasets)
    else:
        yield f"pipeline {new.name} begins with what changes from now on"


def _tell_datasets(old: PipelineDocument, new: PipelineDocument, after: Documents) -> Iterator[Iterator[str]]:
    before, now = ({each.source: each for each in one.datasets} for one in (old, new))
    for table in before.keys() - now.keys():
        yield iter([f"table {table} is followed no more; its rows at the target stay"])
    for table, dataset in now.items():
        if table not in before:
            yield _tell_table(new, dataset, after)
        elif before[table] != dataset and new.capture != "compare":
            yield _tell_mapping(new, before[table], dataset)


def _tell_table(new: PipelineDocument, dataset: DatasetMapping, after: Documents) -> Iterator[str]:
    """A table that came."""
    if new.capture == "compare":
        yield f"table {dataset.source} is compared whole in the next round"
    elif new.capture == "log" and not _is_database(new.target, after):
        yield f"pipeline {new.name} waits until `nms resync {new.name}` publishes table {dataset.source} too"
    elif new.initial == "copy":
        yield f"table {dataset.source} is copied, and the others go on"
    else:
        yield f"table {dataset.source} is followed from now on; rows that are there stay behind"


def _tell_mapping(new: PipelineDocument, old: DatasetMapping, dataset: DatasetMapping) -> Iterator[str]:
    """A table that stays and is mapped otherwise."""
    if old.where != dataset.where and new.capture == "log":
        yield (
            f"pipeline {new.name} waits until `nms resync {new.name}`: "
            f"rows of {dataset.source} at the target came by another filter"
        )
    else:
        yield (
            f"table {dataset.source} is written so from its next changes on; "
            f"`nms resync {new.name}` does it to its older rows"
        )


def _is_database(system: str, documents: Documents) -> bool:
    found = documents.get(("system", system))
    return isinstance(found, SystemDocument) and found.is_database

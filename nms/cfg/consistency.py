"""What no single document can tell: whether systems, pipelines and entities fit together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic_core import PydanticCustomError

from nms.cfg.datasets import check_entities
from nms.cfg.entities import find_entity_faults
from nms.cfg.models import Identity
from nms.cfg.resources import check_passing, check_reading, check_receiving, check_writing
from nms.common.document import (
    Document,
    EntityDocument,
    InboxSystem,
    PipelineDocument,
    PostgresSystem,
    RestSystem,
    SystemDocument,
    Table,
    WarehouseSystem,
)
from nms.common.problem import Pointer

Node = tuple[tuple[object, ...], str]
"""A dataset by the place of its system and its name."""

CAPTURES: Final[Mapping[str, tuple[str, ...]]] = {
    "postgres": ("log", "poll", "compare"),
    "amqp": ("feed",),
    "kafka": ("feed",),
    "rest": ("pull",),
    "inbox": ("feed",),
    "warehouse": ("log", "poll", "compare"),
}
"""How changes can be captured, by the type of the source."""

QUEUES: Final = ("amqp", "kafka")
"""Types of systems that only ever get messages: any number of pipelines may send to one of their datasets."""

NOT_FED: Final = ("where", "constants", "casts")
NOT_SENT: Final = ("constants", "casts", "version")
"""Parts of a dataset that have no effect where the source is no database, and where the target is none."""


@dataclass(frozen=True, slots=True)
class _Edge:
    pipeline: PipelineDocument
    dataset: int
    source: Node
    target: Node


def find_faults(documents: Mapping[Identity, Document]) -> dict[Identity, list[Pointer]]:
    """Faults by the document that has them; pointers are those within it.

    Unknown systems and endpoints, a pipeline into its own source, several pipelines into one table without `shared` on
    each of them, rows that would go round in circles, children of entities that are not there.
    """
    pipelines = [each for each in documents.values() if isinstance(each, PipelineDocument)]
    faults = find_entity_faults(documents)
    edges: list[_Edge] = []
    for pipeline in pipelines:
        found = list(_check_systems(pipeline, documents))
        if found:
            faults["pipeline", pipeline.name] = found
        else:
            edges.extend(_list_edges(pipeline, documents))
    for edge, sentence in (*_check_sharing(edges), *_check_circles(edges)):
        pointer = Pointer(f"/datasets/{edge.dataset}/target", sentence)
        faults.setdefault(("pipeline", edge.pipeline.name), []).append(pointer)
    return faults


def _check_systems(pipeline: PipelineDocument, documents: Mapping[Identity, Document]) -> Iterator[Pointer]:
    sides = {side: documents.get(("system", getattr(pipeline, side))) for side in ("source", "target")}
    for side, system in sides.items():
        if system is None:
            known = ", ".join(sorted(each for kind, each in documents if kind == "system")) or "none"
            yield Pointer(f"/{side}", f"there is no system `{getattr(pipeline, side)}`; known systems: {known}")
    source, target = sides.values()
    if isinstance(source, SystemDocument) and isinstance(target, SystemDocument):
        yield from _check_ends(pipeline, source, target)
        yield from _check_warehouse(pipeline, (source, target), documents)
        if isinstance(source, InboxSystem):
            yield from check_receiving(pipeline, source, [name for kind, name in documents if kind == "endpoint"])
            yield from check_passing(pipeline, source, target)


def _check_ends(pipeline: PipelineDocument, source: SystemDocument, target: SystemDocument) -> Iterator[Pointer]:
    if source.place == target.place and target.is_database:
        yield Pointer(
            "/target",
            f"`{pipeline.target}` and `{pipeline.source}` are one database, a pipeline needs two; "
            "name another target or correct a DSN",
        )
    yield from _check_capture(pipeline, source, target)
    if not (source.is_database and target.is_database):
        words = () if source.is_database else NOT_FED
        sent = () if target.is_database else NOT_SENT
        yield from _check_mappings(pipeline, tuple(dict.fromkeys((*words, *sent))))
    if isinstance(source, PostgresSystem):
        yield from _check_tables(pipeline, "source")
    if isinstance(target, PostgresSystem):
        # Of a name that stands on both sides it is told once what is wrong with it.
        yield from _check_tables(pipeline, "target", told=isinstance(source, PostgresSystem))
    if isinstance(source, RestSystem):
        yield from check_reading(pipeline, source)
    if isinstance(target, RestSystem):
        yield from check_writing(pipeline, target)


def _check_warehouse(
    pipeline: PipelineDocument, ends: tuple[SystemDocument, SystemDocument], documents: Mapping[Identity, Document]
) -> Iterator[Pointer]:
    entities = {each.name: each for each in documents.values() if isinstance(each, EntityDocument)}
    for side, system in zip(("source", "target"), ends, strict=True):
        if isinstance(system, WarehouseSystem):
            yield from check_entities(pipeline, side, system.name, entities)


def _check_capture(pipeline: PipelineDocument, source: SystemDocument, target: SystemDocument) -> Iterator[Pointer]:
    captures = CAPTURES[source.type]
    if pipeline.capture not in captures:
        offered = " or ".join(f"`{word}`" for word in captures)
        yield Pointer("/capture", f"`{source.name}` is of type {source.type}: its changes are captured by {offered}")
    if isinstance(target, InboxSystem):
        yield Pointer("/target", f"`{target.name}` is the inbox: events come to it over HTTP only; name another target")
        return
    if pipeline.capture == "poll" and target.type in QUEUES:
        yield Pointer(
            "/capture", "a poll does not tell an insert from an update, as messages do: into a queue goes the `log`"
        )
    if not (source.is_database or isinstance(source, InboxSystem)) and not target.is_database:
        yield Pointer(
            "/target",
            "what an API, a queue or a topic gives goes into a database; a second pipeline can send it on from there",
        )
    if pipeline.capture == "compare" and not target.is_database:
        yield Pointer("/capture", f"a comparison reads both sides, and `{target.name}` is of type {target.type}")


def _check_mappings(pipeline: PipelineDocument, words: tuple[str, ...]) -> Iterator[Pointer]:
    # What would be passed over in silence is refused.
    for number, dataset in enumerate(pipeline.datasets):
        for word in words:
            if getattr(dataset, word) is not None:
                yield Pointer(f"/datasets/{number}/{word}", f"`{word}` is taken between two databases only")


def _check_tables(pipeline: PipelineDocument, side: str, *, told: bool = False) -> Iterator[Pointer]:
    names = [getattr(dataset, side) for dataset in pipeline.datasets]
    for number, (name, dataset) in enumerate(zip(names, pipeline.datasets, strict=True)):
        # An exchange or topic takes any number of datasets, a table one.
        if side == "target" and name in names[:number]:
            sentence = f"{name} is the target of two datasets; a second pipeline can take the other one"
            yield Pointer(f"/datasets/{number}/target", sentence)
        if told and name == dataset.source:
            continue
        try:
            Table.parse(name)
        except PydanticCustomError as error:
            yield Pointer(f"/datasets/{number}/{side}", error.message())


def _place(name: str, documents: Mapping[Identity, Document]) -> tuple[object, ...]:
    system = documents["system", name]
    return system.place if isinstance(system, SystemDocument) else (name,)


def _list_edges(pipeline: PipelineDocument, documents: Mapping[Identity, Document]) -> Iterator[_Edge]:
    source, target = (_place(name, documents) for name in (pipeline.source, pipeline.target))
    system = documents["system", pipeline.target]
    if isinstance(system, SystemDocument) and system.type in QUEUES:
        return
    for number, dataset in enumerate(pipeline.datasets):
        yield _Edge(pipeline, number, (source, dataset.source), (target, dataset.target))


def _check_sharing(edges: list[_Edge]) -> Iterator[tuple[_Edge, str]]:
    writers: dict[Node, list[_Edge]] = {}
    for edge in edges:
        writers.setdefault(edge.target, []).append(edge)
    for node, sharing in writers.items():
        if len(sharing) < 2 or all(edge.pipeline.shared for edge in sharing):
            continue
        for edge in sharing:
            others = ", ".join(f"`{each.pipeline.name}`" for each in sharing if each is not edge)
            yield (
                edge,
                f"{node[1]} is written by {others} too; where that is meant, write `shared: true` in each of them",
            )


def _check_circles(edges: list[_Edge]) -> Iterator[tuple[_Edge, str]]:
    onward: dict[Node, list[tuple[Node, _Edge]]] = {}
    for edge in edges:
        onward.setdefault(edge.source, []).append((edge.target, edge))
        if edge.pipeline.direction == "two-way":
            onward.setdefault(edge.target, []).append((edge.source, edge))
    for edge in edges:
        if edge.source in _reach(edge, onward):
            yield (
                edge,
                "rows would come back to their source and go round for ever; between a REST API and a database "
                "one pipeline with `direction: two-way` keeps both sides alike",
            )


def _reach(start: _Edge, onward: Mapping[Node, list[tuple[Node, _Edge]]]) -> set[Node]:
    """What can be reached from where an edge leads to, without it: a two-way pipeline knows its own writes."""
    seen: set[Node] = set()
    waiting = [start.target]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend(there for there, edge in onward.get(node, ()) if edge is not start)
    return seen

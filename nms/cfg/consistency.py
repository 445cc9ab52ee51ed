"""What no single document can tell: whether systems and pipelines fit together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nms.cfg.models import Identity
from nms.common.document import Document, PipelineDocument, SystemDocument, Table
from nms.common.problem import Pointer

Place = tuple[object, ...]
"""What makes two systems one database as far as documents show: host, port and database, or the reference."""

Node = tuple[Place, Table]


@dataclass(frozen=True, slots=True)
class _Edge:
    pipeline: PipelineDocument
    dataset: int
    source: Node
    target: Node


def find_faults(documents: Mapping[Identity, Document]) -> dict[str, list[Pointer]]:
    """Faults by the name of the pipeline that has them; pointers are those within its document.

    Unknown systems, a pipeline into its own source, several pipelines into one table without `shared` on each of
    them, rows that would go round in circles.
    """
    pipelines = [each for each in documents.values() if isinstance(each, PipelineDocument)]
    faults: dict[str, list[Pointer]] = {}
    edges: list[_Edge] = []
    for pipeline in pipelines:
        found = list(_check_systems(pipeline, documents))
        if found:
            faults[pipeline.name] = found
        else:
            edges.extend(_list_edges(pipeline, documents))
    for edge, sentence in (*_check_sharing(edges), *_check_circles(edges)):
        pointer = Pointer(f"/datasets/{edge.dataset}/target", sentence)
        faults.setdefault(edge.pipeline.name, []).append(pointer)
    return faults


def _check_systems(pipeline: PipelineDocument, documents: Mapping[Identity, Document]) -> Iterator[Pointer]:
    sides = (("source", pipeline.source), ("target", pipeline.target))
    unknown = [(side, name) for side, name in sides if ("system", name) not in documents]
    for side, name in unknown:
        known = ", ".join(sorted(each for kind, each in documents if kind == "system")) or "none"
        yield Pointer(f"/{side}", f"there is no system `{name}`; known systems: {known}")
    if not unknown and _place(pipeline.source, documents) == _place(pipeline.target, documents):
        yield Pointer(
            "/target",
            f"`{pipeline.target}` and `{pipeline.source}` are one database, a pipeline needs two; "
            "name another target or correct a DSN",
        )


def _place(name: str, documents: Mapping[Identity, Document]) -> Place:
    system = documents["system", name]
    if not isinstance(system, SystemDocument):
        return (name,)
    address = system.stated_address
    return address.place if address is not None else (system.dsn,)


def _list_edges(pipeline: PipelineDocument, documents: Mapping[Identity, Document]) -> Iterator[_Edge]:
    source, target = _place(pipeline.source, documents), _place(pipeline.target, documents)
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
    onward: dict[Node, set[Node]] = {}
    for edge in edges:
        onward.setdefault(edge.source, set()).add(edge.target)
    for edge in edges:
        if edge.source in _reach(edge.target, onward):
            yield edge, "rows would come back to their source and go round for ever; `two-way` is not yet available"


def _reach(start: Node, onward: Mapping[Node, set[Node]]) -> set[Node]:
    seen: set[Node] = set()
    waiting = [start]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend(onward.get(node, ()))
    return seen

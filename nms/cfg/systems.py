"""What follows from a change of a system, in words."""

from collections.abc import Iterator, Mapping

from nms.cfg.models import Identity
from nms.common.document import Document, PipelineDocument, PostgresSystem, SystemDocument

_PLACES = ("dsn", "servers", "url")
"""Fields that say where a system stands; only references stand in for what is secret of them."""


def tell_systems(
    before: Mapping[Identity, Document], after: Mapping[Identity, Document]
) -> Iterator[tuple[Identity, str]]:
    """Which pipelines are opened anew because their system changed, and which of them wait where it moved."""
    for identity, document in after.items():
        earlier = before.get(identity)
        if not isinstance(document, SystemDocument) or not isinstance(earlier, SystemDocument) or document == earlier:
            continue
        users = [one for one in pipelines_of(after) if document.name in (one.source, one.target)]
        kept = [one for one in users if before.get(("pipeline", one.name)) == one]
        names = ", ".join(one.name for one in kept)
        if _stands_at(document) != _stands_at(earlier):
            where = f"system {document.name} moves from {_stands_at(earlier)} to {_stands_at(document)}"
            yield identity, f"{where}: {_noun('pipeline', kept)} {names} reconnect{_s(kept)}" if kept else where
            for one in users if isinstance(document, PostgresSystem) else ():
                for sentence in tell_move(one, document.name):
                    yield identity, sentence
        elif kept:
            yield identity, f"{_noun('pipeline', kept)} {names} restart{_s(kept)} and go{'es' if _s(kept) else ''} on"


def tell_move(pipeline: PipelineDocument, system: str) -> Iterator[str]:
    """What becomes of a pipeline at whose end, a PostgreSQL system of this name, another database may stand now."""
    name, reads = pipeline.name, pipeline.source == system
    if pipeline.capture == "log":
        yield f"pipeline {name} waits where that is another database, until `nms resync {name}` copies it anew"
    elif pipeline.capture == "poll":
        yield f"pipeline {name} is copied again where that is another database"
    elif pipeline.capture == "compare" and reads:
        yield (
            f"pipeline {name} waits where that is another server, until `nms resync {name}`; where it is another "
            f"database of the same one, it makes its target like that in its next round"
        )
    elif pipeline.capture == "compare":
        yield f"pipeline {name} makes the tables there alike in its next round"
    if pipeline.capture == "log" and reads:
        yield (
            f"slot {pipeline.slot} stays at the old database, which keeps log for it until it is dropped there: "
            f"before the resync where both are of one server"
        )


def pipelines_of(documents: Mapping[Identity, Document]) -> list[PipelineDocument]:
    """The pipelines among documents, by name."""
    return sorted((one for one in documents.values() if isinstance(one, PipelineDocument)), key=lambda one: one.name)


def _noun(noun: str, things: list[PipelineDocument]) -> str:
    return noun if len(things) == 1 else f"{noun}s"


def _s(things: list[PipelineDocument]) -> str:
    return "s" if len(things) == 1 else ""


def _stands_at(system: SystemDocument) -> str:
    return ", ".join(str(getattr(system, field)) for field in _PLACES if hasattr(system, field))

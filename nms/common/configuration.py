"""The current configuration, read through the views that cfg publishes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nms.common.custody import read_secrets
from nms.common.db.queries import load
from nms.common.db.repositories import BaseNmsRepository
from nms.common.document import EndpointDocument, EntityDocument, PipelineDocument, SystemDocument, parse_document
from nms.common.problem import Malformed, NotFound, Problem

_queries = load("nms.common")


@dataclass(frozen=True, slots=True)
class Configuration:
    """Systems, pipelines, endpoints and entities of one revision by name; revision 0 is the empty one.

    A stored document that this version cannot read stands in `unreadable` by (kind, name), so that one document
    never takes its neighbours along.
    """

    revision: int
    systems: Mapping[str, SystemDocument] = field(default_factory=dict)
    pipelines: Mapping[str, PipelineDocument] = field(default_factory=dict)
    endpoints: Mapping[str, EndpointDocument] = field(default_factory=dict)
    entities: Mapping[str, EntityDocument] = field(default_factory=dict)
    unreadable: Mapping[tuple[str, str], Problem] = field(default_factory=dict)

    def system(self, name: str) -> SystemDocument:
        """The system of this name; raises its problem where it is unreadable, else NotFound."""
        found = self.systems.get(name)
        if found is None:
            raise self._absent("system", name)
        return found

    def pipeline(self, name: str) -> PipelineDocument:
        """The pipeline of this name; raises its problem where it is unreadable, else NotFound."""
        found = self.pipelines.get(name)
        if found is None:
            raise self._absent("pipeline", name)
        return found

    def entity(self, name: str) -> EntityDocument:
        """The entity of this name; raises its problem where it is unreadable, else NotFound."""
        found = self.entities.get(name)
        if found is None:
            raise self._absent("entity", name)
        return found

    def _absent(self, kind: str, name: str) -> Problem:
        return self.unreadable.get((kind, name)) or NotFound(
            f"There is no {kind} named {name} in revision {self.revision}.",
            kind=kind,
            name=name,
            remedy="`nms export` shows what is there, `nms apply -f FILE` adds to it.",
        )


async def current_revision(repository: BaseNmsRepository) -> int:
    """The number of the newest revision, 0 where there is none; costs far less than its documents."""
    return int(await _queries.get_revision(repository.connection))


async def current_documents(repository: BaseNmsRepository) -> Configuration:
    """The newest revision; `repository` may be any of the database `nms`, inside a transaction too.

    What its documents refer to of the stored secrets can be resolved from then on.
    """
    records = await _queries.list_configuration(repository.connection)
    await read_secrets(repository)
    return build_configuration(records)


def build_configuration(records: Iterable[Mapping[str, Any]]) -> Configuration:
    """Records of revision, kind, name and body as values; kinds of later versions are left out."""
    revision = 0
    systems: dict[str, SystemDocument] = {}
    pipelines: dict[str, PipelineDocument] = {}
    endpoints: dict[str, EndpointDocument] = {}
    entities: dict[str, EntityDocument] = {}
    unreadable: dict[tuple[str, str], Problem] = {}
    for record in records:
        revision, kind, name = record["revision"], record["kind"], record["name"]
        if kind is None:
            continue
        try:
            document = parse_document(record["body"])
        except Malformed as problem:
            unreadable[kind, name] = problem
            continue
        if isinstance(document, SystemDocument):
            systems[name] = document
        elif isinstance(document, PipelineDocument):
            pipelines[name] = document
        elif isinstance(document, EndpointDocument):
            endpoints[name] = document
        elif isinstance(document, EntityDocument):
            entities[name] = document
    return Configuration(revision, systems, pipelines, endpoints, entities, unreadable)

"""The entities that are built, kept up to date in every process that serves them."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nms.common.document import EntityDocument
from nms.common.document.entity import EntityField
from nms.common.guard import Guard
from nms.common.problem import NotFound, Problem
from nms.warehouse.models import Entity
from nms.warehouse.repository import EntityRepository

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A document whose table stands, and what it was built from; one object for as long as neither changes.

    `build` is of a revision and of what the triggers write: of another one a record is another text, though nobody
    changed it, so every entity tag carries it.
    """

    document: EntityDocument
    build: str
    readers: Guard

    @classmethod
    def of(cls, document: EntityDocument, build: str) -> "Served":
        """Who may not read its records is told that there is nothing."""
        scope = f"entities:read:{document.name}"
        return cls(document, build, Guard(scope, seen_by=scope))

    @property
    def name(self) -> str:
        """Its name, which is its path."""
        return self.document.name

    @property
    def key(self) -> tuple[str, ...]:
        """The fields that tell records apart."""
        return self.document.key

    @property
    def fields(self) -> Mapping[str, EntityField]:
        """Its fields by name."""
        return self.document.fields


class Entities:
    """Entities by name; `changed` is called when one comes, goes or is another."""

    name = "entities"
    channel = "nms_entity"

    def __init__(self, changed: Callable[[], None]) -> None:
        self._entities: Mapping[str, Served] = {}
        self._changed = changed
        self._read = False
        self.built: frozenset[str] = frozenset()
        """The names of what was built when it was last looked at, also of what is of a later version."""

    def get(self, name: str) -> Served | None:
        """An entity by its name."""
        return self._entities.get(name)

    def find(self, name: str) -> Served:
        """An entity by its name; raises NotFound."""
        found = self.get(name)
        if found is None:
            raise NotFound(f"There is no entity {name}.", entity=name)
        return found

    def standing(self) -> list[Served]:
        """Every entity, by name."""
        return list(self._entities.values())

    def names(self) -> list[str]:
        """The names of all entities that stand."""
        return list(self._entities)

    async def look(self) -> None:
        """Take over what is built now; raises a Problem where it cannot be read."""
        found: dict[str, Served] = {}
        known = await (await EntityRepository.open()).list_entities()
        for one in known:
            served = self._serve(one)
            if served is not None:
                found[one.name] = served
        changed = list(found.values()) != list(self._entities.values())
        self._entities, self._read = found, True
        self.built = frozenset(one.name for one in known if one.is_served)
        if changed:
            self._changed()

    def _serve(self, entity: Entity) -> Served | None:
        """What is built of an entity, the same object as before where it is the same."""
        try:
            document = entity.built
        except Problem as problem:
            log.warning("entity %s cannot be served: %s", entity.name, problem.detail)
            return None
        if document is None:
            return None
        kept = self._entities.get(entity.name)
        same = kept is not None and (kept.document, kept.build) == (document, entity.build)
        return kept if same else Served.of(document, entity.build)

    @property
    def is_read(self) -> bool:
        """Whether they were ever read."""
        return self._read

    async def source(self) -> Any:
        """The pool of their database."""
        return (await EntityRepository.open()).connection

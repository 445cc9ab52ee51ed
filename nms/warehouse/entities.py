"""The entities that are built, kept up to date in every process that serves them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from nms.common.document import EntityDocument
from nms.common.document.entity import EntityField
from nms.common.guard import Guard
from nms.common.listen import listen
from nms.common.problem import Problem
from nms.common.waiting import first_of
from nms.warehouse.models import Entity
from nms.warehouse.repository import EntityRepository

log = logging.getLogger(__name__)

CHANNEL = "nms_entity"
LOOK_SECONDS = 10.0
"""Between looks where nothing tells that an entity was built."""
UNREAD_SECONDS = 1.0
"""Between looks of a role that was never told what entities there are: until then it answers 404 for each."""


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

    def __init__(self, changed: Callable[[], None]) -> None:
        self._entities: Mapping[str, Served] = {}
        self._changed = changed
        self._wake = asyncio.Event()
        self._read = False
        self.built: frozenset[str] = frozenset()
        """The names of what was built when it was last looked at, also of what is of a later version."""

    def get(self, name: str) -> Served | None:
        """An entity by its name."""
        return self._entities.get(name)

    def standing(self) -> list[Served]:
        """Every entity, by name."""
        return list(self._entities.values())

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

    async def follow(self) -> None:
        """Look again whenever one was built, and from time to time, until cancelled."""
        ear: asyncio.Task[None] | None = None
        try:
            while True:
                self._wake.clear()
                try:
                    await self.look()
                    if ear is None or ear.done():
                        ear = asyncio.create_task(self._listen(), name="listen-entities")
                except Problem as problem:
                    log.warning("the entities could not be read: %s", problem.detail)
                await first_of(self._wake, timeout=LOOK_SECONDS if self._read else UNREAD_SECONDS)
        finally:
            if ear is not None:
                ear.cancel()
                await asyncio.gather(ear, return_exceptions=True)

    async def _listen(self) -> None:
        await listen((await EntityRepository.open()).connection, CHANNEL, lambda _: self._wake.set())


@asynccontextmanager
async def followed(entities: Entities) -> AsyncIterator[Entities]:
    """Entities that are read now and followed from then on."""
    try:
        await entities.look()
    except Problem as problem:
        # The role starts without its database, and says so in `/readyz`.
        log.warning("the entities could not be read yet: %s", problem.detail)
    following = asyncio.create_task(entities.follow(), name="follow-entities")
    try:
        yield entities
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

"""Following the documents of entities: whatever the configuration wants otherwise is ordered to be built."""

import asyncio
import logging
from typing import Final

from nms.common.configuration import Configuration, current_documents
from nms.common.db.repositories import BaseNmsRepository
from nms.common.document import EntityDocument, normal_form
from nms.common.listen import listen
from nms.common.problem import Problem
from nms.common.rollout import Report
from nms.common.run import Unique, enqueue
from nms.common.waiting import first_of
from nms.warehouse.entity import is_way_free
from nms.warehouse.models import Entity
from nms.warehouse.repository import EntityRepository
from nms.warehouse.run import KIND
from nms.warehouse.table import form_of

log = logging.getLogger(__name__)

CHANNEL: Final = "nms_cfg"
LOOK_SECONDS: Final = 10.0
"""Between looks where nothing tells of a revision; also how soon it is seen that an operator ran a statement."""


async def adopt(repository: EntityRepository, configuration: Configuration) -> list[str]:
    """Let the entities follow the documents of a revision; gives the names of those that are to be built or hidden."""
    changed: list[str] = []
    async with repository.transaction() as tx:
        await tx.lock_adoption()
        known = {each.name: each for each in await tx.list_entities()}
        for name, document in configuration.entities.items():
            if await _order(tx, known.get(name), document, configuration.revision):
                changed.append(name)
        for name, entity in known.items():
            gone = name not in configuration.entities and (KIND, name) not in configuration.unreadable
            if gone and entity.state != "hidden" and entity.wanted_revision <= configuration.revision:
                await tx.mark_hidden(name, configuration.revision)
                changed.append(name)
    return changed


async def _order(tx: EntityRepository, entity: Entity | None, document: EntityDocument, revision: int) -> bool:
    wanted = normal_form(document)
    if entity is not None and entity.wanted_revision > revision:
        return False
    same = entity is not None and entity.wanted == wanted and entity.state != "hidden"
    if same and entity is not None and entity.state != "building":
        freed = entity.state == "halted" and await is_way_free(tx, entity)
        if not freed and (entity.state == "halted" or entity.form == form_of(document)):
            return False
    # A run of a worker that died, or that gave up, is ordered anew.
    under_way = same and entity is not None and entity.state == "building"
    if under_way and not await tx.lock_building(document.name):
        # Its run ended since the entities were listed: what it told is looked at the next time.
        return False
    if not under_way:
        await tx.upsert_wanted(document.name, wanted, revision)
    run = await enqueue(tx, KIND, document.name, unique=Unique.EXISTING if under_way else Unique.ONE_MORE)
    return not under_way or run.attempts == 0


async def follow_documents(repository: EntityRepository, report: Report, stop: asyncio.Event) -> None:
    """Adopt whatever the configuration says, whenever it says something else, until told to stop."""
    wake = asyncio.Event()
    documents = await BaseNmsRepository.open()
    ear = asyncio.create_task(listen(documents.connection, CHANNEL, lambda _: wake.set()), name="listen-documents")
    try:
        while not stop.is_set():
            wake.clear()
            try:
                configuration = await current_documents(documents)
                changed = await adopt(repository, configuration)
                report.take(configuration.revision)
                if changed:
                    log.info("entities on their way: %s", ", ".join(changed))
            except Problem as problem:
                log.warning("the entities could not follow their documents: %s", problem.detail)
            await first_of(stop, wake, timeout=LOOK_SECONDS)
    finally:
        ear.cancel()
        await asyncio.gather(ear, return_exceptions=True)

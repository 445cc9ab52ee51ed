"""Entities over HTTP: what is built of each, and what stands in its way."""

from typing import Annotated

from fastapi import Depends, Path

from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.document.entity import ENTITY_NAME
from nms.common.guard import requires
from nms.common.paging import Page, Paging
from nms.common.problem import NotFound
from nms.common.router import Router
from nms.warehouse.models import EntityStanding
from nms.warehouse.repository import EntityRepository

router = Router(prefix="/entities", tags=["entities"])

Repository = Annotated[EntityRepository, Depends(get_db_repository(EntityRepository))]
Name = Annotated[str, Path(pattern=f"^{ENTITY_NAME}$")]
READ = requires("config:read")


@router.get("", dependencies=[READ], summary="List entities")
async def list_entities(repository: Repository, paging: Paging) -> Page[EntityStanding]:
    """Every entity that was declared, by name: what is built and served, and why it is not what is wanted."""
    rows = await repository.page_entities(paging.after[0] if paging.after else None, paging.size)
    return paging.page(rows, key=lambda row: (row.name,), show=EntityStanding.of)


@router.get("/{name}", dependencies=[READ], summary="Read how an entity stands", responses=problems(NotFound))
async def read_entity(repository: Repository, name: Name) -> EntityStanding:
    """What is built of one entity, what its document wants, and the problem in between."""
    entity = await repository.get_entity(name)
    if entity is None:
        raise NotFound(f"There is no entity {name}.", entity=name)
    return EntityStanding.of(entity)

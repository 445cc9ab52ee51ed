"""Exports that are ordered: a run writes the file, which is kept for some days."""

from contextlib import suppress
from pathlib import Path
from typing import Final

from nms.common.guard import Caller, Forbidden
from nms.common.problem import NotFound
from nms.common.run import Order, RunEnded, RunSight, RunState, place_order, request_cancel
from nms.warehouse.extract import Asked
from nms.warehouse.file import Store
from nms.warehouse.models import Export
from nms.warehouse.problems import ExportElsewhere, ExportNotReady
from nms.warehouse.repository import ExportRepository
from nms.warehouse.run import KIND as BUILDING

KIND: Final = "export"
DAY: Final = 86_400.0
READ: Final = "entities:read"
ANY_TASK: Final = "tasks:write"
STANDING: Final = "config:read"
"""The scope by which one sees how every entity stands (`GET /entities`)."""


async def order_export(repository: ExportRepository, asked: Asked, caller: Caller, days: float) -> Export:
    """Order the run; raises RunExists while the entity has another one."""
    what = (asked.entity, asked.format.value, asked.compression.value)
    async with repository.transaction() as tx:
        run = await place_order(tx, Order(KIND, asked.entity, asked.payload()))
        await tx.insert_export(run.id, what, caller.name, days * DAY)
        return await find_export(tx, run.id, caller)


async def find_export(repository: ExportRepository, id_: int, caller: Caller) -> Export:
    """An export of an entity that the caller may read; raises NotFound."""
    export = await repository.get_export(id_)
    if export is None or not caller.may(f"{READ}:{export.entity}"):
        raise NotFound(f"There is no export {id_}.", export=id_)
    return export


async def list_exports(
    repository: ExportRepository, caller: Caller, entity: str | None, page: tuple[int | None, int]
) -> list[Export]:
    """Exports of entities that the caller may read, the newest first: so many, of ids below one."""
    return await repository.list_exports(readable(caller), entity, *page)


def readable(caller: Caller) -> list[str] | None:
    """The entities that the caller may read; None: all."""
    if caller.may(READ):
        return None
    return [scope.removeprefix(f"{READ}:") for scope in caller.scopes if scope.startswith(f"{READ}:")]


def see_runs(caller: Caller, scope: str) -> RunSight:
    """The runs that a caller sees: who may read an entity sees its exports, and with the scope everything of it."""
    entities, others = readable(caller), caller.may(scope)
    if not others:
        return RunSight(others=False, kinds={KIND: entities})
    return RunSight(kinds={KIND: entities, BUILDING: None if caller.may(STANDING) else entities})


def find_file(store: Store, export: Export) -> Path:
    """Where the file of an export lies; raises ExportNotReady, ExportElsewhere."""
    if export.file is None or export.state is not RunState.SUCCEEDED:
        raise ExportNotReady(f"Export {export.id} is {export.state}.", export=export.id, state=export.state.value)
    path = store.find(export.file)
    if path is None:
        detail = f"The file of export {export.id} was written on {export.host}, and is not here."
        raise ExportElsewhere(detail, export=export.id, host=export.host)
    return path


async def forget_export(repository: ExportRepository, store: Store, export: Export, caller: Caller) -> None:
    """Cancel its run where that has not ended, and remove its file where it is here; else its machine sweeps it.

    Raises Forbidden for whoever neither ordered it nor may cancel runs.
    """
    if export.author != caller.name and not caller.may(ANY_TASK):
        raise Forbidden(ANY_TASK)
    if not export.state.ended:
        with suppress(RunEnded):
            await request_cancel(repository, export.id)
    await repository.delete_export(export.id)
    if export.file is not None:
        store.remove(export.file)

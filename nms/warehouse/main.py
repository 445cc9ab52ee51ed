"""The warehouse role, composed: `uvicorn nms.warehouse.main:app --log-config loggers.json`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from nms.common import health, web
from nms.common.db.dsn import DSNType
from nms.common.db.repositories import get_db_repository
from nms.common.following import followed
from nms.common.run import DwhRunRepository
from nms.common.settings import Settings, get_settings, read_settings
from nms.common.tasks import TaskRights, tasks_router
from nms.common.web import Role, RoleApp
from nms.warehouse.api import entities, exports, feed, pulls, records
from nms.warehouse.diagnosis import probe_entities
from nms.warehouse.entities import Entities
from nms.warehouse.export import READ, see_runs
from nms.warehouse.file import Store
from nms.warehouse.front import Front
from nms.warehouse.reading import Reading
from nms.warehouse.reference import describe_paths, describe_schemas, see_entities
from nms.warehouse.settings import WarehouseSettings
from nms.warehouse.stream import Streams
from nms.warehouse.worker import run_worker
from nms.warehouse.write import Writings


@asynccontextmanager
async def enter_serving(app: FastAPI) -> AsyncIterator[None]:
    """Give an app its entities, who reads and who writes them, as long as it lives."""
    app.state.writings = Writings()
    app.state.reading = reading = Reading(app.state.cursor_secret, read_settings(WarehouseSettings))

    assert isinstance(app, RoleApp)
    try:
        async with followed(Entities(app.documents.clear)) as app.state.entities:
            yield
    finally:
        await reading.close()


@asynccontextmanager
async def enter_exporting(app: FastAPI) -> AsyncIterator[None]:
    """Give an app what its exports share."""
    role = read_settings(WarehouseSettings)
    app.state.streams = Streams(role.export_seconds)
    app.state.exporting = Store.of(app.state.settings, role), role.export_keep
    yield


ROLE = Role(
    name="warehouse",
    summary="Unified records of all sources, read and written over REST",
    description="Serves the records of all sources as one. Log in, and this tells the entities that you may read.",
    routers=(
        entities.router,
        feed.router,
        pulls.router,
        tasks_router(get_db_repository(DwhRunRepository), TaskRights(also=READ, sight=see_runs)),
        exports.router,
        records.router,
    ),
    tags={
        "entities": "What is built of each entity, and what stands in its way.",
        "feed": "Changes of all entities in one order.",
        "sync": "Have a source brought here now.",
        "exports": "Records of one snapshot as a file: streamed, or ordered and fetched.",
        "tasks": "Runs: each pull of a source, each change of a table and each ordered export is one.",
    },
    dependencies={
        "database": health.database(DSNType.DWH),
        "entities": health.Dependency(probe_entities, required=False),
    },
    resources=(enter_serving, enter_exporting),
    work=run_worker,
    front=Front,
    front_paths=describe_paths,
    front_schemas=describe_schemas,
    front_seen=see_entities,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app of this role; without settings those of the process."""
    return web.create_app(ROLE, settings or get_settings(), read_settings(WarehouseSettings))


app = create_app()

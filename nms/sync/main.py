"""The sync role, composed: `uvicorn nms.sync.main:app --log-config loggers.json`."""

from dataclasses import replace
from functools import partial

from fastapi import FastAPI

from nms.common import health, web
from nms.common.db.dsn import DSNType
from nms.common.db.repositories import get_db_repository
from nms.common.run import RunRepository
from nms.common.settings import Settings, get_settings, read_settings
from nms.common.tasks import tasks_router
from nms.common.web import Role
from nms.sync.api import changes, conflicts, pipelines, quarantine
from nms.sync.settings import SyncSettings
from nms.sync.worker import run_worker

ROLE = Role(
    name="sync",
    summary="Pipelines: capture, apply, position",
    description="Moves every change from one system to another: nothing lost, once in effect, in order per key.",
    routers=(
        pipelines.router,
        quarantine.router,
        changes.router,
        conflicts.router,
        tasks_router(get_db_repository(RunRepository)),
    ),
    tags={
        "pipelines": "What moves from where to where, how far it is, and what holds it up.",
        "changes": "What was sent to REST APIs, what they answered, and what needed no request of its own.",
        "tasks": "Runs: each pipeline at work is one, and so is giving back what a removed one held.",
        "quarantine": "Changes that a target refused, kept with the reason until they are replayed or dropped.",
        "conflicts": "Records that both sides of a two-way pipeline changed: what came of it, and what waits.",
    },
    dependencies={"database": health.database(DSNType.NMS)},
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app of this role; without settings those of the process. `SYNC_WORKER=false` makes it API only."""
    settings = settings or get_settings()
    role = replace(ROLE, work=partial(run_worker, settings))
    return web.create_app(role, settings, read_settings(SyncSettings))


app = create_app()

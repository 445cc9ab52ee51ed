"""The inbox role, composed: `uvicorn nms.inbox.main:app --http nms.common.strict_http:StrictHttp`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from nms.common import health, web
from nms.common.db.dsn import DSNType
from nms.common.db.repositories import get_db_repository
from nms.common.following import followed
from nms.common.rollout import reported
from nms.common.run import RunRepository
from nms.common.settings import Settings, get_settings, read_settings
from nms.common.tasks import tasks_router
from nms.common.web import Role
from nms.inbox.api import events, quarantine, replays, requests
from nms.inbox.credential import sealer_of
from nms.inbox.endpoints import Endpoints
from nms.inbox.limit import Rates
from nms.inbox.quarantine import opened_quarantine
from nms.inbox.receiver import Receiver
from nms.inbox.reference import describe
from nms.inbox.repository import store, store_whole
from nms.inbox.settings import InboxSettings
from nms.inbox.worker import run_worker
from nms.inbox.writer import Lane


@asynccontextmanager
async def enter_receiving(app: FastAPI) -> AsyncIterator[None]:
    """Give an app its endpoints and its lane, as long as it lives."""
    settings: Settings = app.state.settings
    app.state.lane = Lane(store, store_whole)
    app.state.rates = Rates(settings)
    app.state.sealer = sealer_of(settings)
    async with (
        opened_quarantine(app.state.sealer) as app.state.quarantine,
        reported("inbox") as report,
        followed(Endpoints(dev=settings.environment == "dev", report=report)) as app.state.endpoints,
    ):
        yield
        await app.state.lane.rest()
        await app.state.rates.close()


ROLE = Role(
    name="inbox",
    summary="Inbound webhooks, durable before they are acknowledged",
    description="Receives webhooks and stores them before it answers.",
    routers=(
        events.router,
        requests.router,
        replays.router,
        quarantine.router,
        tasks_router(get_db_repository(RunRepository)),
    ),
    tags={
        "webhooks": "Where providers send to.",
        "events": "What came, as it came.",
        "replays": "Events that are passed on once more, under their own ids.",
        "tasks": "Runs: each replay is one.",
        "quarantine": "What was refused: to look at, to verify again, to delete.",
    },
    dependencies={"database": health.database(DSNType.NMS)},
    resources=(enter_receiving,),
    work=run_worker,
    front=Receiver,
    front_paths=lambda *_: describe(),
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app of this role; without settings those of the process. `INBOX_WORKER=false` makes it API only."""
    return web.create_app(ROLE, settings or get_settings(), read_settings(InboxSettings))


app = create_app()

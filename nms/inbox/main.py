"""The inbox role, composed: `uvicorn nms.inbox.main:app --log-config loggers.json`."""

from fastapi import FastAPI

from nms.common import health, web
from nms.common.db.dsn import DSNType
from nms.common.settings import Settings, get_settings, read_settings
from nms.common.web import Role
from nms.inbox.settings import InboxSettings

ROLE = Role(
    name="inbox",
    summary="Inbound webhooks, durable before they are acknowledged",
    description="Receives webhooks and stores them before it answers.",
    dependencies={"database": health.database(DSNType.NMS)},
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app of this role; without settings those of the process."""
    return web.create_app(ROLE, settings or get_settings(), read_settings(InboxSettings))


app = create_app()

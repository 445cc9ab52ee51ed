"""The console role, composed: `uvicorn nms.console.main:app --log-config loggers.json`."""

from fastapi import FastAPI

from nms.common import web
from nms.common.settings import Settings, get_settings, read_settings
from nms.common.web import Role
from nms.console.settings import ConsoleSettings

ROLE = Role(
    name="console",
    summary="Operator pages in a browser",
    description="Shows the other roles to an operator in a browser.",
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app of this role; without settings those of the process."""
    return web.create_app(ROLE, settings or get_settings(), read_settings(ConsoleSettings))


app = create_app()

"""The auth role, composed: `uvicorn nms.auth.main:app --log-config loggers.json`."""

from fastapi import FastAPI

from nms.auth.api import audit
from nms.auth.settings import AuthSettings
from nms.common import health, web
from nms.common.db.dsn import DSNType
from nms.common.settings import Settings, get_settings, read_settings
from nms.common.web import Role

ROLE = Role(
    name="auth",
    summary="Users, roles and tokens",
    description="Knows who calls: users, roles and tokens.",
    routers=(audit.router,),
    tags={"audit": "What was done and refused, by whom, from where; it is only added to."},
    dependencies={"database": health.database(DSNType.AUTH)},
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app of this role; without settings those of the process."""
    return web.create_app(ROLE, settings or get_settings(), read_settings(AuthSettings))


app = create_app()

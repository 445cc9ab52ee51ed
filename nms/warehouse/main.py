"""The warehouse role, composed: `uvicorn nms.warehouse.main:app --log-config loggers.json`."""

from fastapi import FastAPI

from nms.common import health, web
from nms.common.db.dsn import DSNType
from nms.common.settings import Settings, get_settings, read_settings
from nms.common.web import Role
from nms.warehouse.settings import WarehouseSettings

ROLE = Role(
    name="warehouse",
    summary="Unified records of all sources, read and written over REST",
    description="Serves the records of all sources as one.",
    dependencies={"database": health.database(DSNType.DWH)},
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app of this role; without settings those of the process."""
    return web.create_app(ROLE, settings or get_settings(), read_settings(WarehouseSettings))


app = create_app()

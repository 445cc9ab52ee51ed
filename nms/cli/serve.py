"""`nms serve`: all six roles in one process behind one port; `nms up` runs it."""

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import FrameType
from typing import Annotated

import typer
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from nms.auth.main import create_app as create_auth
from nms.cfg.main import create_app as create_cfg
from nms.cli.command import command
from nms.cli.parent import WithParent, stop_with_parent
from nms.common.rendering import HANDLERS
from nms.common.settings import Settings, get_settings
from nms.common.shortcut import Mounted
from nms.common.strict_http import StrictHttp
from nms.console.main import create_app as create_console
from nms.inbox.main import create_app as create_inbox
from nms.sync.main import create_app as create_sync
from nms.warehouse.main import create_app as create_warehouse

ROLES = {
    "auth": create_auth,
    "cfg": create_cfg,
    "inbox": create_inbox,
    "sync": create_sync,
    "warehouse": create_warehouse,
    "console": create_console,
}
"""In the order in which their resources are entered."""

Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(help="The port to listen on; 0 is any free one.", min=0, max=65535)]


@command
async def serve(host: Host = "127.0.0.1", port: Port = 4000, *, with_parent: WithParent = False) -> None:
    """Serve all roles behind one port, until it is stopped."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _hear)
    if with_parent:
        stop_with_parent()
    app = compose(get_settings())
    config = uvicorn.Config(app, host=host, port=port, http=StrictHttp, log_config=None, access_log=False)
    await uvicorn.Server(config).serve()


def _hear(number: int, frame: FrameType | None) -> None:
    """Do nothing: uvicorn stops on the signal, and raises it again when it has stopped, which must end well."""


def compose(settings: Settings) -> Starlette:
    """One app with every role under its name; a mounted app gets no lifespan, so each is entered here."""
    apps = {name: create(settings) for name, create in ROLES.items()}

    @asynccontextmanager
    async def live(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for app in apps.values():
                await stack.enter_async_context(app.router.lifespan_context(app))
            yield

    app = _Composed(
        routes=[
            Route("/", list_roles),
            Route("/healthz", read_health),
            *(Mount(f"/{name}", app) for name, app in apps.items()),
        ],
        exception_handlers=HANDLERS,
        lifespan=live,
    )
    app.shortcut = Mounted(apps)
    return app


class _Composed(Starlette):
    shortcut: Mounted


async def list_roles(_: Request) -> JSONResponse:
    """What stands behind this port."""
    return JSONResponse({"roles": {name: f"/{name}/docs" for name in ROLES}})


async def read_health(_: Request) -> JSONResponse:
    """The process answers; each role tells more under its own `/healthz` and `/readyz`."""
    return JSONResponse({"status": "alive", "roles": list(ROLES)})

"""`nms worker`: the worker of a role alone."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated

import typer

from nms.cli import output
from nms.cli.command import command
from nms.cli.parent import WithParent, stop_with_parent
from nms.common import log
from nms.common.settings import Settings, get_settings
from nms.inbox.worker import run_worker as run_inbox
from nms.sync.worker import run_worker as run_sync
from nms.warehouse.worker import run_worker as run_warehouse


class WorkingRole(StrEnum):
    """The roles whose worker can run alone."""

    SYNC = "sync"
    INBOX = "inbox"
    WAREHOUSE = "warehouse"


WORKERS: dict[WorkingRole, Callable[[Settings, asyncio.Event], Awaitable[None]]] = {
    WorkingRole.SYNC: run_sync,
    WorkingRole.INBOX: lambda _settings, stop: run_inbox(stop),
    WorkingRole.WAREHOUSE: lambda _settings, stop: run_warehouse(stop),
}


@command
async def worker(
    role: Annotated[WorkingRole, typer.Argument(help="The role whose work it does.")] = WorkingRole.SYNC,
    *,
    with_parent: WithParent = False,
) -> None:
    """Run the worker of one role alone, until it is stopped.

    Any number may run, on any machines over one database: leases spread the work and take it from the dead.
    """
    settings = get_settings()
    log.configure(debug=settings.debug)
    log.remember_secrets(settings.secret_values())
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if with_parent:
        stop_with_parent()
    else:
        output.say(f"The {role.value} worker runs; Ctrl-C stops it.", role=role.value, pid=os.getpid())
    await WORKERS[role](settings, stop)

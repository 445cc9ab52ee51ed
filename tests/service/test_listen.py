"""Hearing notifications: whoever stops it is not kept waiting, whatever becomes of the connection meanwhile."""

import asyncio
import os
import signal

from nms.common.db.dsn import DSNType
from nms.common.db.pool import get_pool
from nms.common.listen import listen
from nms.common.settings import Settings
from tests.services.postgres import PostgresServer
from tests.waiting import PATIENCE, eventually

LISTENER = "select pid from pg_stat_activity where datname = $1 and query like 'LISTEN%'"


async def test_a_session_that_ends_just_when_its_listener_is_stopped_keeps_nobody_waiting(
    settings: Settings, server: PostgresServer, database: str
) -> None:
    heard = asyncio.Event()
    listening = asyncio.create_task(listen(await get_pool(DSNType.NMS), "nms_cfg", lambda _: heard.set()))
    await asyncio.wait_for(heard.wait(), PATIENCE)
    [(pid,)] = await server.execute(LISTENER, database.rpartition("/")[2])
    # It cannot answer when it is told to hear no more, and is ended before it could.
    os.kill(pid, signal.SIGSTOP)
    try:
        listening.cancel()
        await asyncio.wait({listening}, timeout=0.1)
        await server.execute("select pg_terminate_backend($1)", pid)
    finally:
        os.kill(pid, signal.SIGCONT)

    async def stopped() -> bool:
        return listening.done()

    await eventually(stopped)
    assert listening.cancelled()

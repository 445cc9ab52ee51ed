"""Reading connections: few for many callers, and none is lost to an error, a caller who leaves or a server's end."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from nms.common.db.dsn import DSNType
from nms.common.db.pool import get_pool
from nms.common.db.readers import Readers
from nms.common.problem import Problem
from nms.common.settings import Settings


@pytest.fixture
async def readers(settings: Settings) -> AsyncIterator[Readers]:
    del settings
    readers = Readers(DSNType.NMS, 5.0, size=2)
    yield readers
    await readers.close()


async def ask(readers: Readers) -> int:
    return int((await readers.fetch_row("select pg_backend_pid()"))[0])


async def test_many_callers_share_few_connections(readers: Readers) -> None:
    pids = await asyncio.gather(*(ask(readers) for _ in range(50)))
    assert 1 <= len(set(pids)) <= 2


async def test_an_error_costs_no_connection(readers: Readers) -> None:
    for _ in range(5):
        with pytest.raises(Problem):
            await readers.fetch_row("select 1 / 0")
    assert len({await ask(readers) for _ in range(5)}) == 1


async def test_a_caller_who_leaves_takes_no_connection_along(readers: Readers) -> None:
    for _ in range(5):
        leaving = [asyncio.create_task(readers.fetch_row("select pg_sleep(60)")) for _ in range(2)]
        waiting = [asyncio.create_task(ask(readers)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        for task in leaving:
            task.cancel()
        told = await asyncio.gather(*leaving, *waiting, return_exceptions=True)
        assert [type(one) for one in told] == [asyncio.CancelledError] * 3 + [int, int]


async def test_connections_that_the_server_ended_are_opened_anew(readers: Readers) -> None:
    before = set(await asyncio.gather(*(ask(readers) for _ in range(20))))
    pool = await get_pool(DSNType.NMS)
    for pid in before:
        await pool.execute("select pg_terminate_backend($1, 5000)", pid)
    for _ in range(3):
        # Whoever asks before the end has come over the wire is told.
        for told in await asyncio.gather(*(ask(readers) for _ in range(2)), return_exceptions=True):
            assert isinstance(told, (int, Problem))
    after = set(await asyncio.gather(*(ask(readers) for _ in range(20))))
    assert not before & after


async def test_a_database_that_is_away_is_told_to_all_who_wait(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nms.common.db.pool.dsn_of", lambda *_: "postgresql://nms@127.0.0.1:1/nms")
    readers = Readers(DSNType.NMS, 5.0, size=1)
    told = await asyncio.gather(*(ask(readers) for _ in range(4)), return_exceptions=True)
    assert all(isinstance(one, Problem) for one in told)

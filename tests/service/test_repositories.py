"""Pools exist once, repositories work in and out of a transaction, and driver errors are Problems with an advice."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import asyncpg
import pytest
from fastapi import Depends, FastAPI
from httpx2 import ASGITransport, AsyncClient
from pydantic import SecretStr

from nms.common.db import pool as pools
from nms.common.db.dsn import DatabaseUnknown, DSNType
from nms.common.db.pool import close_pools, connect, get_pool
from nms.common.db.problems import (
    DatabaseRefused,
    DatabaseUnavailable,
    Duplicate,
    LockTimeout,
    ReferenceBroken,
    RightMissing,
    TransactionConflict,
    ValueRefused,
)
from nms.common.db.repositories import (
    BaseAuthRepository,
    BaseDwhRepository,
    BaseNmsRepository,
    BaseRepository,
    get_db_repository,
)
from nms.common.problem import Problem, Retry
from nms.common.settings import Settings, get_settings
from tests.conftest import MakeServer
from tests.services.postgres import PostgresServer
from tests.waiting import PATIENCE


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    """A dwh of the test alone: these write there."""
    return dwh_database


@pytest.fixture(autouse=True)
async def nms_database(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Only `nms` is there, which is enough for most; `settings` brings all three."""
    monkeypatch.setenv("DB_NMS_DSN", database)
    get_settings.cache_clear()
    yield database
    await close_pools()
    get_settings.cache_clear()


def text_of(secret: SecretStr | None) -> str:
    assert secret is not None
    return secret.get_secret_value()


class Things(BaseNmsRepository):
    """A repository as a room writes it."""

    async def insert(self, number: int) -> None:
        await self.connection.execute("insert into thing values ($1)", number)

    async def count(self) -> int:
        return int(await self.connection.fetchval("select count(*) from thing"))


async def insert_and_fail(things: Things, number: int) -> None:
    async with things.transaction() as tx:
        await tx.insert(number)
        raise ZeroDivisionError


@pytest.fixture
async def things() -> Things:
    things = await Things.open()
    await things.connection.execute("create table thing (id int primary key deferrable initially deferred)")
    return things


async def test_callers_that_come_together_get_one_pool(nms_database: str) -> None:
    pools = await asyncio.gather(*(get_pool(DSNType.NMS) for _ in range(20)))
    assert len({id(pool) for pool in pools}) == 1
    assert await pools[0].fetchval("select current_database()") == nms_database.split("/")[-1]


async def test_a_caller_who_goes_away_takes_the_pool_from_nobody() -> None:
    first = asyncio.create_task(get_pool(DSNType.NMS))
    second = asyncio.create_task(get_pool(DSNType.NMS))
    await asyncio.sleep(0)
    first.cancel()
    assert await (await second).fetchval("select 1") == 1


async def test_types_with_one_dsn_share_a_pool_and_others_do_not(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    assert await get_pool(DSNType.NMS) is not await get_pool(DSNType.AUTH)
    monkeypatch.setenv("DB_DWH_DSN", text_of(settings.db_nms_dsn).replace("postgresql:", "postgres:"))
    get_settings.cache_clear()
    assert await get_pool(DSNType.NMS) is await get_pool(DSNType.DWH)


async def test_closed_pools_are_made_anew_on_the_next_use() -> None:
    first = await get_pool(DSNType.NMS)
    await close_pools()
    second = await get_pool(DSNType.NMS)
    assert first is not second
    with pytest.raises(asyncpg.InterfaceError):
        await first.fetchval("select 1")
    assert await second.fetchval("select 1") == 1


async def test_a_pool_that_could_not_be_made_is_tried_again(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await make_server("18")
    monkeypatch.setenv("DB_NMS_DSN", server.dsn("postgres"))
    get_settings.cache_clear()
    await server.stop()
    with pytest.raises(DatabaseUnavailable):
        await get_pool(DSNType.NMS)
    await server.start()
    assert await (await get_pool(DSNType.NMS)).fetchval("select 1") == 1


async def test_a_server_that_went_away_is_a_problem_that_is_tried_later(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await make_server("18")
    monkeypatch.setenv("DB_NMS_DSN", server.dsn("postgres"))
    get_settings.cache_clear()
    repository = await BaseNmsRepository.open()
    await server.stop("immediate")
    with pytest.raises(DatabaseUnavailable) as caught:
        async with repository.transaction():
            pass
    assert caught.value.retry is Retry.LATER
    await server.start()
    async with repository.transaction() as tx:
        assert await tx.connection.fetchval("select 1") == 1


@pytest.mark.parametrize(("user", "database"), [("nobody", "postgres"), ("nms", "nowhere")])
async def test_a_refused_login_is_named_without_the_password(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch, user: str, database: str
) -> None:
    monkeypatch.setenv("DB_NMS_DSN", server.dsn(database, user))
    get_settings.cache_clear()
    with pytest.raises(DatabaseRefused) as caught:
        await get_pool(DSNType.NMS)
    assert "pw-for-tests" not in repr(caught.value) + str(caught.value.to_dict())


async def test_no_dsn_is_a_problem_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_NMS_DSN", "")
    get_settings.cache_clear()
    with pytest.raises(DatabaseUnknown, match="DB_NMS_DSN"):
        await get_pool(DSNType.NMS)


async def test_json_arrives_as_values_on_every_connection() -> None:
    value = {"a": [1, None, "ü"]}
    pool = await get_pool(DSNType.NMS)
    assert await pool.fetchval("select $1::jsonb", value) == value
    assert await pool.fetchval("select $1::json", value) == value
    own = await connect(DSNType.NMS)
    assert await own.fetchval("select $1::jsonb", value) == value
    await own.close()


async def test_a_cancelled_statement_leaves_a_connection_that_works() -> None:
    pool = await get_pool(DSNType.NMS)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), pool.acquire() as connection, connection.transaction():
            await connection.fetchval("select pg_sleep(30)")
    answers = await asyncio.gather(*(pool.fetchval("select $1::int", n) for n in range(30)))
    assert answers == list(range(30))


async def test_who_goes_away_while_he_connects_leaves_no_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connected = asyncio.Queue[asyncpg.Connection]()

    async def prepare(connection: asyncpg.Connection) -> None:
        connected.put_nowait(connection)
        await asyncio.Event().wait()

    monkeypatch.setattr(pools, "prepare_connection", prepare)
    opening = asyncio.create_task(connect(DSNType.NMS))
    left = await asyncio.wait_for(connected.get(), PATIENCE)
    opening.cancel()
    await asyncio.wait({opening})
    assert (opening.cancelled(), left.is_closed()) == (True, True)


async def test_repositories_stand_on_their_databases(settings: Settings) -> None:
    kinds: dict[type[BaseRepository], str] = {
        BaseNmsRepository: text_of(settings.db_nms_dsn),
        BaseAuthRepository: text_of(settings.db_auth_dsn),
        BaseDwhRepository: text_of(settings.db_dwh_dsn),
    }
    for kind, dsn in kinds.items():
        repository = await kind.open()
        assert await repository.connection.fetchval("select current_database()") == dsn.split("/")[-1]


async def test_a_transaction_commits_at_its_end_and_rolls_back_when_the_block_raises(things: Things) -> None:
    async with things.transaction() as tx:
        await tx.insert(1)
        assert await things.count() == 0
    assert await things.count() == 1
    with pytest.raises(ZeroDivisionError):
        await insert_and_fail(things, 2)
    assert await things.count() == 1


async def test_an_inner_transaction_is_a_savepoint(things: Things) -> None:
    async with things.transaction() as tx:
        await tx.insert(1)
        with pytest.raises(ZeroDivisionError):
            await insert_and_fail(tx, 2)
        await tx.insert(3)
    assert await things.count() == 2


async def test_a_cancelled_transaction_is_rolled_back(things: Things) -> None:
    inside = asyncio.Event()

    async def insert_and_wait() -> None:
        async with things.transaction() as tx:
            await tx.insert(1)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(insert_and_wait())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await things.count() == 0


async def test_a_constraint_checked_at_commit_is_a_problem_too(things: Things) -> None:
    await things.insert(1)
    with pytest.raises(Duplicate):
        async with things.transaction() as tx:
            await tx.insert(1)
    assert await things.count() == 1


async def test_errors_of_the_block_that_are_not_the_databases_stay_what_they_are(things: Things) -> None:
    with pytest.raises(FileNotFoundError):
        async with things.transaction():
            raise FileNotFoundError("a file of the use case")


async def test_a_deadlock_is_to_be_repeated_now(things: Things) -> None:
    await things.connection.execute("insert into thing values (1), (2)")
    both_hold = asyncio.Barrier(2)

    async def lock(first: int, second: int) -> None:
        async with things.transaction() as tx:
            await tx.connection.execute("select from thing where id = $1 for update", first)
            await both_hold.wait()
            await tx.connection.execute("select from thing where id = $1 for update", second)

    ends = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)
    conflicts = [end for end in ends if end is not None]
    assert [type(end) for end in conflicts] == [TransactionConflict]
    assert TransactionConflict.retry is Retry.NOW


@pytest.mark.parametrize(
    ("sql", "kind", "retry"),
    [
        ("insert into child values (9)", ReferenceBroken, Retry.NEVER),
        ("insert into parent values (1)", Duplicate, Retry.NEVER),
        ("insert into parent values (-1)", ValueRefused, Retry.NEVER),
        ("insert into parent values (null)", ValueRefused, Retry.NEVER),
        ("select 1 / (id - 1) from parent", ValueRefused, Retry.NEVER),
        ("select pg_read_file('/etc/passwd')", RightMissing, Retry.NEVER),
        ("set local statement_timeout = 1; select pg_sleep(10)", LockTimeout, Retry.LATER),
        ("select pg_terminate_backend(pg_backend_pid())", DatabaseUnavailable, Retry.LATER),
    ],
)
async def test_each_objection_of_the_server_has_its_name_and_its_advice(
    sql: str, kind: type[Problem], retry: Retry
) -> None:
    repository = await BaseNmsRepository.open()
    await repository.connection.execute(
        "create table parent (id int primary key check (id > 0)); create table child (id int references parent);"
        "insert into parent values (1)"
    )
    with pytest.raises(kind) as caught:
        async with repository.transaction() as tx:
            await tx.connection.execute(sql)
    assert caught.value.retry is retry
    assert isinstance(caught.value.__cause__, asyncpg.PostgresError | asyncpg.InterfaceError)


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    app = FastAPI()

    @app.get("/database")
    async def get_database(repository: Annotated[Things, Depends(get_db_repository(Things))]) -> str:
        return str(await repository.connection.fetchval("select current_database()"))

    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        yield client


async def test_an_endpoint_gets_its_repository_by_dependency(client: AsyncClient, nms_database: str) -> None:
    answer = await client.get("/database")
    assert answer.json() == nms_database.split("/")[-1]

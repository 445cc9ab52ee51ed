"""Fixtures every test may ask for. All servers are real, private to the session, and started on first use.

| fixture | what it is |
|---|---|
| `pg18`, `pg16`, `pg15` | `PostgresServer` of the session: `dsn(database)`, `superuser_dsn()`, `create_database()` |
| `server` | the default one: TEST_PG_DSN, else 18; other versions by indirect parameters: `["18", "16", "15"]` |
| `make_server` | `await make_server("18", settings={...})`: a durable server of this test alone, to stop and to crash |
| `make_database` | `await make_database()`: DSN of a new empty database on `server`, dropped after the test |
| `database`, `auth_database`, `dwh_database` | DSN of a new migrated database nms, auth, dwh (a clone of a template) |
| `settings` | `Settings` of these, with a dwh that is shared (`shared_dwh`, to be overridden by who writes there);
  `get_settings()` and `get_pool()` see them, pools are closed after the test |
| `rabbitmq` | AMQP DSN of a new virtual host (TEST_AMQP_DSN: that one as it is) |
| `rabbitmq_server` | `RabbitServer` behind it, with `call()` for its management API |
| `extent` | `Extent`: how long a fuzz test looks, in `make test` and in `make fuzz` |
| `kafka` | `KafkaServer` of the session: `servers`, `create_topic()` with a name of your own |
| `own_kafka` | one of this test alone, to cut off and to wipe |
| `jsonplaceholder` | `NodeServer` of the worker: `url`; 100 posts, 500 comments; it forgets every write |
| `json_server` | json-server of this test alone over a copy of those data: `url`, `data`; it keeps every write |
| `hostile_api` | `HostileApi` in this process (see tests/services/hostile): `url`, `add()`, `plan()`, `journal` |
| `hostile_server` | the same in a process of its own: `url`, `call("add", name=...)` |
| `redis` | Redis DSN of an empty numbered database (TEST_REDIS_DSN: that one, flushed) |

PostgreSQL's login in DSNs is `nms`: it owns its databases and may replicate, and is no superuser.
"""

import gc
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from redis import Redis

from nms.common.db.migrations import upgrade
from nms.common.db.pool import close_pools
from nms.common.settings import Settings, get_settings
from tests.bound import bound
from tests.fuzz.extent import Extent
from tests.services.hostile.api import HostileApi
from tests.services.hostile_api import HostileServer
from tests.services.kafka import KafkaServer
from tests.services.node import NodeServer
from tests.services.postgres import PostgresServer
from tests.services.rabbitmq import RabbitServer
from tests.services.redis import DATABASES
from tests.services.shared import Session

# A busy machine is no failure; `make fuzz` looks longer.
hypothesis.settings.register_profile("quick", deadline=None)
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=10_000)
hypothesis.settings.load_profile("quick")

DB = Path(__file__).parents[1] / "db"
MakeServer = Callable[..., Awaitable[PostgresServer]]
MakeDatabase = Callable[[], Awaitable[str]]


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Shells start background jobs deaf to it, and processes inherit that: what a test interrupts must hear.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SESSION] = Session.begin()
    config.stash[EXTENT] = Extent(config.getoption("--hypothesis-profile") == "fuzz")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[SESSION].end()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage: each worker reads five thousand tests, and nearly all of it stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.timeout:
        for item in items:
            bound(item, config.option.timeout)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        # A run that is ended from outside tells no summary: what failed is named when it did.
        sys.stderr.write(f"\n{report.nodeid} failed ({report.when})\n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[EXTENT].long and config.stash[EXTENT].told:
        terminalreporter.section("what was fuzzed")
        terminalreporter.write_line("\n".join(config.stash[EXTENT].told))


SESSION = pytest.StashKey[Session]()
EXTENT = pytest.StashKey[Extent]()


@pytest.fixture
def extent(pytestconfig: pytest.Config) -> Extent:
    """How long a fuzz test looks."""
    return pytestconfig.stash[EXTENT]


@pytest.fixture(scope="session")
def services(pytestconfig: pytest.Config) -> Session:
    """The shared servers of this session."""
    return pytestconfig.stash[SESSION]


@pytest.fixture(scope="session")
def pg18(services: Session) -> PostgresServer:
    return services.postgres("18")


@pytest.fixture(scope="session")
def pg16(services: Session) -> PostgresServer:
    return services.postgres("16")


@pytest.fixture(scope="session")
def pg15(services: Session) -> PostgresServer:
    return services.postgres("15")


@pytest.fixture
def server(request: pytest.FixtureRequest, services: Session) -> PostgresServer:
    default = "foreign" if "TEST_PG_DSN" in os.environ else "18"
    return services.postgres(getattr(request, "param", default))


@pytest.fixture
async def make_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MakeServer]:
    made: list[PostgresServer] = []

    async def make(version: str = "18", **options: object) -> PostgresServer:
        made.append(PostgresServer(version, **options))  # type: ignore[arg-type]
        return await made[-1].start()

    yield make
    for one in made:
        await one.close()


@pytest.fixture
async def make_database(server: PostgresServer) -> AsyncIterator[MakeDatabase]:
    made: list[str] = []

    async def make() -> str:
        made.append(f"t_{uuid.uuid4().hex[:16]}")
        return await server.create_database(made[-1])

    yield make
    for name in made:
        await server.drop_database(name)


@pytest.fixture
async def database(server: PostgresServer, services: Session) -> AsyncIterator[str]:
    async for dsn in clone(server, services, "nms"):
        yield dsn


@pytest.fixture
async def auth_database(server: PostgresServer, services: Session) -> AsyncIterator[str]:
    async for dsn in clone(server, services, "auth"):
        yield dsn


@pytest.fixture
async def dwh_database(server: PostgresServer, services: Session) -> AsyncIterator[str]:
    async for dsn in clone(server, services, "dwh"):
        yield dsn


@pytest.fixture
async def shared_dwh(server: PostgresServer, services: Session) -> str:
    """A migrated dwh for tests that do not write there: a copy for each would cost them more than all else."""
    name = f"dwh_shared_{os.environ.get('PYTEST_XDIST_WORKER', '')}"
    template = await template_of(server, services, "dwh")
    if not await server.has_database(name):
        await server.create_database(name, template=template)
    return server.dsn(name)


async def clone(server: PostgresServer, services: Session, kind: str) -> AsyncIterator[str]:
    """A copy of a database that was migrated once per session and server."""
    template = await template_of(server, services, kind)
    name = f"{kind}_{uuid.uuid4().hex[:12]}"
    yield await server.create_database(name, template=template)
    await server.drop_database(name)


async def template_of(server: PostgresServer, services: Session, kind: str) -> str:
    """The name of a migrated database to copy from, made once per session and server."""
    template = f"template_{kind}"
    with services.locked(f"{template}-{server.port}"):
        if not await server.has_database(template):
            draft = f"{template}_draft"
            await server.drop_database(draft)
            await upgrade(await server.create_database(draft), DB / kind / "migrations")
            await server.execute(f"alter database {draft} rename to {template}")
    return template


@pytest.fixture
async def settings(
    database: str,
    auth_database: str,
    shared_dwh: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Settings]:
    monkeypatch.setenv("DB_NMS_DSN", database)
    monkeypatch.setenv("DB_AUTH_DSN", auth_database)
    monkeypatch.setenv("DB_DWH_DSN", shared_dwh)
    monkeypatch.setenv("ENVIRONMENT", "test")
    monkeypatch.setenv("TESTING", "true")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    get_settings.cache_clear()
    yield get_settings()
    await close_pools()
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def rabbitmq_server(services: Session) -> RabbitServer:
    return services.rabbitmq()


@pytest.fixture
def rabbitmq(request: pytest.FixtureRequest) -> Iterator[str]:
    if "TEST_AMQP_DSN" in os.environ:
        yield os.environ["TEST_AMQP_DSN"]
        return
    broker: RabbitServer = request.getfixturevalue("rabbitmq_server")
    name = f"t-{uuid.uuid4().hex[:12]}"
    yield broker.create_vhost(name)
    broker.drop_vhost(name)


@pytest.fixture(scope="session")
def kafka(services: Session) -> KafkaServer:
    return services.kafka()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaServer]:
    server = KafkaServer(tmp_path / "kafka").launch()
    yield server
    server.end()


@pytest.fixture(scope="session")
def jsonplaceholder(services: Session) -> NodeServer:
    return services.jsonplaceholder(os.environ.get("PYTEST_XDIST_WORKER", ""))


@pytest.fixture
def json_server(tmp_path: Path) -> Iterator[NodeServer]:
    server = NodeServer(tmp_path / "json-server", keeps_writes=True).launch()
    yield server
    server.end()


@pytest.fixture
async def hostile_api(tmp_path: Path) -> AsyncIterator[HostileApi]:
    api = await HostileApi(tmp_path).start()
    yield api
    await api.close()


@pytest.fixture
def hostile_server(tmp_path: Path) -> Iterator[HostileServer]:
    server = HostileServer(tmp_path / "hostile").launch()
    yield server
    server.end()


@pytest.fixture
def redis(services: Session) -> str:
    given = os.environ.get("TEST_REDIS_DSN")
    dsn = given or services.redis().dsn(services.number("redis-database") % DATABASES)
    with Redis.from_url(dsn) as client:
        client.flushdb()
    return dsn

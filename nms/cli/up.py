"""`nms up`: everything on one machine; PostgreSQL embedded unless DSNs are given."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated

import typer

from nms.auth.claim import ClaimRepository
from nms.auth.claims import open_claim
from nms.cli import output
from nms.cli.child import Child
from nms.cli.command import command_with_own_databases
from nms.cli.connection import DATABASES, lacks_dsns, publish_dsns
from nms.common.db import migrations
from nms.common.db.dsn import DSNType, dsn_of
from nms.common.db.embedded import Embedded
from nms.common.db.pool import close_pools
from nms.common.db.revisions import folder_of
from nms.common.problem import Problem
from nms.common.settings import get_settings

START_SECONDS = 60.0
ROLES = ("auth", "cfg", "inbox", "sync", "warehouse", "console")


class PortTaken(Problem):
    """Another process listens where NMS should."""

    code, title = "port-taken", "The port is taken"
    remedy = "End the process that listens there, or choose another port with `nms up --port`."


class NotStarted(Problem):
    """A process of NMS ended or said nothing while it was being started."""

    code, title = "not-started", "NMS did not start"
    remedy = "The lines above say why; with DEBUG=true they say more."


@command_with_own_databases
async def up(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 4000,
) -> None:
    """Start everything: PostgreSQL (embedded unless DSNs are given), all roles behind one port, the workers.

    Runs until Ctrl-C or SIGTERM, then stops what it started; data are kept in DATA_DIR.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _check_port(host, port)
    async with _databases() as where:
        if stop.is_set():
            return
        await _migrate()
        await _run(host, port, where, stop)
    output.tell("NMS is stopped; its data are kept.")


@asynccontextmanager
async def _databases() -> AsyncIterator[str]:
    """The databases of the settings, else those of the embedded server, which runs for so long."""
    settings = get_settings()
    if not lacks_dsns(settings):
        yield "the servers of your DSNs"
        return
    output.tell("Starting the embedded PostgreSQL ...")
    embedded = Embedded(settings.data_dir)
    server = await embedded.start()
    try:
        for name in DATABASES.values():
            await embedded.create_database(name)
        publish_dsns(embedded.dsn)
        yield f"embedded PostgreSQL on port {server.port}, data in {server.directory}"
    finally:
        await embedded.stop()


async def _migrate() -> None:
    for kind in DSNType:
        steps = await migrations.upgrade(dsn_of(kind, get_settings()), folder_of(kind) / "migrations")
        if steps:
            output.tell(f"Database {kind.value} is brought to revision {steps[-1].version}.")


async def _run(host: str, port: int, where: str, stop: asyncio.Event) -> None:
    """Run the children until `stop`; raises NotStarted when they do not come up."""
    api = Child("serve", "--host", host, "--port", str(port), environment={"SYNC_WORKER": "false"})
    work = Child("worker", "sync")
    claim = await _open_claim(f"http://{_reachable(host)}:{port}/auth")
    children = [asyncio.create_task(child.keep_running(stop), name=child.name) for child in (api, work)]
    try:
        await _wait_until_serving(host, port, api, stop)
        if not stop.is_set():
            _greet(host, port, {"databases": where, "claim": claim}, {"serve": api.pid, "worker": work.pid})
        await stop.wait()
    finally:
        stop.set()
        await asyncio.gather(*children)


async def _wait_until_serving(host: str, port: int, api: Child, stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            while not stop.is_set() and api.failures == 0:
                if await _is_serving(host, port):
                    return
                await asyncio.sleep(0.05)
    if not stop.is_set():
        raise NotStarted("The process that serves the roles did not come up.")


async def _is_serving(host: str, port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection(_reachable(host), port)
        writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
        answer = await reader.readline()
        writer.close()
    except OSError:
        return False
    return b" 200 " in answer


def _check_port(host: str, port: int) -> None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise PortTaken(f"Nothing can listen on {host} port {port}: {error.strerror}.", host=host, port=port) from None


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound


async def _open_claim(auth: str) -> str | None:
    """The link of the first administrator while there is none; the role that starts next need not tell it again."""
    repository = await ClaimRepository.open()
    try:
        claim = await open_claim(repository, get_settings())
        if claim is not None:
            await repository.mark_claim_told(0)
    finally:
        await close_pools()
    return None if claim is None else claim.link(auth)


def _greet(host: str, port: int, said: dict[str, str | None], processes: dict[str, int]) -> None:
    base = f"http://{_reachable(host)}:{port}"
    if output.is_json():
        output.print_json({"url": base, "roles": list(ROLES), **said, "pid": os.getpid(), **processes})
        return
    lines = [
        f"NMS listens on {base}",
        f"  roles      {' '.join(f'/{role}' for role in ROLES)}",
        f"  API        {base}/sync/docs, and the same under every role",
        f"  databases  {said['databases']}",
        "Go on in another terminal, in this directory:",
        "  nms apply -f examples/subscriptions-log.yaml",
        "  nms pipelines",
        "  nms token --scope 'pipelines:read'",
        "Ctrl-C stops everything; the data are kept.",
    ]
    if said["claim"] is not None:
        lines[4:4] = ["There is no administrator yet; this link makes one, within 24 hours:", f"  {said['claim']}"]
    for line in lines:
        output.say(line)

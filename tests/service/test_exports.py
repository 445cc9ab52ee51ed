"""Exports that are ordered: a run writes the file, whole or not there; it is kept, fetched, forgotten and swept."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx2
import pytest

from nms.common.guard import Caller
from nms.common.run import Claimed, DwhRunRepository, LeaseLost, Run
from nms.common.settings import Settings
from nms.common.token import mint_token
from nms.warehouse import exporter
from nms.warehouse.export import KIND, find_export, order_export
from nms.warehouse.exporter import Exporter, Progress, sweep_once
from nms.warehouse.extract import Asked
from nms.warehouse.file import Draft, Store
from nms.warehouse.format import Compression, Format
from nms.warehouse.repository import ExportRepository
from tests.service.test_export import end_of, hash_of
from tests.service.test_export_stream import fill
from tests.service.warehouse import connected, make_entities, serving
from tests.service.web_client import problem_of
from tests.waiting import PATIENCE, eventually

SCOPES = ("entities:read", "tasks:read", "tasks:write")


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


@pytest.fixture
async def posts(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """A warehouse that has 3,000 posts and works on exports."""
    await make_entities()
    async with connected(settings) as connection:
        await fill(connection, 3_000)
    async with serving(settings, *SCOPES) as client:
        yield client


async def ended(client: httpx2.AsyncClient, id_: int) -> dict[str, Any]:
    async def over() -> dict[str, Any] | None:
        export: dict[str, Any] = (await client.get(f"/exports/{id_}")).json()
        return export if export["ended_at"] else None

    return await eventually(over)


async def order(client: httpx2.AsyncClient, query: str = "") -> dict[str, Any]:
    """Order an export and wait for its end."""
    answer = await client.post(f"/posts/exports{query}")
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/tasks/{answer.json()['id']}"
    return await ended(client, answer.json()["id"])


async def test_an_ordered_export_is_written_told_of_and_fetched(posts: httpx2.AsyncClient, settings: Settings) -> None:
    export = await order(posts, "?id.gt=1000&sort=-id")
    async with connected(settings) as connection:
        rows, sha256 = await hash_of(connection, "posts where id > 1000", "id desc")
    assert (export["state"], export["rows"], export["sha256"]) == ("succeeded", rows, sha256)
    assert (export["entity"], export["format"], export["author"]) == ("posts", "ndjson", "operator:ada")
    assert export["query"] == [["id.gt", "1000"], ["sort", "-id"]]
    task = (await posts.get(f"/tasks/{export['id']}")).json()
    progress = task["progress"]
    assert (task["kind"], task["subject"], progress["current"], progress["total"]) == ("export", "posts", 2000, 2000)
    file = await posts.get(f"/exports/{export['id']}/file")
    assert (file.status_code, len(file.content)) == (200, export["size"])
    assert file.headers["content-type"] == "application/x-ndjson"
    assert end_of(file) == {name: export[name] for name in ("rows", "sequence", "sha256", "content_sha256")}
    part = await posts.get(f"/exports/{export['id']}/file", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, file.content[10:20])
    streamed = await posts.get("/posts/export?id.gt=1000&sort=-id")
    assert streamed.content == file.content
    listed = (await posts.get("/exports?entity=posts")).json()["items"]
    assert [one["id"] for one in listed] == [export["id"]]
    (path,) = (settings.data_dir / "exports").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


async def test_whoever_may_not_read_an_entity_finds_no_export_of_it(
    posts: httpx2.AsyncClient, settings: Settings
) -> None:
    export = await order(posts, "?format=parquet")
    path = f"/exports/{export['id']}"
    for scopes, seen in ((["entities:read:posts"], True), (["entities:read:comments"], False)):
        token = mint_token(settings, scopes, subject="eve")
        headers = {"Authorization": f"Bearer {token}"}
        assert len((await posts.get("/exports", headers=headers)).json()["items"]) == seen
        for hidden in (path, f"{path}/file"):
            assert (await posts.get(hidden, headers=headers)).status_code == (200 if seen else 404)
        # Only who ordered it, or may cancel runs, deletes it.
        assert (await posts.delete(path, headers=headers)).status_code == (403 if seen else 404)
        assert (await posts.post("/posts/exports?format=xml", headers=headers)).status_code == (422 if seen else 404)
    assert (await posts.get("/exports", headers={"Authorization": ""})).status_code == 401
    assert (await posts.delete(path)).status_code == 204
    problem_of(await posts.get(path), 404, "not-found")
    assert not list((settings.data_dir / "exports").iterdir())


async def test_an_export_is_refused_before_it_is_ordered(posts: httpx2.AsyncClient) -> None:
    problem_of(await posts.post("/posts/exports?nothing=1"), 422, "malformed")
    problem_of(await posts.post("/posts/exports?limit=1"), 422, "malformed")
    problem_of(await posts.post("/nothing/exports"), 404, "not-found")
    problem_of(await posts.get("/exports/1"), 404, "not-found")


async def test_the_budget_of_the_disk_holds(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    await make_entities()
    async with connected(settings) as connection:
        await fill(connection, 8_000)
    monkeypatch.setenv("WAREHOUSE_EXPORT_BUDGET", str(1 << 20))
    async with serving(settings, *SCOPES) as client:
        failed = await order(client)
        assert (failed["state"], failed["problem"]["code"]) == ("failed", "export-budget-spent")
        problem_of(await client.get(f"/exports/{failed['id']}/file"), 409, "export-not-ready")
        assert not list((settings.data_dir / "exports").iterdir())
        assert (await order(client, "?compression=zstd"))["state"] == "succeeded"
        (settings.data_dir / "exports" / "posts-1-1.csv").write_bytes(b"x" * (1 << 20))
        problem_of(await client.post("/posts/exports"), 507, "export-budget-spent")


async def test_a_file_that_lies_elsewhere_is_told(posts: httpx2.AsyncClient, settings: Settings) -> None:
    export = await order(posts)
    (path,) = (settings.data_dir / "exports").iterdir()
    path.unlink()
    problem = problem_of(await posts.get(f"/exports/{export['id']}/file"), 409, "export-elsewhere")
    assert problem["host"] == export["host"]


async def test_what_expired_is_swept_with_what_nobody_will_ask_for(
    posts: httpx2.AsyncClient, settings: Settings
) -> None:
    kept, old = await order(posts), await order(posts)
    folder = settings.data_dir / "exports"
    for stray in ("posts-999-1.ndjson", f"posts-{kept['id']}-1.ndjson.part", "notes.txt"):
        (folder / stray).touch()
    repository = await ExportRepository.open()
    await repository.connection.execute("update warehouse.export set expires_at = now() where run = $1", old["id"])
    await sweep_once(repository, Store(folder, 1 << 30))
    assert {path.name for path in folder.iterdir()} == {kept["file"], "notes.txt"}
    problem_of(await posts.get(f"/exports/{old['id']}"), 404, "not-found")
    assert (await posts.get(f"/exports/{kept['id']}/file")).status_code == 200


async def test_cancel_is_in_effect_within_a_second_even_while_the_database_works(settings: Settings) -> None:
    await make_entities()
    async with connected(settings) as connection, serving(settings, *SCOPES) as client:
        await fill(connection, 1_000)
        # Whoever reads the table waits, as for a statement that takes long.
        async with connection.transaction():
            await connection.execute("lock table entity.posts in access exclusive mode")
            run = (await client.post("/posts/exports")).json()["id"]

            async def reading() -> bool:
                asked = "select exists (select from pg_locks where not granted and relation = 'entity.posts'::regclass)"
                return bool(await connection.fetchval(asked))

            async def cancelled() -> bool:
                return bool((await client.get(f"/exports/{run}")).json()["state"] == "cancelled")

            await eventually(reading)
            await client.post(f"/tasks/{run}/cancel")
            await eventually(cancelled, 1.0)
        assert not list((settings.data_dir / "exports").iterdir())


async def test_a_cancelled_export_leaves_no_file_tells_so_and_may_be_written_anew(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_entities()
    folder, going, pieces = settings.data_dir / "exports", exporter._take, 0

    async def take(draft: Draft, progress: Progress, data: bytes, rows: int) -> None:
        nonlocal pieces
        pieces += 1
        await going(draft, progress, data, rows)
        if pieces == 3:
            # It is written no further, until it is cancelled.
            await asyncio.Event().wait()

    async def written() -> list[int]:
        return [path.stat().st_size for path in folder.glob("*.part") if pieces == 3]

    monkeypatch.setattr(exporter, "_take", take)
    async with connected(settings) as connection, serving(settings, *SCOPES) as client:
        await fill(connection, 3_000)
        run = (await client.post("/posts/exports")).json()["id"]
        (size,) = await eventually(written)
        assert size > 0
        assert (await client.post(f"/tasks/{run}/cancel")).json()["state"] == "cancelling"
        export, task = await ended(client, run), (await client.get(f"/tasks/{run}")).json()
        assert (export["state"], task["state"]) == ("cancelled", "cancelled")
        assert [export[name] for name in ("file", "size", "rows", "sha256")] == [None] * 4
        assert 0 < task["progress"]["current"] < 3_000
        told = problem_of(await client.get(f"/exports/{run}/file"), 409, "export-not-ready")
        assert told["state"] == "cancelled"
        assert not list(folder.iterdir())
        assert (await client.post(f"/tasks/{run}/retry")).status_code == 202
        export = await ended(client, run)
        file = await client.get(f"/exports/{run}/file")
        assert (export["state"], end_of(file)["rows"], len(file.content)) == ("succeeded", 3_000, export["size"])


async def start_worker(**environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nms", "worker", "warehouse"),
        env={**os.environ, "WAREHOUSE_LEASE": "1", **environment},
        stdout=asyncio.subprocess.DEVNULL,
    )


async def test_an_export_whose_worker_is_killed_is_written_anew_and_its_progress_never_goes_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_entities()
    monkeypatch.setenv("WAREHOUSE_LEASE", "1")
    folder = settings.data_dir / "exports"
    async with connected(settings) as connection:
        await fill(connection, 20_000)
        await connection.execute(
            "create table seen (at bigint generated always as identity, current bigint);"
            "create function note() returns trigger language plpgsql as"
            " $$begin insert into seen (current) values ((new.progress->>'current')::bigint); return null; end$$;"
            "create trigger note after update of progress on common.run for each row execute function note()"
        )
        monkeypatch.setenv("WAREHOUSE_WORKER", "false")
        async with serving(settings, *SCOPES) as client:
            run = (await client.post("/posts/exports?format=csv")).json()["id"]
        process = await start_worker(NMS_FAULTS="export.piece=kill@12")
        assert await asyncio.wait_for(process.wait(), PATIENCE) == -signal.SIGKILL
        (part,) = [path.name for path in folder.iterdir()]
        assert part.endswith(".csv.part")
        # As if the dead one had come further than its successor is when it begins.
        await connection.execute("update common.run set progress = '{\"current\": 15000}' where id = $1", run)
        monkeypatch.setenv("WAREHOUSE_WORKER", "true")
        async with serving(settings, *SCOPES) as client:
            export = await ended(client, run)
            assert (export["state"], export["rows"]) == ("succeeded", 20_000)
            assert export["file"] != part.removesuffix(".part")
            await sweep_once(await ExportRepository.open(), Store(folder, 1 << 30))
            assert [path.name for path in folder.iterdir()] == [export["file"]]
        noted = await connection.fetch("select current from seen where current is not null order by at")
    seen = [row["current"] for row in noted]
    assert seen == sorted(seen)
    assert seen[-1] == 20_000


async def test_who_lost_the_lease_leaves_no_file_and_notes_none(settings: Settings) -> None:
    await make_entities()
    async with connected(settings) as connection:
        await fill(connection, 2_000)
    repository, runs = await ExportRepository.open(), await DwhRunRepository.open()
    asked = Asked("posts", (), Format.NDJSON, Compression.NONE)
    caller = Caller("ada", "1", frozenset({"*"}), 0.0)
    export = await order_export(repository, asked, caller, 1.0)
    (frozen,) = await runs.claim([KIND], "frozen", [], 1, 0.001)

    async def over() -> Sequence[Run]:
        return await runs.claim([KIND], "successor", [], 1, 60)

    (taken,) = await eventually(over)
    store = Store(settings.data_dir / "exports", 1 << 30)
    duty = Exporter(repository, store, 7.0)
    with pytest.raises(LeaseLost):
        await duty.export(Claimed(runs, frozen))
    assert not list(store.directory.iterdir())
    assert (await find_export(repository, export.id, caller)).file is None
    await duty.export(Claimed(runs, taken))
    (path,) = store.directory.iterdir()
    assert (await find_export(repository, export.id, caller)).file == path.name

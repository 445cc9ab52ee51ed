"""Tables of entities follow their documents beside those who read and write them; what cannot be done is told."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from typer.testing import CliRunner

from nms.cfg.repository import DocumentRepository
from nms.cfg.text import write_text
from nms.cli.main import app as cli
from nms.common import faults
from nms.common.configuration import Configuration, current_documents
from nms.common.document import EntityDocument, short_form
from nms.common.run import DwhRunRepository, retry
from nms.common.settings import Settings
from nms.warehouse import document as following
from nms.warehouse import run as building
from nms.warehouse.models import Entity
from nms.warehouse.repository import EntityRepository
from nms.warehouse.worker import run_worker
from tests.service.inbox import declare
from tests.service.warehouse import connected, entity, make_entities, ready_entities, serving
from tests.service.web_client import problem_of
from tests.waiting import PATIENCE, eventually

ITEMS: dict[str, Any] = {"id": "bigint", "name": "text"}


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


@asynccontextmanager
async def working() -> AsyncIterator[None]:
    stop = asyncio.Event()
    worker = asyncio.create_task(run_worker(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(worker, PATIENCE)


@pytest.fixture
async def worker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    assert settings.db_dwh_dsn
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.2)
    async with working():
        yield


async def want(*documents: EntityDocument) -> None:
    await declare(*(short_form(each) for each in documents))


async def reach(name: str, state: str, document: EntityDocument | None = None) -> Entity:
    async def look() -> Entity | None:
        found = await (await EntityRepository.open()).get_entity(name)
        if found is None or found.state != state:
            return None
        return found if document is None or found.built == document else None

    return await eventually(look)


async def make(*documents: EntityDocument) -> None:
    await want(*documents)
    for each in documents:
        await reach(each.name, "ready", each)


async def records(psql: asyncpg.Connection, name: str = "items") -> list[dict[str, Any]]:
    return [json.loads(row[0]) for row in await psql.fetch(f'select _json from entity."{name}" order by id')]


async def test_entities_are_built_as_they_are_declared(worker: None, psql: asyncpg.Connection) -> None:
    await make(*ready_entities())
    assert await psql.fetchval("select count(*) from pg_tables where schemaname = 'entity'") == 5


async def test_what_is_added_comes_to_every_record_and_is_no_change_of_it(
    worker: None, psql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "BITE", 7)
    await make(entity("items", ITEMS))
    await psql.execute(
        "insert into entity.items (id, name) select n, 'Some name ' || n from generate_series(1, 50) as n"
    )
    before = await psql.fetch("select id, _sequence, _updated_at from entity.items order by id")
    more = {"note": {"type": "text", "index": True}, **ITEMS, "name": {"type": "text", "index": True, "search": True}}
    await make(entity("items", more))
    assert await psql.fetch("select id, _sequence, _updated_at from entity.items order by id") == before
    assert (await records(psql))[0] == {"note": None, "id": 1, "name": "Some name 1"}
    assert list((await records(psql))[0]) == ["note", "id", "name"]
    found = "select count(*) from entity.items where _search @@ plainto_tsquery('simple', 'some')"
    assert await psql.fetchval(found) == 50
    indexes = await psql.fetch("select indexdef from pg_indexes where schemaname = 'entity'")
    told = " ".join(row[0] for row in indexes)
    assert all(part in told for part in ("(note, id)", "(name, id)", "gin (_search)"))


async def test_an_entity_may_be_named_as_an_index_of_another_would_be(worker: None, psql: asyncpg.Connection) -> None:
    names = ("items", "items_pkey", "items__sequence_key", "items_id_key", "items_id_check", "items_keep")
    await make(*(entity(name, ITEMS) for name in names))
    await make(*(entity(name, {**ITEMS, "more": "text"}) for name in names))
    assert await psql.fetchval("select count(*) from pg_tables where schemaname = 'entity'") == len(names)


async def test_a_tag_of_before_hides_no_field_that_came_or_went(
    settings: Settings, psql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.2)
    below = {"others": {"entity": "others", "field": "itemId"}}
    others = entity("others", {"id": "bigint", "itemId": {"type": "bigint", "index": True}, "more": "bigint"})
    async with serving(settings, "entities:read", "entities:write") as client:
        await make(entity("items", ITEMS, children=below), others)
        await psql.execute("insert into entity.items (id, name) values (1, 'a')")
        paths = ("/items/1", "/items", "/items?fields=id", "/items/1/others")
        for fields in ({**ITEMS, "note": "text"}, {"id": "bigint", "note": "text"}):
            tags = {path: (await serves(client, path, 200)).headers["etag"] for path in paths}
            for path, tag in tags.items():
                await serves(client, path, 304, tag)
            await make(entity("items", fields, children=below))
            for path, tag in tags.items():
                assert (await serves(client, path, 200, tag)).headers["etag"] != tag
            assert list((await client.get("/items/1")).json()) == list(fields)
            for tag in (tags["/items/1"], tags["/items/1"].split("-")[0] + '"'):
                written = await client.patch("/items/1", json={"note": None}, headers={"If-Match": tag})
                assert (written.status_code, written.headers["etag"]) == (
                    200,
                    (await client.get("/items/1")).headers["etag"],
                )


async def serves(client: httpx2.AsyncClient, path: str, status: int, tag: str | None = None) -> httpx2.Response:
    async def ask() -> httpx2.Response | None:
        answer = await client.get(path, headers={} if tag is None else {"If-None-Match": tag})
        return answer if answer.status_code == status else None

    return await eventually(ask)


async def test_an_index_that_nobody_wants_any_more_goes(worker: None, psql: asyncpg.Connection) -> None:
    await make(entity("items", {**ITEMS, "name": {"type": "text", "index": True}}))
    await make(entity("items", ITEMS))
    assert await psql.fetchval("select count(*) from pg_indexes where indexdef like '%(name, id)'") == 0


async def test_what_is_taken_away_is_hidden_and_its_data_are_kept(worker: None, psql: asyncpg.Connection) -> None:
    await make(entity("items", {**ITEMS, "name": {"type": "text", "required": True}}), entity("others", ITEMS))
    await psql.execute("insert into entity.items (id, name) values (1, 'a')")
    await make(entity("items", {"id": "bigint"}))
    assert await records(psql) == [{"id": 1}]
    await psql.execute("insert into entity.items (id) values (2)")
    await psql.execute("delete from entity.items where id = 2")
    await make(entity("items", ITEMS))
    assert await records(psql) == [{"id": 1, "name": "a"}]


async def test_an_entity_that_is_taken_away_comes_back_with_its_data(
    worker: None, psql: asyncpg.Connection, settings: Settings
) -> None:
    await make(entity("items", ITEMS))
    await psql.execute("insert into entity.items (id, name) values (1, 'a')")
    repository = await DocumentRepository.open()
    configuration = await current_documents(repository)
    gone = Configuration(configuration.revision)
    assert await following.adopt(await EntityRepository.open(), gone) == ["items"]
    await reach("items", "ready", entity("items", ITEMS))
    assert await records(psql) == [{"id": 1, "name": "a"}]


@pytest.mark.parametrize(
    ("document", "told", "after"),
    [
        (entity("items", {"id": "integer", "name": "text"}), "the field `id` of `items` is integer", [{"id": 1}]),
        (entity("items", {"id": "bigint", "name": "integer"}), "the field `name` of `items` is integer", [{"name": 7}]),
        (entity("items", {"id": "bigint", "name": "text"}, key=["id", "name"]), "its table has `id`", [{"id": 1}]),
    ],
)
async def test_what_needs_a_plan_halts_until_an_operator_ran_its_statement(
    worker: None, psql: asyncpg.Connection, document: EntityDocument, told: str, after: list[dict[str, Any]]
) -> None:
    before = entity("items", ITEMS)
    await make(before)
    await psql.execute("insert into entity.items (id, name) values (1, '7')")
    await want(document)
    halted = await reach("items", "halted")
    assert halted.built == before
    assert halted.problem is not None
    assert halted.problem["code"] == "entity-needs-plan"
    [obstacle] = halted.problem["obstacles"]
    assert told in obstacle["sentence"]
    await psql.execute(obstacle["statement"])
    await reach("items", "ready", document)
    assert [{name: row[name] for name in after[0]} for row in await records(psql)] == after
    await psql.execute("update entity.items set id = 2")
    assert len(await psql.fetch("select 1 from warehouse.tombstone")) == 1


async def test_a_field_is_required_as_soon_as_every_record_has_it(worker: None, psql: asyncpg.Connection) -> None:
    await make(entity("items", ITEMS))
    await psql.execute("insert into entity.items (id, name) values (1, 'a'), (2, null)")
    strict = entity("items", {**ITEMS, "name": {"type": "text", "required": True}, "new": "text"})
    await want(strict)
    halted = await reach("items", "halted")
    assert halted.problem is not None
    statement = halted.problem["obstacles"][0]["statement"]
    assert statement == 'update entity."items" set "name" = ... where "name" is null;'
    await psql.execute(statement.replace("...", "'b'"))
    await reach("items", "ready", strict)
    with pytest.raises(asyncpg.NotNullViolationError):
        await psql.execute("insert into entity.items (id) values (3)")
    assert (await records(psql))[1] == {"id": 2, "name": "b", "new": None}


async def test_a_text_too_long_for_an_index_halts_with_the_statement_that_mends_it(
    worker: None, psql: asyncpg.Connection
) -> None:
    before = entity("items", ITEMS)
    await make(before)
    letters = "".join(chr(0x4E00 + (n * n * 7919) % 20_000) for n in range(3_000))
    await psql.execute("insert into entity.items (id, name) values (1, $1), (2, 'b')", letters)
    after = entity("items", {**ITEMS, "name": {"type": "text", "index": True}, "more": "text"})
    await want(after)
    halted = await reach("items", "halted")
    assert halted.problem is not None
    assert halted.problem["code"] == "text-too-long"
    [obstacle] = halted.problem["obstacles"]
    assert obstacle["sentence"] == "there are records of `items` whose `name` is too long for an index"
    await psql.execute("insert into entity.items (id, name) values (3, $1)", letters)
    await want(before)
    await reach("items", "ready", before)
    assert [list(record) for record in await records(psql)] == [["id", "name"]] * 3, "nothing is left of the other"
    await want(after)
    halted = await reach("items", "halted")
    assert halted.problem is not None
    await psql.execute(obstacle["statement"].replace("...", "left(name, 800)"))
    await retry(await DwhRunRepository.open(), halted.problem["run"])
    await reach("items", "ready", after)


async def test_additive_changes_lose_nothing_and_keep_nobody_waiting(
    worker: None, psql: asyncpg.Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "BITE", 50)
    await make(entity("items", ITEMS))
    await psql.execute("insert into entity.items (id, name) select -n, 'old' from generate_series(1, 500) as n")
    done = asyncio.Event()

    async def write(lane: int) -> int:
        written = 0
        async with connected(settings) as connection:
            # Whoever would wait longer for us than this fails; by what is measured nobody waits for a second.
            await connection.execute("set lock_timeout = '20s'")
            while not done.is_set():
                async with connection.transaction():
                    id_ = written * 4 + lane
                    await connection.execute("insert into entity.items (id, name) values ($1, 'new')", id_)
                    await connection.execute(
                        "update entity.items set name = 'newer' where id = $1 or id = $2", id_, -id_
                    )
                written += 1
        return written

    writers = [asyncio.create_task(write(lane)) for lane in range(4)]
    fields = dict(ITEMS)
    for number in range(4):
        fields[f"more{number}"] = {"type": "text", "index": number % 2 == 0, "search": number > 2}
        await make(entity("items", fields))
    done.set()
    written = await asyncio.wait_for(asyncio.gather(*writers), PATIENCE)
    assert await psql.fetchval("select count(*) from entity.items") == sum(written) + 500
    assert all(list(record) == list(fields) for record in await records(psql))
    assert await psql.fetchval("select warehouse.settled() = last_value from warehouse.sequence")


async def test_a_build_goes_on_where_it_was_broken_off(
    settings: Settings, psql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "BITE", 10)
    async with working():
        await make(entity("items", ITEMS))
        await psql.execute("insert into entity.items (id) select n from generate_series(1, 60) as n")
    faults.arm("entity.rewritten=raise@3,entity.altered=raise@1", "test")
    try:
        async with working():
            await make(entity("items", {**ITEMS, "more": "text"}))
    finally:
        faults.arm("", "test")
    assert all("more" in record for record in await records(psql))
    assert await psql.fetchval("select max(attempts) from common.run") >= 3


@pytest.mark.parametrize("fault", ["entity.altered=kill@1", "entity.rewritten=kill@2"])
async def test_a_build_whose_worker_is_killed_is_taken_over_and_its_progress_never_goes_back(
    settings: Settings, psql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    await make_entities(entity("items", ITEMS), revision=0)
    await psql.execute("insert into entity.items (id) select n from generate_series(1, 2500) as n")
    await psql.execute(
        "create table seen (at bigint generated always as identity, written bigint);"
        "create function note() returns trigger language plpgsql as"
        " $$begin insert into seen (written) values ((new.checkpoint->>'written')::bigint); return null; end$$;"
        "create trigger note after update of progress on common.run for each row execute function note()"
    )
    monkeypatch.setenv("WAREHOUSE_LEASE", "1")
    after = entity("items", {**ITEMS, "more": {"type": "text", "index": True}})
    await want(after)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nms", "worker", "warehouse"), env={**os.environ, "NMS_FAULTS": fault}
    )
    assert await asyncio.wait_for(process.wait(), PATIENCE) == -signal.SIGKILL
    assert (await reach("items", "building")).built == entity("items", ITEMS)
    async with working():
        await reach("items", "ready", after)
    assert all(list(record) == ["id", "name", "more"] for record in await records(psql))
    noted = await psql.fetch("select written from seen where written is not null order by at")
    seen = [row["written"] for row in noted]
    assert seen == sorted(seen)
    assert seen[-1] == 2500, "no record is written twice"


async def test_an_entity_that_needs_a_plan_is_told_everywhere(
    settings: Settings, psql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.2)
    wanted = entity("items", {"id": "bigint", "name": "integer"})
    file = tmp_path / "items.yaml"
    file.write_text(write_text([short_form(wanted)]))
    async with serving(settings, "config:read") as client:
        await make(entity("items", ITEMS), entity("others", ITEMS))
        told = await asyncio.to_thread(CliRunner().invoke, cli, ["plan", "-f", str(file)])
        assert "-> entity items needs a plan: name becomes integer" in told.stdout
        await want(wanted)
        await reach("items", "halted")
        items, others = (await client.get("/entities")).json()["items"]
        assert (items["state"], others["state"], items["problem"]["code"]) == ("halted", "ready", "entity-needs-plan")
        assert (await client.get("/entities/items")).json() == items
        problem_of(await client.get("/entities/none"), 404, "not-found")
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["dependencies"]["entities"]["code"]) == (200, "entity-halted")
        statement = items["problem"]["obstacles"][0]["statement"]
        doctor = await asyncio.to_thread(CliRunner().invoke, cli, ["doctor", "--sql"])
        assert (doctor.exit_code, statement in doctor.stdout) == (3, True)
        await psql.execute(statement)
        await reach("items", "ready", wanted)
        doctor = await asyncio.to_thread(CliRunner().invoke, cli, ["doctor"])
        assert (doctor.exit_code, "warehouse: nothing stands in its way" in doctor.stdout) == (0, True)

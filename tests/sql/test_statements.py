"""Every statement can be prepared on the database it is for, and its callers give and read what it takes and has."""

import importlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import ModuleType

import asyncpg
import pytest

from nms.common.db.dsn import DSNType
from nms.common.db.migrations import upgrade
from nms.common.db.queries import Queries, describe, load_folder
from nms.common.db.revisions import folder_of
from tests.conftest import MakeDatabase
from tests.house.tree import refuse
from tests.services.postgres import PostgresServer
from tests.sql.calls import calls_of, loaded_by, modules_of, wrong_arguments
from tests.sql.reads import Columns, wrong_reads

ROOT = Path(__file__).parents[2]
FOLDERS = sorted({path.parent for path in (ROOT / "nms").rglob("*.sql") if path.parent.name == "queries"})
Plant = Callable[[str], ModuleType]
EVERY = tuple(DSNType)
DATABASES = {
    "nms/common": EVERY,
    "nms/common/db": EVERY,
    "nms/auth": (DSNType.AUTH,),
    "nms/warehouse": (DSNType.DWH,),
    "nms/connectors/warehouse": (DSNType.DWH,),
}
"""Which databases the statements of a package are for, where it is not `nms` alone."""
RAW = {
    "nms.connectors.postgres.facts: get_slot": "a dictionary until a slot's state has its model",
    "nms.sync.repository: list_asked": "dictionaries until a held change that is replayed has its model",
    "nms.sync.repository: insert_quarantined": "values come as a mapping, from one place",
    "nms.sync.repository: insert_held_message": "values come as a mapping, from one place",
}
"""Callers whose rows or arguments are not compared, and why. Nobody else."""
WAITING = {
    "list_dead_letters": "for the list of dead letters",
    "list_schedules": "for the list of schedules",
}
"""Statements that wait for their caller."""
TABLES_OF_OTHERS = (
    "nms/connectors/postgres/prepare.sql",
    "nms/connectors/postgres/twoway/prepare.sql",
    "nms/connectors/postgres/poll/changes.sql",
    "nms/cli/demo/posts.sql",
    "nms/cli/demo/tables.sql",
)
"""What makes the tables that our statements find in other systems."""
ONLY = {
    "nms/common/queries/bucket.sql": DSNType.NMS,
    "nms/common/queries/configuration.sql": DSNType.NMS,
    "nms/common/queries/rollout.sql": DSNType.NMS,
    "nms/common/queries/idempotency.sql": DSNType.DWH,
    "nms/common/queries/keyring.sql": DSNType.AUTH,
    "nms/common/queries/shelf.sql": DSNType.NMS,
    "nms/common/queries/trust.sql": DSNType.AUTH,
    "nms/warehouse/queries/pull.sql": DSNType.NMS,
}
"""Statements of such a package on tables that only one database has."""


def databases_of(path: Path) -> tuple[DSNType, ...]:
    """The databases that a `.sql` file is for."""
    only = ONLY.get(str(path.relative_to(ROOT)))
    if only is not None:
        return (only,)
    return DATABASES.get(str(path.parents[1].relative_to(ROOT)), (DSNType.NMS,))


@pytest.fixture
async def connections(make_database: MakeDatabase) -> AsyncIterator[dict[DSNType, asyncpg.Connection]]:
    """A connection to an empty database of each kind, migrated; in `nms` stand the tables of others too."""
    opened = {}
    for kind in DSNType:
        dsn = await make_database()
        await upgrade(dsn, folder_of(kind) / "migrations")
        opened[kind] = await asyncpg.connect(dsn)
    for script in TABLES_OF_OTHERS:
        await opened[DSNType.NMS].execute((ROOT / script).read_text(encoding="utf-8"))
    yield opened
    for connection in opened.values():
        await connection.close()


async def read_columns(connections: dict[DSNType, asyncpg.Connection]) -> tuple[Columns, list[str]]:
    columns: Columns = {}
    faults = []
    for folder in FOLDERS:
        for statement in load_folder(folder).statements():
            for kind in databases_of(statement.path):
                try:
                    columns[statement.path, statement.name] = await describe(connections[kind], statement)
                except (asyncpg.PostgresError, ValueError) as error:
                    faults.append(f"{statement.path}:{statement.line}: {statement.name} on {kind}: {error}")
    return columns, faults


@pytest.mark.parametrize("server", ["18", "16", "15"], indirect=True)
async def test_every_statement_is_prepared_on_a_migrated_database(
    server: PostgresServer, connections: dict[DSNType, asyncpg.Connection]
) -> None:
    columns, faults = await read_columns(connections)
    refuse(faults)
    assert len(columns) > 50


async def test_every_caller_reads_what_its_statement_returns(
    connections: dict[DSNType, asyncpg.Connection],
) -> None:
    columns, _ = await read_columns(connections)
    modules = modules_of("nms")
    refuse(fault for module in modules for fault in wrong_reads(module, columns) if not excepted(fault))


def test_every_caller_gives_what_its_statement_takes() -> None:
    calls = [call for module in modules_of("nms") for call in calls_of(module)]
    assert len(calls) > 50
    refuse(fault for call in calls for fault in wrong_arguments(call) if not excepted(fault))


def test_every_statement_is_loaded_and_called() -> None:
    modules = modules_of("nms")
    assert sorted(loaded_by(modules)) == FOLDERS
    called = {(call.statement.path, call.statement.name) for module in modules for call in calls_of(module)}
    there = {(s.path, s.name) for folder in FOLDERS for s in load_folder(folder).statements()}
    refuse(f"{path}: nobody calls {name}" for path, name in sorted(there - called) if name not in WAITING)


async def test_every_exception_is_still_one(connections: dict[DSNType, asyncpg.Connection]) -> None:
    columns, _ = await read_columns(connections)
    modules = modules_of("nms")
    calls = [call for module in modules for call in calls_of(module)]
    faults = [fault for module in modules for fault in wrong_reads(module, columns)]
    faults += [fault for call in calls for fault in wrong_arguments(call)]
    needed = {name for name in RAW for fault in faults if name in names_in(fault)}
    refuse(f"{name} is no exception any more; take it out" for name in sorted(RAW.keys() - needed))
    called = {call.statement.name for call in calls}
    refuse(f"{name} has a caller now; take it out" for name in sorted(WAITING.keys() & called))


def names_in(fault: str) -> set[str]:
    module, _, rest = fault.partition(":")
    return {f"{module}: {word.rstrip(';')}" for word in rest.split()}


def excepted(fault: str) -> bool:
    return bool(names_in(fault) & RAW.keys())


# --- the checks go red ----------------------------------------------------------------------------------------------

SQL = """
-- name: list_things(size)
select id, name from thing limit :size;
-- name: get_thing(id)^
select id, name from thing where id = :id;
-- name: get_broken()^
select nothing from thing;
"""
CODE = """
from dataclasses import dataclass
from pathlib import Path
from pydantic import BaseModel
from nms.common.db.queries import load_folder
queries = load_folder(Path(__file__).parent / "queries")

@dataclass
class Thing:
    id: int
    name: str

@dataclass
class Bigger(Thing):
    colour: str

class Model(BaseModel):
    id: int
    colour: str

def _thing(row):
    return None if row is None else Thing(**row)

def _bigger(row):
    return Bigger(**dict(row))

def _reads(rows):
    return [row["colour"] for row in rows]

class Repository:
    connection = None

    async def method(self):
"""


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """Make a module `planted` whose one method has this body."""

    def make(body: str) -> ModuleType:
        (tmp_path / "queries").mkdir()
        (tmp_path / "queries" / "thing.sql").write_text(SQL, encoding="utf-8")
        lines = "".join(f"        {line}\n" for line in body.splitlines())
        (tmp_path / "planted.py").write_text(CODE + lines, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        return importlib.import_module("planted")

    yield make
    sys.modules.pop("planted", None)


def columns_of(module: ModuleType) -> Columns:
    queries: Queries = module.queries
    return {(statement.path, statement.name): ["id", "name"] for statement in queries.statements()}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return (await queries.get_thing(self.connection, id=1))['colour']", "no column 'colour'"),
        ("row = await queries.get_thing(self.connection, id=1)\nreturn row['colour']", "no column 'colour'"),
        ("row = await queries.get_thing(self.connection, id=1)\nreturn row.get('colour')", "no column 'colour'"),
        ("return [r['colour'] for r in await queries.list_things(self.connection, size=1)]", "no column 'colour'"),
        ("for r in await queries.list_things(self.connection, size=1):\n    print(r['colour'])", "no column 'colour'"),
        ("rows = await queries.list_things(self.connection, size=1)\nreturn rows[0]['colour']", "no column 'colour'"),
        ("return Bigger(**await queries.get_thing(self.connection, id=1))", "'colour', which Bigger needs"),
        ("return Thing(id=1, **await queries.get_thing(self.connection, id=1))", "'id', which is given twice"),
        (
            "row = dict(await queries.get_thing(self.connection, id=1))\nrow.pop('id')\nreturn Thing(**row)",
            "'id', which",
        ),
        ("return Model.model_validate(dict(await queries.get_thing(self.connection, id=1)))", "'colour', which Model"),
        ("return _bigger(await queries.get_thing(self.connection, id=1))", "'colour', which Bigger needs"),
        ("return _reads(await queries.list_things(self.connection, size=1))", "no column 'colour'"),
        ("a, b = 1, await queries.get_thing(self.connection, id=1)\nreturn b['colour']", "no column 'colour'"),
        (
            "rows = {}\nfor r in await queries.list_things(self.connection, size=1):\n    rows[r['id']] = r\n"
            "return rows[1]['colour']",
            "no column 'colour'",
        ),
        (
            "row = await queries.get_thing(self.connection, id=1)\n"
            "more = await queries.get_thing(self.connection, id=1)\nreturn Bigger(**row, **more)",
            "'colour', which Bigger needs",
        ),
        ("return await queries.get_thing(self.connection, id=1)", "is returned"),
        ("return [dict(r) for r in await queries.list_things(self.connection, size=1)]", "is returned"),
        ("self.row = await queries.get_thing(self.connection, id=1)", "leaves the sight"),
        ("return {'a': await queries.get_thing(self.connection, id=1)}", "is put into something else"),
        ("return [a for a, b in await queries.list_things(self.connection, size=1)]", "unpacked by position"),
        ("row = await queries.get_thing(self.connection, id=1)\nreturn row[0]", "something else than its name"),
    ],
)
def test_a_planted_wrong_read_is_seen(plant: Plant, body: str, why: str) -> None:
    module = plant(body)
    assert why in "\n".join(wrong_reads(module, columns_of(module)))


@pytest.mark.parametrize(
    "body",
    [
        "row = await queries.get_thing(self.connection, id=1)\nreturn None if row is None else Thing(**row)",
        "return [Thing(**r) for r in await queries.list_things(self.connection, size=1)]",
        "return _thing(await queries.get_thing(self.connection, id=1))",
        "return {r['id']: r['name'] for r in await queries.list_things(self.connection, size=1)}",
        "row = await queries.get_thing(self.connection, id=1)\nreturn Bigger(**row, colour='red')",
        "row = await queries.get_thing(self.connection, id=1)\nreturn Model(**{**row, 'colour': 'red'})",
        "if row := await queries.get_thing(self.connection, id=1):\n    return row['id']",
        "row = dict(await queries.get_thing(self.connection, id=1))\nrow['colour'] = row.pop('name')\n"
        "return Bigger(**row, name='')",
        "a, b = 1, await queries.get_thing(self.connection, id=1)\nreturn b['id']",
        "rows = {}\nfor r in await queries.list_things(self.connection, size=1):\n    rows[r['id']] = r\n"
        "return rows[1]['name']",
    ],
)
def test_a_right_read_is_fine(plant: Plant, body: str) -> None:
    module = plant(body)
    assert wrong_reads(module, columns_of(module)) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("await queries.get_thing(self.connection)", "takes (id), not ()"),
        ("await queries.get_thing(self.connection, id=1, size=2)", "takes (id), not (id, size)"),
        ("await queries.get_thing(self.connection, 1)", "one connection and names"),
        ("await queries.get_thing(id=1)", "one connection and names"),
        ("await queries.get_thing(self.connection, **{'id': 1})", "name the arguments"),
        ("return queries.get_thing", "on the spot"),
    ],
)
def test_a_planted_wrong_argument_is_seen(plant: Plant, body: str, why: str) -> None:
    module = plant(body)
    assert why in "\n".join(fault for call in calls_of(module) for fault in wrong_arguments(call))


def test_a_call_of_a_statement_that_does_not_exist_is_seen(plant: Plant) -> None:
    module = plant("await queries.get_other(self.connection)")
    with pytest.raises(AttributeError, match="get_other"):
        list(calls_of(module))


async def test_a_statement_that_does_not_fit_its_database_is_seen(plant: Plant, database: str) -> None:
    module = plant("pass")
    connection = await asyncpg.connect(database)
    await connection.execute("create table thing (id int, name text)")
    assert await describe(connection, module.queries.get_thing) == ["id", "name"]
    with pytest.raises(asyncpg.UndefinedColumnError):
        await describe(connection, module.queries.get_broken)
    await connection.close()

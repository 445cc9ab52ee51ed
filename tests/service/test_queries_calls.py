"""A statement called on a real database gives what its suffix says and refuses what it was not declared for."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from nms.common.db.problems import Duplicate, SchemaOutdated, ValueRefused
from nms.common.db.queries import Queries, load_folder

SQL = """
-- name: create_thing()!
create table thing (id int primary key, note text);
-- name: insert_thing(id, note)!
insert into thing values (:id, :note);
-- name: update_things(note)!
update thing set note = :note;
-- name: list_things()
select id, note from thing order by id;
-- name: get_thing(id)^
select id, note from thing where id = :id;
-- name: get_note(id)$
select note from thing where id = :id;
-- name: get_sum(a, b)$
select :a::int - :b::int + :a::int;
-- name: list_nothing()
select * from nowhere;
-- name: get_pieces(list, low)^
select (:list::int[])[:low:2] as slice, ':low' as literal, $$:low$$ as dollar, E'\\':low' as escaped;
"""


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@pytest.fixture
def queries(tmp_path: Path) -> Queries:
    (tmp_path / "thing.sql").write_text(SQL, encoding="utf-8")
    return load_folder(tmp_path)


async def test_the_suffix_says_what_a_call_gives(connection: asyncpg.Connection, queries: Queries) -> None:
    assert await queries.create_thing(connection) == 0
    assert await queries.get_thing(connection, id=1) is None
    assert await queries.get_note(connection, id=1) is None
    assert await queries.insert_thing(connection, id=1, note="a") == 1
    assert await queries.insert_thing(connection, id=2, note="b") == 1
    assert [tuple(row) for row in await queries.list_things(connection)] == [(1, "a"), (2, "b")]
    assert dict(await queries.get_thing(connection, id=2)) == {"id": 2, "note": "b"}
    assert await queries.get_note(connection, id=2) == "b"
    assert await queries.update_things(connection, note="c") == 2


async def test_a_parameter_used_twice_has_one_value(connection: asyncpg.Connection, queries: Queries) -> None:
    assert await queries.get_sum(connection, b=1, a=10) == 19


async def test_the_server_sees_literals_and_slices_as_written(connection: asyncpg.Connection, queries: Queries) -> None:
    row = await queries.get_pieces(connection, list=[1, 2, 3], low=2)
    assert dict(row) == {"slice": [2], "literal": ":low", "dollar": ":low", "escaped": "':low"}


@pytest.mark.parametrize("arguments", [{}, {"a": 1}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "c": 3}])
async def test_a_wrong_set_of_arguments_is_refused_before_anything_is_sent(
    connection: asyncpg.Connection, queries: Queries, arguments: dict[str, int]
) -> None:
    await connection.close()
    with pytest.raises(TypeError, match=r"get_sum takes \(a, b\)"):
        await queries.get_sum(connection, **arguments)


async def test_what_the_database_objects_to_is_a_problem_without_sql_or_values(
    connection: asyncpg.Connection, queries: Queries
) -> None:
    with pytest.raises(SchemaOutdated):
        await queries.list_nothing(connection)
    await queries.create_thing(connection)
    await queries.insert_thing(connection, id=1, note="sesame")
    with pytest.raises(Duplicate) as twice:
        await queries.insert_thing(connection, id=1, note="sesame")
    assert twice.value.constraint == "thing_pkey"
    with pytest.raises(ValueRefused) as wrong:
        await queries.insert_thing(connection, id="sesame", note="")
    for caught in (twice.value, wrong.value):
        assert "sesame" not in str(caught.to_dict())
        assert "insert" not in str(caught.to_dict())

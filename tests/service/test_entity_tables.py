"""Tables of entities: right by construction whoever writes, in one order that readers can trust."""

import json
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from nms.common.db.dsn import DSNType
from nms.common.db.revisions import folder_of
from nms.common.db.schema import compare_schema, schema_file
from nms.common.settings import Settings
from tests.service.warehouse import connected, entity, make_entities, ready_entities

ODD = ("a/b", "ä,ß", "100 %", "x\ny", '"', "~._-", "😀", "%2F", "a b+c")


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


async def sequence_of(psql: asyncpg.Connection, id_: int, table: str = "posts") -> int:
    return int(await psql.fetchval(f'select _sequence from entity."{table}" where id = $1', id_))


async def test_the_ready_entities_are_tables(settings: Settings, psql: asyncpg.Connection) -> None:
    await make_entities()
    rows = await psql.fetch("select tablename from pg_tables where schemaname = 'entity' order by 1")
    assert [row[0] for row in rows] == sorted(each.name for each in ready_entities())
    assert await psql.fetchval("select bool_and(state = 'ready' and document = wanted) from warehouse.entity")


async def test_what_documents_make_is_no_difference_from_the_migrations(settings: Settings) -> None:
    await make_entities()
    assert settings.db_dwh_dsn is not None
    await compare_schema(settings.db_dwh_dsn.get_secret_value(), schema_file(folder_of(DSNType.DWH) / "migrations"))


async def test_a_person_with_psql_writes_whole_records(settings: Settings, psql: asyncpg.Connection) -> None:
    await make_entities()
    await psql.execute('insert into entity.posts (id, title, "userId") values (1, \'Say "hi"\', 7), (2, null, null)')
    first = await psql.fetchrow("select * from entity.posts where id = 1")
    assert first is not None
    assert first["_json"] == '{"userId":7,"id":1,"title":"Say \\"hi\\"","body":null}'
    assert (first["_source"], first["_origin"], first["_created_at"]) == ("local", None, first["_updated_at"])
    await psql.execute("update entity.posts set title = 'b' where id = 1")
    second = await psql.fetchrow("select * from entity.posts where id = 1")
    assert second is not None
    assert json.loads(second["_json"])["title"] == "b"
    assert second["_sequence"] > first["_sequence"]
    assert second["_created_at"] == first["_created_at"] < second["_updated_at"]
    found = "select id from entity.posts where _search @@ plainto_tsquery('simple', 'b')"
    assert await psql.fetchval(found) == 1
    await psql.execute("update entity.posts set \"userId\" = 8, _search = 'nonsense' where id = 1")
    assert await psql.fetchval(found) == 1
    await psql.execute("update entity.posts set body = 'c', title = null, _search = null where id = 1")
    assert await psql.fetchval("select _search::text from entity.posts where id = 1") == "'c':1"


async def test_an_update_that_changes_nothing_is_no_change(settings: Settings, psql: asyncpg.Connection) -> None:
    await make_entities()
    await psql.execute("insert into entity.posts (id, title) values (1, 'a')")
    before = await psql.fetchrow("select * from entity.posts")
    await psql.execute("update entity.posts set title = 'a', _raw = '{}', _json = 'nonsense', _sequence = 99")
    after = await psql.fetchrow("select * from entity.posts")
    assert before is not None
    assert after is not None
    assert {**after, "_raw": None} == {**before}


async def test_what_is_deleted_moved_or_truncated_leaves_a_tombstone(
    settings: Settings, psql: asyncpg.Connection
) -> None:
    await make_entities()
    await psql.execute("insert into entity.posts (id, _source) select n, 'crm' from generate_series(1, 6) as n")

    async def buried() -> dict[str, int]:
        rows = await psql.fetch("select key, sequence from warehouse.tombstone where entity = 'posts' order by 1")
        return {row["key"]: row["sequence"] for row in rows}

    last = await sequence_of(psql, 6)
    await psql.execute("delete from entity.posts where id <= 2")
    assert list(await buried()) == ["1", "2"]
    assert min((await buried()).values()) > last
    await psql.execute("update entity.posts set id = 30 where id = 3")
    assert (await buried())["3"] > await sequence_of(psql, 30)
    swap = "update entity.posts set id = case id when 4 then 5 else 4 end where id in (4, 5)"
    with pytest.raises(asyncpg.UniqueViolationError):
        await psql.execute(swap)
    await psql.execute("delete from entity.posts where id = 6; insert into entity.posts (id) values (6)")
    assert await sequence_of(psql, 6) > (await buried())["6"]
    first = (await buried())["6"]
    await psql.execute("truncate entity.posts")
    assert set(await buried()) == {"1", "2", "3", "30", "4", "5", "6"}
    assert (await buried())["6"] > first
    assert await psql.fetchval("select bool_and(source = 'crm') from warehouse.tombstone where key <> '6'")


@pytest.mark.parametrize("key", [["a"], ["a", "n"]])
async def test_the_key_of_a_tombstone_is_that_of_the_path(
    settings: Settings, psql: asyncpg.Connection, key: list[str]
) -> None:
    await make_entities(entity("odd", {"a": "text", "n": "date"}, key=key))
    await psql.executemany("insert into entity.odd values ($1, '2026-01-02')", [(each,) for each in ODD])
    await psql.execute("set datestyle to 'German'; delete from entity.odd")
    rows = await psql.fetch("select key from warehouse.tombstone")
    behind = ",2026-01-02" if len(key) > 1 else ""
    assert {row[0] for row in rows} == {quote(each, safe="") + behind for each in ODD}


async def test_a_record_without_a_key_of_its_own_is_refused(settings: Settings, psql: asyncpg.Connection) -> None:
    await make_entities(entity("odd", {"id": "text"}))
    with pytest.raises(asyncpg.CheckViolationError):
        await psql.execute("insert into entity.odd values ('')")


async def test_the_order_waits_for_what_is_under_way(settings: Settings, psql: asyncpg.Connection) -> None:
    await make_entities()

    async def settled() -> int:
        return int(await psql.fetchval("select warehouse.settled()"))

    async with connected(settings) as slow, connected(settings) as quick:
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute("insert into entity.posts (id) values (1)")
        mine = await sequence_of(slow, 1)
        await quick.execute("insert into entity.posts (id) values (2)")
        assert await settled() < mine < await sequence_of(quick, 2)
        await slow.execute("savepoint a; insert into entity.posts (id) values (3); rollback to savepoint a")
        assert await settled() < mine
        await transaction.commit()
    assert await settled() == await psql.fetchval("select last_value from warehouse.sequence")


async def passes_what_is_under_way(settings: Settings) -> bool:
    """Whether readers are told of an order that a transaction under way will still write into."""
    async with connected(settings) as slow, connected(settings) as quick, slow.transaction():
        await slow.execute("insert into entity.posts (id) values (1)")
        await quick.execute("insert into entity.posts (id) values (2)")
        return bool(await quick.fetchval("select warehouse.settled() >= $1", await sequence_of(slow, 1)))


async def test_without_its_mark_the_order_would_pass_what_is_under_way(
    settings: Settings, psql: asyncpg.Connection
) -> None:
    await make_entities()
    assert not await passes_what_is_under_way(settings)
    await psql.execute("truncate entity.posts; drop trigger _begin on entity.posts")
    assert await passes_what_is_under_way(settings)


async def test_a_mark_that_was_rolled_back_to_a_savepoint_is_left_again(
    settings: Settings, psql: asyncpg.Connection
) -> None:
    await make_entities()
    async with connected(settings) as slow, slow.transaction():
        await slow.execute("savepoint a; insert into entity.posts (id) values (1); rollback to savepoint a")
        await slow.execute("insert into entity.posts (id) values (2)")
        mine = await sequence_of(slow, 2)
        assert await psql.fetchval("select warehouse.settled()") < mine
    assert await psql.fetchval("select warehouse.settled()") >= mine


async def test_a_transaction_of_many_statements_leaves_one_mark(settings: Settings, psql: asyncpg.Connection) -> None:
    await make_entities()
    async with psql.transaction():
        for number in range(50):
            await psql.execute("insert into entity.posts (id) values ($1)", number)
        marks = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
        assert await psql.fetchval(marks) == 1


async def test_whoever_writes_says_which_pipeline_it_is(settings: Settings, psql: asyncpg.Connection) -> None:
    await make_entities()
    async with psql.transaction():
        await psql.execute("set local warehouse.origin = 'posts-in'")
        await psql.execute("insert into entity.posts (id) values (1), (2); delete from entity.posts where id = 2")
    assert await psql.fetchval("select _origin from entity.posts") == "posts-in"
    assert await psql.fetchval("select origin from warehouse.tombstone") == "posts-in"
    await psql.execute("update entity.posts set title = 'by hand'")
    assert await psql.fetchval("select _origin from entity.posts") is None


async def test_names_may_be_words_of_sql(settings: Settings, psql: asyncpg.Connection) -> None:
    words = ("select", "user", "table", "new", "old", "tg_op", "gone", "there", "one", "excluded", "sequence", "entity")
    fields: dict[str, Any] = {
        "order": "text",
        **dict.fromkeys(words, "text"),
        "when": {"type": "text", "index": True, "search": True},
    }
    for name in ("user", "select", "tombstone", "new"):
        await make_entities(entity(name, fields, key=["order", "new"]))
        table = f'entity."{name}"'
        await psql.execute(f"""insert into {table} ("order", "new", "tg_op") values ('a', 'b', 'c'), ('d', 'e', 'f')""")
        await psql.execute(f"""update {table} set "old" = 'x', "order" = 'y' where "order" = 'a'""")
        await psql.execute(f"""delete from {table} where "tg_op" = 'c'; truncate {table}""")
        rows = await psql.fetch("select key from warehouse.tombstone where entity = $1 order by sequence", name)
        assert [row[0] for row in rows] == ["a,b", "y,b", "d,e"]


async def test_an_entity_of_many_fields_is_one_table(settings: Settings, psql: asyncpg.Connection) -> None:
    types = ("text", "double", "timestamp", "json", "numeric")
    fields: dict[str, Any] = {"id": "bigint", **{f"f{at}": types[at % len(types)] for at in range(999)}}
    await make_entities(entity("wide", fields))
    await psql.execute("insert into entity.wide (id, f0) values (1, 'a')")
    await psql.execute("update entity.wide set f994 = 1.50")
    record = json.loads(await psql.fetchval("select _json from entity.wide"))
    assert list(record) == list(fields)
    assert (record["f0"], record["f994"], record["f998"]) == ("a", 1.5, None)

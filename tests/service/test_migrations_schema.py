"""`schema.sql` is what the migrations add up to: complete, loadable, the same on every version."""

from pathlib import Path

import pytest

from nms.common.db.dsn import DSNType
from nms.common.db.migrations import downgrade, upgrade
from nms.common.db.revisions import folder_of
from nms.common.db.schema import SchemaDiffers, compare_schema, dump_schema, schema_file
from tests.conftest import MakeDatabase
from tests.service.databases import ask, run
from tests.services.postgres import PostgresServer


@pytest.fixture
async def empty(make_database: MakeDatabase) -> str:
    return await make_database()


@pytest.mark.parametrize("server", ["18", "16", "15"], indirect=True)
@pytest.mark.parametrize("kind", list(DSNType))
async def test_our_databases_are_what_their_schema_file_says_on_every_version(
    make_database: MakeDatabase, server: PostgresServer, kind: DSNType
) -> None:
    folder = folder_of(kind) / "migrations"
    migrated = await make_database()
    await upgrade(migrated, folder)
    await compare_schema(migrated, schema_file(folder))


@pytest.mark.parametrize("kind", list(DSNType))
async def test_our_databases_can_be_taken_back_to_nothing(empty: str, kind: DSNType) -> None:
    folder = folder_of(kind) / "migrations"
    nothing = await dump_schema(empty)
    steps = await upgrade(empty, folder)
    assert len(await downgrade(empty, folder, steps=len(steps))) == len(steps)
    assert await dump_schema(empty) == nothing


@pytest.mark.parametrize("kind", list(DSNType))
async def test_the_schema_file_makes_the_same_database(empty: str, kind: DSNType) -> None:
    text = schema_file(folder_of(kind) / "migrations").read_text(encoding="utf-8")
    await run(empty, text)
    assert await dump_schema(empty) == text


EVERYTHING = """
create schema s;
create type s.colour as enum ('red', 'it''s');
create domain s.small as int not null constraint small_check check (value < 10);
create type s.pair as (a int, b text);
create sequence s.counter start 5 increment 2;
create function s.double(n int) returns int language sql immutable as $$ select n * 2 $$;
create table s.parent (
    id bigint generated always as identity primary key, code text not null unique default 'x', size s.small,
    twice int generated always as (s.double(3)) stored, hue s.colour, both_ s.pair, check (code <> ''),
    "Odd name" numeric(10, 2)[]
) with (fillfactor = 70);
create table s.child (id serial primary key, parent bigint references s.parent on delete cascade);
create unlogged table s.fast (a text collate "C");
create table s.parted (at date not null, id int, primary key (at, id)) partition by range (at);
create table s.parted_one partition of s.parted for values from ('2026-01-01') to ('2027-01-01');
create index on s.parted (id);
create index child_parent on s.child (parent) where parent > 3;
create view s.look with (security_barrier = true) as
    select p.id, c.id as child from s.parent p join s.child c on c.parent = p.id;
create materialized view s.kept as select count(*) from s.parent;
create function s.touch() returns trigger language plpgsql as $$ begin return new; end $$;
create trigger touch before update on s.child for each row execute function s.touch();
comment on table s.parent is 'It''s a parent';
comment on column s.parent.code is 'A code';
"""


CHANGES = [
    "alter type s.colour add value 'blue'",
    "alter domain s.small drop constraint small_check",
    "alter type s.pair add attribute c int",
    "alter sequence s.counter increment 3",
    "create or replace function s.touch() returns trigger language plpgsql as $$ begin return old; end $$",
    "alter table s.parent alter column code drop default",
    "alter table s.parent alter column code drop not null",
    "alter table s.parent set (fillfactor = 80)",
    "alter table s.child drop constraint child_parent_fkey",
    "alter table s.fast set logged",
    "drop index s.parted_id_idx",
    "drop table s.parted_one",
    "drop view s.look",
    "drop materialized view s.kept",
    "drop trigger touch on s.child",
    "comment on column s.parent.code is null",
    "drop schema s cascade",
]


async def test_the_dump_holds_every_kind_of_object_and_loads_again(make_database: MakeDatabase) -> None:
    first, second = await make_database(), await make_database()
    await run(first, EVERYTHING)
    text = await dump_schema(first)
    await run(second, text)
    assert await dump_schema(second) == text
    for change in CHANGES:
        await run(second, change)
        assert await dump_schema(second) != text, change
        text = await dump_schema(second)


async def test_a_change_by_hand_is_found(empty: str, tmp_path: Path) -> None:
    await run(empty, "create table one (id int)")
    file = tmp_path / "schema.sql"
    file.write_text(await dump_schema(empty), encoding="utf-8")
    await compare_schema(empty, file)
    await ask(empty, "alter table one add column sneaked_in int")
    with pytest.raises(SchemaDiffers) as caught:
        await compare_schema(empty, file)
    assert "+sneaked_in integer" in caught.value.difference

"""What a review by fresh eyes found in the engine: each was red on real servers before it was mended."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nms.common.flow import Batch, ChangeRefused
from nms.connectors.postgres import source as source_module
from nms.connectors.postgres.problems import ServerAway
from nms.connectors.postgres.snapshot import Chunk
from tests.contract.pipelines import Pipe, Steps, gate, lay

MakeDatabase = Callable[[], Awaitable[str]]
FILL = "insert into public.t select g, repeat('x', 200) from generate_series(1, {}) g"
PLAIN = "create table public.t (id int primary key, a text)"


async def test_a_transaction_cut_off_while_it_is_applied_is_an_error_and_no_wait(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    end_stream = (
        "select pg_terminate_backend(pid) from pg_stat_replication where application_name like $1 || '%' and pid > 0"
    )
    async with lay(make_database, tmp_path, PLAIN, ["t"]) as pipe:
        await pipe.run("t")
        async with pipe.steps() as steps:
            # Small enough not to be streamed, large enough to be handed over before its commit has arrived.
            await pipe.source.execute(FILL.format(120_000))
            batch = await steps.next()
            while batch.small is not None:
                await steps.apply(batch)
                batch = await steps.next()
            await pipe.source.execute(end_stream, f"nms:{pipe.spec.name}:")
            with pytest.raises(ServerAway):
                await goes_on(steps, batch)
        await pipe.run("t")


async def test_the_target_makes_durable_what_is_confirmed_whatever_its_default(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay(make_database, tmp_path, PLAIN + "; create table public.said (how text)", ["t"]) as pipe:
        await pipe.target.execute(
            "do $$ begin execute format('alter database %I set synchronous_commit = off', current_database()); end $$;"
            "create function public.tell() returns trigger language plpgsql as "
            "$$ begin insert into public.said values (current_setting('synchronous_commit')); return null; end $$;"
            "create trigger tell after insert on public.t for each statement execute function public.tell()"
        )
        async with pipe.moves():
            await pipe.catch_up()
            await pipe.source.execute("insert into public.t values (1, 'a')")
            await pipe.catch_up()
        assert await pipe.target.fetchval("select string_agg(distinct how, ',') from public.said") == "on"


async def test_what_the_target_deletes_by_itself_takes_no_row_that_has_left(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    ddl = (
        "create table public.p (id int primary key);"
        "create table public.c (id int primary key, p int not null references public.p on delete cascade, a text);"
        "create table public.g (id int primary key, c int not null references public.c on delete cascade)"
    )
    async with lay(make_database, tmp_path, ddl, ["p", "c", "g"]) as pipe:
        await pipe.source.execute(
            "insert into public.p values (1), (2);"
            "insert into public.c select n, 1, 'a' from generate_series(1, 600) n;"
            "insert into public.g select n, n from generate_series(1, 600) n"
        )
        async with pipe.moves():
            await pipe.catch_up()
            await pipe.source.execute("begin; update public.c set p = 2; delete from public.p where id = 1; commit")
            await pipe.catch_up()
        await pipe.compare("p", "c", "g")


async def test_a_key_reads_the_same_from_a_chunk_and_from_the_stream_in_text_form(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An array of an enum has no portable binary form, so that the whole pipeline goes by text.
    ddl = (
        "create type public.mood as enum ('glad');"
        "create table public.t (id char(5), yes bool, at inet, moods public.mood[], primary key (id, yes, at))"
    )
    async with lay(make_database, tmp_path, ddl, ["t"]) as pipe:
        await pipe.source.execute(
            "insert into public.t values ('ab', true, '10.0.0.1', '{glad}'), ('cd', false, '10.0.0.2/24', null)"
        )

        beside = await pipe.connect()

        async def delete(_: Chunk) -> None:
            await beside.execute("delete from public.t where id = 'ab'")

        async with gate(monkeypatch, delete):
            await pipe.run("t")
        await beside.close()


async def test_updates_that_must_find_their_row_find_the_one_inserted_before_them(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay(make_database, tmp_path, PLAIN, ["t"], heals=False) as pipe:
        async with pipe.moves():
            await pipe.catch_up()
            await pipe.source.execute(f"begin; {FILL.format(1000)}; update public.t set a = 'new'; commit")
            await pipe.catch_up()
        await pipe.compare("t")


async def test_a_bulk_write_that_was_refused_leaves_the_next_ones_bulk(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay(make_database, tmp_path, "create table public.t (id int primary key, a text unique)", ["t"]) as pipe:
        await pipe.source.execute("insert into public.t select g, g::text from generate_series(1, 1000) g")
        async with pipe.moves():
            await pipe.catch_up()
            await pipe.source.execute(
                "begin; update public.t set a = 'x' || a; update public.t set a = (1001 - id)::text; commit"
            )
            await pipe.catch_up()
            await pipe.source.execute("update public.t set a = 'y' || a")
            await pipe.catch_up()
        await pipe.compare("t")


async def test_a_row_whose_key_is_kept_out_of_line_can_be_updated(make_database: MakeDatabase, tmp_path: Path) -> None:
    ddl = "create table public.t (id text primary key, n int); alter table public.t alter id set storage external"
    async with lay(make_database, tmp_path, ddl, ["t"]) as pipe:
        await pipe.source.execute("insert into public.t values (repeat('k', 2500), 1)")
        async with pipe.moves():
            await pipe.catch_up()
            await pipe.source.execute("update public.t set n = 2")
            await pipe.catch_up()
        await pipe.compare("t")


async def test_a_row_too_big_for_an_index_of_the_target_is_a_refusal(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    async with lay(make_database, tmp_path, PLAIN, ["t"]) as pipe:
        await pipe.target.execute("create index on public.t (a)")
        await pipe.source.execute(
            "insert into public.t select 1, string_agg(md5(g::text), '') from generate_series(1, 2000) g"
        )
        with pytest.raises(ChangeRefused):
            await pipe.run("t")


async def test_a_copy_made_again_removes_what_the_source_no_longer_has(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    ddl = (
        "create table public.p (id int primary key, a text unique);"
        "create table public.c (id int primary key, p int references public.p)"
    )
    async with lay(make_database, tmp_path, ddl, ["p", "c"]) as pipe:
        await pipe.source.execute("insert into public.p values (1, 'x'), (2, 'y'); insert into public.c values (1, 1)")
        await pipe.run("p", "c")
        await pipe.target.execute(
            "insert into public.p values (8, 'z'); insert into public.c values (9, 8);"
            "update public.p set a = 'q' where id = 1"
        )
        await pipe.source.execute("update public.p set a = 'z' where id = 2")
        await again(pipe).run("p", "c")


async def test_a_copy_made_again_sweeps_range_by_range_where_it_can(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nms.connectors.postgres.snapshot._FIRST_ROWS", 50)
    async with lay(make_database, tmp_path, PLAIN, ["t"]) as pipe:
        await pipe.source.execute(FILL.format(500))
        await pipe.run("t")
        await pipe.source.execute("delete from public.t where id % 3 = 0")
        await pipe.target.execute("insert into public.t values (0, 'extra'), (1000, 'extra')")
        await pipe.target.execute("delete from public.t where id = 4")
        await again(pipe).run("t")


async def test_a_part_of_a_transaction_is_bounded_in_bytes(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "PART_BYTES", 1 << 20)
    async with lay(make_database, tmp_path, PLAIN, ["t"]) as pipe:
        await pipe.run("t")
        async with pipe.steps() as steps:
            await pipe.source.execute(
                "insert into public.t select g, repeat(md5(g::text), 4000) from generate_series(1, 90) g"
            )
            batch = await steps.next()
            while batch.small is not None:
                await steps.apply(batch)
                batch = await steps.next()
            sizes = [sum(len(change.values[1] or b"") for change in part) async for part in batch.parts()]
            assert len(sizes) > 5
            assert max(sizes) < 2 << 20


async def goes_on(steps: Steps, batch: Batch) -> None:
    """Apply a batch and all that follow, without end."""
    await steps.apply(batch)
    await steps.past("FFFFFFFF/0")


def again(pipe: Pipe) -> Pipe:
    return replace(pipe, spec=replace(pipe.spec, generation=2), place=0, copying=True, moving=None)

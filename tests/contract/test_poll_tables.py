"""A poll takes tables as they come: any key, types that differ, rows that refer to rows of their own table."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from nms.common.flow import DatasetSpec
from tests.contract.pipelines import dataset, rows_of
from tests.contract.polls import MakeDatabase, lay_poll, polling

ODD = """
create type mood as enum ('sad', 'so so');
create domain short as varchar(40);
create table "Odd ""Table" (
    a uuid, b numeric, c timestamptz, d double precision, e bytea, f mood, "G g" short, h interval, i int[], j char(4),
    k boolean, v text, primary key (a, b, c, d, e, f, "G g", h, i, j, k)
)
"""
ROW = """
insert into "Odd ""Table"
select
    md5(n::text)::uuid, n + 0.10, '2026-03-29 01:30:00+01'::timestamptz + n * '1 h'::interval, n / 3.0,
    decode(md5(n::text), 'hex'), 'so so', E'it''s \\\\ {{"n"}} ' || n, n * '1 mon 2 d 3 s'::interval, array[n, null, 2],
    'x' || n, n % 2 = 0, 'old'
from generate_series({}, {}) n
"""
TREE = "create table tree (id int primary key, parent int references tree)"


@pytest.mark.parametrize("form", ["binary", "text"])
async def test_rows_with_any_key_are_deleted_and_changed(
    form: str, make_database: MakeDatabase, tmp_path: Path
) -> None:
    name = 'public."Odd ""Table"'
    async with lay_poll(make_database, tmp_path, "log", ODD, datasets=[DatasetSpec(name, name)]) as pipe:
        if form == "text":
            await pipe.target.execute('alter table "Odd ""Table" alter v type varchar(99)')
        await pipe.source.execute(ROW.format(1, 30))
        writer = await pipe.connect()
        await writer.execute("set datestyle = 'German'; set timezone = 'Asia/Kolkata'; set extra_float_digits = -3")
        await writer.execute("set intervalstyle = 'sql_standard'; set bytea_output = 'escape'")
        async with polling(pipe) as rounds:
            assert rounds.opened.text_form is (form == "text")
            await rounds.once()
            await writer.execute('delete from "Odd ""Table" where b < 5; update "Odd ""Table" set v = b where b > 20')
            await writer.execute('update "Odd ""Table" set d = d + 0.1 where b < 10;' + ROW.format(40, 45))
            await rounds.once()
        await writer.close()
        assert await rows_of(pipe.target, '"Odd ""Table"') == await rows_of(pipe.source, '"Odd ""Table"')


async def test_rows_that_refer_to_later_ones_of_their_table_arrive(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with lay_poll(make_database, tmp_path, "scan", TREE, datasets=[dataset("tree")]) as pipe:
        async with polling(pipe) as rounds:
            await rounds.once()
            await pipe.source.execute("insert into tree values (1, null), (5, null), (2, 5), (3, 2)")
            await pipe.source.execute("update tree set parent = 3 where id = 1")
            await rounds.once()
        assert await rows_of(pipe.target, "tree") == await rows_of(pipe.source, "tree")


async def test_rounds_begin_as_often_as_asked(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with lay_poll(make_database, tmp_path, "scan") as pipe:
        pipe.spec = replace(pipe.spec, every=0.3)
        began = set()
        async with polling(pipe) as rounds:
            for _ in range(5):
                await rounds.apply(await rounds.next())
                began.add(rounds.opened.source.turn.began)
        ordered = sorted(began)
        assert all(later - earlier >= 0.29 for earlier, later in pairwise(ordered))
        assert len(ordered) > 2

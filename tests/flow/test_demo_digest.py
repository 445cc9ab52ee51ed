"""The demo's judge finds what differs between two real databases, and nothing where nothing does."""

from collections.abc import AsyncIterator

import pytest

from nms.cli.demo.digest import Difference, compare
from nms.connectors.postgres.catalog import Connection, connect
from nms.connectors.postgres.libpq import Access
from tests.conftest import MakeDatabase

TABLES = """
create table public.keyed (id bigint primary key, name text, data jsonb);
create table public.paired ("Left" int, "right" text, amount numeric, primary key ("Left", "right"));
create table public.keyless (tid int, delta int, filler char(8));
insert into public.keyed select n, 'name ' || n, jsonb_build_object('n', n) from generate_series(1, 2000) n {order};
insert into public.paired select n % 40, 'r' || n, n * 1.50 from generate_series(1, 400) n {order};
insert into public.keyless select n % 7, n % 3, 'x' from generate_series(1, 300) n {order};
insert into public.keyless values (null, null, null), (null, null, null);
"""
NAMES = ("public.keyed", "public.paired", "public.keyless")


@pytest.fixture
async def sides(make_database: MakeDatabase) -> AsyncIterator[tuple[Connection, Connection]]:
    """Two databases with the same rows, stored in another order."""
    opened = [await connect(Access(side, await make_database()), name="test") for side in ("source", "target")]
    await opened[0].execute(TABLES.format(order="order by n"))
    await opened[1].execute(TABLES.format(order="order by n desc"))
    yield opened[0], opened[1]
    for one in opened:
        await one.close()


async def differences(sides: tuple[Connection, Connection]) -> dict[str, Difference]:
    found = await compare(*sides, NAMES)
    return {one.dataset: one for one in found if one.lost or one.surplus}


async def test_the_same_rows_in_another_order_are_the_same(sides: tuple[Connection, Connection]) -> None:
    assert await differences(sides) == {}
    assert [one.rows for one in await compare(*sides, NAMES)] == [2000, 400, 302]


async def test_a_lost_insert_is_missing(sides: tuple[Connection, Connection]) -> None:
    await sides[1].execute("delete from public.keyed where id = 77")
    found = (await differences(sides))["public.keyed"]
    assert (found.missing, found.lost, found.surplus) == (["77"], 1, 0)
    assert found.sentences() == ["public.keyed: 1 missing at the target: 77"]


async def test_a_lost_delete_is_extra(sides: tuple[Connection, Connection]) -> None:
    await sides[0].execute('delete from public.paired where "Left" = 1 and "right" = \'r41\'')
    found = (await differences(sides))["public.paired"]
    assert (found.extra, found.lost, found.surplus) == (["(1,r41)"], 0, 1)


async def test_a_lost_update_is_stale(sides: tuple[Connection, Connection]) -> None:
    await sides[0].execute("update public.keyed set data = data || '{\"n\": 0}' where id in (5, 6)")
    found = (await differences(sides))["public.keyed"]
    assert (found.stale, found.lost, found.surplus) == (["5", "6"], 2, 0)


async def test_a_doubled_row_without_a_key_is_seen_though_the_set_of_rows_is_equal(
    sides: tuple[Connection, Connection],
) -> None:
    await sides[1].execute("insert into public.keyless values (1, 1, 'x'), (null, null, null)")
    found = (await differences(sides))["public.keyless"]
    assert sorted(found.doubled) == sorted(['(1,1,"x       ")', "(,,)"])
    assert (found.lost, found.surplus) == (0, 2)


async def test_a_row_lost_of_several_equal_ones_is_missing(sides: tuple[Connection, Connection]) -> None:
    await sides[1].execute("delete from public.keyless where ctid = (select min(ctid) from public.keyless)")
    found = (await differences(sides))["public.keyless"]
    assert (len(found.missing), found.surplus) == (1, 0)


async def test_two_faults_that_cancel_out_in_number_are_both_seen(sides: tuple[Connection, Connection]) -> None:
    await sides[1].execute("delete from public.keyed where id = 1")
    await sides[1].execute("insert into public.keyed values (9001, 'name 1', '{\"n\": 1}')")
    found = (await differences(sides))["public.keyed"]
    assert (found.rows, found.target_rows) == (2000, 2000)
    assert (found.missing, found.extra) == (["1"], ["9001"])


async def test_an_empty_side_is_all_missing(sides: tuple[Connection, Connection]) -> None:
    await sides[1].execute("truncate public.keyed")
    found = (await differences(sides))["public.keyed"]
    assert (found.lost, found.target_rows) == (2000, 0)
    assert len(found.to_dict()["first_keys"]["missing"]) == 3

"""Sweeps: what the remote has no more is found, confirmed and only then deleted; a partial list deletes nothing."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from nms.connectors.rest.digests import Digests
from nms.connectors.rest.problems import SweepSuspicious
from tests.service.rest_pulling import Table, opened, pull, shape_of
from tests.service.rest_stage import things
from tests.services.hostile.api import HostileApi
from tests.services.hostile.collection import Collection

pytestmark = pytest.mark.usefixtures("asking")
SWEPT = things(sweep={"every": "1ms", "query": {"fields": "id"}})
ALL = list(range(1, 101))


@pytest.fixture
async def table(hostile_api: HostileApi) -> Table:
    """A table that has all of a hundred things."""
    hostile_api.add("things", count=100, page_size=10)
    table = Table()
    async with opened(hostile_api.url, table, things=things()) as source:
        await pull(source, table)
    assert table.ids == ALL
    return table


async def sweep(api: HostileApi, table: Table, rounds: int = 3, **more: Any) -> dict[str, Any]:
    """Some rounds with a sweep each; gives what was told of them."""
    async with opened(api.url, table, things={**SWEPT, **more}) as source:
        await pull(source, table, rounds=rounds)
        told: dict[str, Any] = source.facts()["resources"]["things"]["sweep"]
        return told


@pytest.mark.parametrize("way", ["hard", "gone"])
async def test_a_record_that_is_gone_is_found_confirmed_and_deleted(
    hostile_api: HostileApi, table: Table, way: str
) -> None:
    hostile_api.configure("things", delete=way)
    for number in (1, 50, 100):
        hostile_api.delete("things", number)
    await sweep(hostile_api, table)
    assert table.ids == [number for number in ALL if number not in (1, 50, 100)]
    asked = [one.target for one in hostile_api.journal.entries if one.status in (404, 410)]
    assert sorted(asked) == ["/things/1", "/things/100", "/things/50"]


async def test_a_record_whose_key_has_a_field_of_its_parent_is_found_gone(
    hostile_api: HostileApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile_api.add("things", count=3)
    hostile_api.add("parts")
    for number in (1, 2, 3):
        hostile_api.write("parts", {"things_id": number, "code": f"c{number}"})
    # A remote that does not say again below which parent a record hangs, as most do.
    monkeypatch.setattr(Collection, "encode", encoded)
    below: dict[str, Any] = {
        "path": "/things/{thing}/parts", "records": "data", "key": ["thing", "number"], "derive": {"number": "id"},
        "record": "/parts/{number}", "parent": {"resource": "things", "fields": {"thing": "id"}},
        "sweep": {"every": "1ms"},
    }  # fmt: skip
    shape, table = shape_of("parts", ("number", "thing", "code"), (1, 0)), Table()
    async with opened(hostile_api.url, table, shape, things=things(), parts=below) as source:
        await pull(source, table)
        assert len(table.of("parts")) == 3
        hostile_api.delete("parts", 2)
        await pull(source, table, rounds=3)
    assert sorted(table.of("parts")) == [("1", "1"), ("3", "3")]


def encoded(collection: Collection, at: int) -> str:
    return json.dumps({name: value for name, value in collection.records[at].items() if name != "things_id"})


async def test_one_sweep_alone_deletes_nothing(hostile_api: HostileApi, table: Table) -> None:
    hostile_api.delete("things", 50)
    told = await sweep(hostile_api, table, rounds=1)
    assert (told["missing"], told["waiting"], table.deleted) == (1, 1, [])
    # What is missing is known after a restart, too.
    await sweep(hostile_api, table, rounds=1)
    assert table.deleted == [("50",)]


async def test_a_record_that_came_back_stays(hostile_api: HostileApi, table: Table) -> None:
    kept = dict(hostile_api.records("things")[50])
    hostile_api.delete("things", 50)
    await sweep(hostile_api, table, rounds=1)
    collection = hostile_api.resources["things"].collection
    collection.replace(50, kept)
    told = await sweep(hostile_api, table)
    assert (table.deleted, told["waiting"]) == ([], 0)
    assert 50 in table.ids


async def test_with_a_grace_it_is_missing_for_so_long_first(hostile_api: HostileApi, table: Table) -> None:
    hostile_api.delete("things", 50)
    await sweep(hostile_api, table, sweep={"every": "1ms", "grace": "1h"})
    assert table.deleted == []
    await sweep(hostile_api, table, sweep={"every": "1ms", "grace": "1ms"})
    assert table.deleted == [("50",)]


# Even where the remote, broken as it is, says of each single record that it is gone.
@pytest.mark.parametrize("behaviour", ["page-short", "page-skip", "page-repeat", "page-empty"])
async def test_a_partial_list_never_deletes_anything(hostile_api: HostileApi, table: Table, behaviour: str) -> None:
    hostile_api.plan(behaviour, path="things$")
    hostile_api.plan("404", path="things/(?!1$|2$|3$|4$)")
    told = await sweep(hostile_api, table)
    assert table.ids == ALL
    assert told["void"] == 3


async def test_a_list_that_breaks_off_never_deletes_anything(hostile_api: HostileApi, table: Table) -> None:
    hostile_api.plan("500", path="things$", skip=13)
    hostile_api.plan("404", path="things/")
    async with opened(hostile_api.url, table, things=SWEPT) as source:
        await pull(source, table)
        told = source.facts()["resources"]["things"]["sweep"]
    assert (table.ids, told["void"], told["why"]) == (ALL, 1, "remote-fails")


async def test_a_list_that_nothing_contradicts_deletes_only_what_is_confirmed(
    hostile_api: HostileApi, table: Table
) -> None:
    unsaid = things(sweep=SWEPT["sweep"])
    unsaid["paging"] = {name: value for name, value in unsaid["paging"].items() if name != "total"}
    hostile_api.delete("things", 77)
    collection = hostile_api.resources["things"].collection
    hidden = [3, 33, 63]
    assert isinstance(collection.order, list)
    collection.order[:] = [number for number in collection.order if number not in hidden]
    await sweep(hostile_api, table, **unsaid)
    assert table.deleted == [("77",)]


async def test_a_remote_that_answers_404_to_everything_is_not_believed(hostile_api: HostileApi, table: Table) -> None:
    hostile_api.delete("things", 77)
    hostile_api.plan("404", path="things/")
    told = await sweep(hostile_api, table)
    assert (table.ids, told["waiting"]) == (ALL, 1)


async def test_a_sweep_that_would_delete_most_of_the_rows_halts(hostile_api: HostileApi, table: Table) -> None:
    for number in range(1, 52):
        hostile_api.delete("things", number)
    async with opened(hostile_api.url, table, things=SWEPT) as source:
        with pytest.raises(SweepSuspicious) as caught:
            await pull(source, table, rounds=2)
    assert (caught.value.missing, caught.value.rows, table.deleted) == (51, 100, [])


async def test_an_empty_answer_deletes_nothing(hostile_api: HostileApi, table: Table) -> None:
    hostile_api.add("things", count=0)
    async with opened(hostile_api.url, table, things=SWEPT) as source:
        with pytest.raises(SweepSuspicious):
            await pull(source, table, rounds=2)
    assert table.ids == ALL


async def test_an_empty_list_deletes_not_even_few_rows(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=2)
    table = Table()
    async with opened(hostile_api.url, table, things=SWEPT) as source:
        await pull(source, table, rounds=2)
        hostile_api.add("things", count=0)
        await pull(source, table, rounds=3)
        told = source.facts()["resources"]["things"]["sweep"]
    assert (table.ids, told["void"], told["why"]) == ([1, 2], 3, "the list of ids is empty, although there are rows")


def test_a_set_of_digests_knows_its_keys_in_little_memory() -> None:
    seen = Digests()
    keys: Sequence[tuple[str, ...]] = [(str(number),) for number in range(100_000)]
    assert seen.add(keys) == 0
    assert seen.add(keys[:10]) == 10
    assert all(key in seen for key in keys)
    assert not any((str(number),) in seen for number in range(100_000, 200_000))
    assert seen.nbytes <= 100_000 * 8 * 3.1

"""A REST API as a source: nothing is passed over, whatever the pages do, and a crash repeats little."""

import asyncio
import random
import time
from typing import Any

import pytest

from nms.common.problem import Problem
from nms.connectors.rest.problems import NextPageLoop, RecordsChanged
from tests.service.rest_pulling import Table, opened, pull, shape_of
from tests.service.rest_stage import FOLLOWING, SINCE, lists, things
from tests.services.hostile.api import HostileApi
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("asking")
NUMBERED = ("page", "offset", "link", "next-url")


@pytest.mark.parametrize("paging", FOLLOWING)
async def test_a_crash_repeats_no_more_than_what_was_not_durable(hostile_api: HostileApi, paging: str) -> None:
    hostile_api.add("things", count=200, paging=paging, page_size=10, pad=2_000)
    table = Table()
    for _ in range(40):
        async with opened(hostile_api.url, table, things=things(paging)) as source:
            await pull(source, table, batches=1)
        if "round" not in table.position and table.batches > 1:
            break
    assert table.ids == list(range(1, 201))
    # What was asked for ahead when the source was given up is asked for again, no page more.
    assert len(lists(hostile_api)) <= 20 + table.batches * 10


async def test_a_round_goes_on_where_it_was_left(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=400, paging="cursor", page_size=10, latency=0.02)
    table = Table()
    async with opened(hostile_api.url, table, things=things("cursor")) as source:
        await pull(source, table, batches=3)
    before = len(table.ids)
    assert 0 < before < 400
    since = len(hostile_api.journal.entries)
    async with opened(hostile_api.url, table, things=things("cursor")) as source:
        await pull(source, table)
    assert table.ids == list(range(1, 401))
    # One that was under way when the first was left may be noted there only now.
    assert len(hostile_api.journal.entries) - since - (400 - before) // 10 in (0, 1)


@pytest.mark.parametrize(("before", "after"), [("cursor", "page"), ("page", "offset"), ("page", "none")])
async def test_pages_that_are_declared_otherwise_within_a_round_are_read_anew(
    hostile_api: HostileApi, before: str, after: str
) -> None:
    hostile_api.add("things", count=1_000, page_size=10, paging=before, latency=0.02)
    table = Table()
    async with opened(hostile_api.url, table, things=things(before)) as source:
        await pull(source, table, batches=1)
    assert 0 < len(table.ids) < 1_000
    hostile_api.configure("things", paging=after, page_size=7 if after != "none" else 1_000)
    async with opened(hostile_api.url, table, things=things(after)) as source:
        await pull(source, table)
    assert table.ids == list(range(1, 1_001))


async def test_a_resource_that_is_declared_otherwise_is_read_from_its_beginning(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=20)
    table, since = Table(), {**SINCE, "overlap": "1ms"}
    here, there = hostile_api.url, hostile_api.url.replace("127.0.0.1", "localhost")
    plain: dict[str, Any] = {}
    for url, paging, more, few in (
        (here, "page", {"query": {"deleted": "1"}}, False),
        (here, "page", plain, False),
        (here, "offset", plain, True),
        (there, "offset", plain, False),
    ):
        hostile_api.configure("things", paging=paging)
        table.rows.clear()
        async with opened(url, table, things=things(paging, since=since, **more)) as source:
            await pull(source, table)
        assert (len(table.ids) < 20) == few, "other pages are of the same records"


async def test_a_round_whose_cursor_is_over_begins_anew(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=400, paging="cursor", page_size=10, latency=0.02)
    table = Table()
    async with opened(hostile_api.url, table, things=things("cursor")) as source:
        await pull(source, table, batches=2)
    hostile_api.plan("410", path="things", times=1)
    async with opened(hostile_api.url, table, things=things("cursor")) as source:
        await pull(source, table)
    assert table.ids == list(range(1, 401))


@pytest.mark.parametrize("paging", FOLLOWING)
async def test_whoever_changes_while_pages_are_read_comes_with_the_next_round(
    hostile_api: HostileApi, paging: str
) -> None:
    chance = random.Random(paging)
    hostile_api.add("things", count=100, paging=paging, page_size=5, delete="soft")
    rule = things(paging, since={**SINCE, "overlap": "1ms"}, query={"deleted": "1"})
    table = Table()

    async def meddle() -> None:
        for _ in range(chance.randrange(4)):
            number = chance.choice([0, *hostile_api.records("things")])
            hostile_api.write("things", {"name": f"changed {chance.random()}"}, number)

    async with opened(hostile_api.url, table, things=rule) as source:
        for _ in range(4):
            async for batch in source.batches():
                await meddle()
                await table.apply(batch)
                if batch.keep:
                    break
        await pull(source, table, rounds=2)
    remote = {(str(number),): one["name"] for number, one in hostile_api.records("things").items()}
    assert {key: row["name"] for key, row in table.of().items()} == remote


@pytest.mark.parametrize("paging", NUMBERED)
async def test_a_record_that_slipped_through_between_two_pages_comes_with_the_next_round(
    hostile_api: HostileApi, paging: str
) -> None:
    hostile_api.add("things", count=100, paging=paging, page_size=10)
    hostile_api.plan("page-vanish", path="things", times=1)
    table = Table()
    async with opened(hostile_api.url, table, things=things(paging, since=SINCE)) as source:
        await pull(source, table)
        assert set(range(2, 101)) - set(table.ids), "the remote let no record slip"
        hostile_api.write("things", {"name": "changed"}, 100)
        await pull(source, table, rounds=2)
    if paging in ("page", "offset"):
        # A link tells no total, so that nobody can know; see `Standing`.
        assert set(table.ids) >= set(range(2, 101))


@pytest.mark.parametrize("paging", ["page", "cursor"])
async def test_a_record_of_the_future_hides_none_that_changes_before_it(hostile_api: HostileApi, paging: str) -> None:
    hostile_api.add("things", count=20, page_size=10, paging=paging)
    collection, table = hostile_api.resources["things"].collection, Table()
    collection.records[20] |= {"updated_at": "2999-12-31T23:59:59.000000Z"}
    collection._encoded.clear()
    async with opened(hostile_api.url, table, things=things(paging, since=SINCE)) as source:
        await pull(source, table)
        hostile_api.write("things", {"name": "changed"}, 3)
        asked = len(lists(hostile_api))
        await pull(source, table, rounds=2)
    assert table.of()[("3",)]["name"] == "changed"
    assert table.of()[("20",)]["updated_at"].startswith("2999")
    assert all("updated_since=2026" in one for one in lists(hostile_api)[asked + 2 :]), "all of them were read again"


async def test_an_empty_page_does_not_end_a_list_whose_total_says_more(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=100, page_size=10)
    hostile_api.plan("page-empty", path="things")
    table = Table()
    async with opened(hostile_api.url, table, things=things()) as source:
        await pull(source, table)
    assert set(table.ids) == set(range(1, 101)) - set(range(11, 21))


async def test_a_remote_that_gives_less_a_page_than_asked_loses_nothing(hostile_api: HostileApi) -> None:
    for paging in ("page", "offset"):
        hostile_api.add("things", count=95, page_size=10, paging=paging)
        table = Table()
        style = {name: value for name, value in FOLLOWING[paging].items() if name != "total"}
        rule = {**things(), "paging": {**style, "size": 50}}
        async with opened(hostile_api.url, table, things=rule) as source:
            await pull(source, table)
        assert table.ids == list(range(1, 96))


@pytest.mark.parametrize("paging", ["cursor", "link", "next-url"])
async def test_pages_that_go_round_in_circles_are_told(hostile_api: HostileApi, paging: str) -> None:
    hostile_api.add("things", count=100, page_size=10, paging=paging)
    hostile_api.plan("page-loop", path="things")
    table = Table()
    async with opened(hostile_api.url, table, things=things(paging)) as source:
        with pytest.raises(NextPageLoop):
            await pull(source, table)


async def test_a_second_round_of_unchanged_pages_is_free(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=100, page_size=10, etag="weak")
    table = Table()
    async with opened(hostile_api.url, table, things=things()) as source:
        await pull(source, table)
        hostile_api.write("things", {"name": "changed"}, 55)
        since = len(hostile_api.journal.entries)
        await pull(source, table)
        assert sorted(one.status for one in hostile_api.journal.entries[since:]) == [200, *[304] * 9]
        assert source.facts()["unchanged"] == 9
    assert table.of()[("55",)]["name"] == "changed"


async def test_a_second_round_reads_two_percent_of_the_pages_at_most(hostile_api: HostileApi) -> None:
    for paging in ("page", "cursor"):
        hostile_api.add("things", count=10_000, page_size=50, paging=paging)
        table = Table()
        rule = things(paging, since={**SINCE, "overlap": "1s"})
        async with opened(hostile_api.url, table, things=rule) as source:
            await pull(source, table)
            read = len(hostile_api.journal.entries)
            for number in range(1, 101):
                hostile_api.write("things", {"name": "changed"}, number * 100)
            await pull(source, table)
        assert len(hostile_api.journal.entries) - read <= 0.02 * read
        assert sum(row["name"] == "changed" for row in table.of().values()) == 100


async def test_records_that_cannot_be_read_are_held_and_the_others_arrive(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=20, page_size=10)
    hostile_api.plan("nul-characters", path="things", times=1)
    table = Table()
    async with opened(hostile_api.url, table, things=things()) as source:
        await pull(source, table)
        assert table.held
        assert {one.problem.code for one in table.held} == {"field-unreadable"}
        with pytest.raises(Problem):
            source.read("things", table.held[0].body)
    assert len(table.ids) + len(table.held) == 20 > len(table.held)


@pytest.mark.parametrize("behaviour", ["key-missing", "key-null"])
async def test_a_page_of_which_nothing_can_be_read_is_another_schema(hostile_api: HostileApi, behaviour: str) -> None:
    hostile_api.add("things", count=20, page_size=10)
    hostile_api.plan(behaviour, path="things")
    table = Table()
    async with opened(hostile_api.url, table, things=things()) as source:
        with pytest.raises(RecordsChanged) as caught:
            await pull(source, table)
    assert caught.value.dataset == "things"
    assert not table.ids


async def test_fields_are_derived_and_numbers_keep_their_digits(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=3)
    hostile_api.write("things", {"amount": 0.10, "tags": ["a", "b"], "deep": {"er": 7}}, 1)
    rule = things(derive={"first": "tags[0]", "large": "amount > `0.05`"})
    table = Table()
    columns = ("id", "name", "first", "large", "deep.er", "amount")
    async with opened(hostile_api.url, table, shape_of(columns=columns), things=rule) as source:
        await pull(source, table)
    row = table.of()[("1",)]
    assert (row["first"], row["large"], row["deep.er"], row["amount"]) == ("a", "true", "7", "0.1")


async def test_a_list_below_each_parent_is_read(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=25, page_size=10)
    hostile_api.add("parts", page_size=3)
    for number in range(100):
        hostile_api.write("parts", {"name": f"p{number}", "things_id": number % 20 + 1})
    below: dict[str, Any] = {
        "path": "/things/{thing}/parts", "records": "data", "paging": FOLLOWING["page"],
        "parent": {"resource": "things", "fields": {"thing": "id"}},
    }  # fmt: skip
    shape, table = shape_of("parts", ("id", "name", "thing")), Table()
    for batches in (1, 2, 1_000):
        async with opened(hostile_api.url, table, shape, things=things(), parts=below) as source:
            await pull(source, table, batches=batches)
    assert {key: row["thing"] for key, row in table.of("parts").items()} == {
        (str(number + 1),): str(number % 20 + 1) for number in range(100)
    }


async def test_a_list_that_is_forbidden_below_one_parent_keeps_none_of_the_others_back(
    hostile_api: HostileApi,
) -> None:
    hostile_api.add("things", count=5)
    hostile_api.add("parts", count=10)
    for number in range(1, 11):
        hostile_api.write("parts", {"things_id": (number + 1) // 2}, number)
    hostile_api.plan("403", path="/things/2/parts")
    below: dict[str, Any] = {
        "path": "/things/{things_id}/parts", "records": "data", "paging": FOLLOWING["page"], "since": SINCE,
        "parent": {"resource": "things", "fields": {"things_id": "id"}}, "record": "/parts/{id}",
        "sweep": {"every": "1ms"},
    }  # fmt: skip
    shape, table = shape_of("parts", ("id", "things_id", "updated_at")), Table()
    async with opened(hostile_api.url, table, shape, things=things(), parts=below) as source:
        await pull(source, table, rounds=3)
        told = source.facts()["resources"]["parts"]
        assert {row["things_id"] for row in table.of("parts").values()} == {"1", "3", "4", "5"}
        assert ("/things/2/parts" in told["left_out"], told["since"], told["sweep"]["void"]) == (True, None, 3)
        hostile_api.unplan()
        await pull(source, table)
    assert len(table.of("parts")) == 10


async def test_a_field_that_every_record_had_and_none_has_now_is_another_schema(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=120, page_size=60)
    table = Table()
    async with opened(hostile_api.url, table, things=things()) as source:
        await pull(source, table)
    hostile_api.plan("schema-changed", path="things")
    async with opened(hostile_api.url, table, things=things()) as source:
        with pytest.raises(RecordsChanged) as caught:
            await pull(source, table)
    assert (caught.value.dataset, caught.value.fields) == ("things", ["name"])
    assert all("Name" in row["name"] for row in table.of().values())


@pytest.mark.parametrize("status", ["400", "401", "403", "404", "410", "422"])
async def test_a_resource_that_is_refused_is_waited_for_and_the_others_are_read(
    hostile_api: HostileApi, status: str
) -> None:
    hostile_api.add("things", count=30, page_size=10)
    hostile_api.add("parts", count=5)
    hostile_api.plan(status, path="things")
    table = Table()

    async def holds(part: str) -> bool:
        return (part,) in table.of("parts")

    shapes, resources = (shape_of(), shape_of("parts")), {"things": things(), "parts": {**things(), "path": "/parts"}}
    async with opened(hostile_api.url, table, *shapes, **resources) as source:
        reading = asyncio.create_task(pull(source, table))
        await eventually(lambda: holds("5"))
        hostile_api.write("parts", {"name": "new"})
        await eventually(lambda: holds("6"))
        told = source.facts()["trouble"]
        assert (told["answered"], told["retry"], told["resources"]) == (int(status), "later", ["things"])
        assert not reading.done()
        hostile_api.unplan()
        source._rounds.ask(1)
        await reading
        assert "trouble" not in source.facts()
    assert (table.ids, table.deleted) == (list(range(1, 31)), [])


@pytest.mark.parametrize("paging", ["page", "offset"])
async def test_a_page_that_is_missing_for_a_moment_is_not_the_end(hostile_api: HostileApi, paging: str) -> None:
    hostile_api.add("things", count=50, page_size=10, paging=paging)
    hostile_api.plan("404", path="things", skip=2, times=1)
    style = {name: value for name, value in FOLLOWING[paging].items() if name != "total"}
    table = Table()
    async with opened(hostile_api.url, table, things={**things(), "paging": style}) as source:
        await pull(source, table)
    assert table.ids == list(range(1, 51))


async def test_a_round_tells_how_many_records_it_will_bring_where_the_remote_does(hostile_api: HostileApi) -> None:
    for paging, total in (("page", 400), ("offset", 400), ("cursor", None)):
        hostile_api.add("things", count=400, page_size=10, paging=paging, etag="weak", latency=0.03)
        table = Table()
        async with opened(hostile_api.url, table, things=things(paging)) as source:
            await pull(source, table, batches=1)
            assert source.facts()["round"] == {"of": total}
        table = Table()
        async with opened(hostile_api.url, table, things=things(paging)) as source:
            await pull(source, table)
            assert source.facts()["round"] == {"of": 400}
            await pull(source, table)
            assert source.facts()["round"] == {"of": 0}, "pages that did not change bring nothing"


@pytest.mark.parametrize(("paging", "status"), [("page", "422"), ("offset", "422"), ("page", "404")])
async def test_pages_that_were_read_ahead_of_a_refused_one_are_read_again(
    hostile_api: HostileApi, paging: str, status: str
) -> None:
    hostile_api.add("things", count=400, page_size=10, paging=paging, etag="strong", latency=0.01)
    hostile_api.plan(status, path="things", skip=6, times=1)
    table = Table()
    async with opened(hostile_api.url, table, things=things(paging)) as source:
        await pull(source, table)
    assert table.ids == list(range(1, 401))


@pytest.mark.parametrize(("unit", "years"), [(1, 0), (1000, 0), (1, 5)])
async def test_a_number_of_the_far_future_hides_none_that_changes_before_it(
    hostile_api: HostileApi, unit: int, years: int
) -> None:
    hostile_api.add("things", count=30)
    now = int(time.time()) * unit
    for number in range(1, 30):
        hostile_api.write("things", {"at": now - (100 - number) * (1 + years * 400_000) * unit}, number)
    hostile_api.write("things", {"at": 32_472_144_000 * unit}, 30)
    table, rule = Table(), things(since={"parameter": "at_since", "field": "at"})
    async with opened(hostile_api.url, table, shape_of(columns=("id", "at")), things=rule) as source:
        await pull(source, table, rounds=2)
        # As an API that heeds the parameter gives it: alone.
        hostile_api.delete("things", 30)
        for number in range(1, 30):
            hostile_api.delete("things", number)
        hostile_api.write("things", {"at": 32_472_144_000 * unit})
        await pull(source, table, rounds=2)
    asked = [int(one.partition("at_since=")[2].partition("&")[0]) for one in lists(hostile_api) if "at_since" in one]
    assert asked
    assert all(now - 3600 * unit < one <= now + 3600 * unit for one in asked)

"""Lists of the warehouse, filtered and sorted, are what a plain model of the same records gives."""

import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Any, Final

import httpx2
import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from nms.common.settings import Settings
from nms.warehouse.table import TYPES
from tests.fuzz.extent import Extent
from tests.fuzz.questions import (
    DOCUMENTS,
    FIELDS,
    INDEXED,
    VALUES,
    Leaf,
    Part,
    Record,
    parameters,
    parse,
    parts,
    sorts,
)
from tests.service.warehouse import connected, entity, make_entities, serving

COUNT: Final = 40
LONG: Final = hypothesis.settings.get_current_profile_name() == "fuzz"
PARTS: Final = 10 if LONG else 1
CASES: Final = 2_000 if LONG else 150
"""In each part, which has a token and a database of its own."""
KINDS: Final = entity("kinds", {name: {"type": kind, "index": name in INDEXED[1:]} for name, kind in FIELDS.items()})


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


def make_rows() -> list[dict[str, str | None]]:
    """The texts of records, some of them without a value."""
    rand = random.Random(7)
    ids = {*VALUES["id"], *map(str, rand.sample(range(-8, 10_000), COUNT))}
    pools = {name: DOCUMENTS if name == "meta" else VALUES[name] for name in FIELDS if name != "id"}
    return [
        {"id": id_, **{name: rand.choice(pool) if rand.random() < 0.8 else None for name, pool in pools.items()}}
        for id_ in sorted(ids)
    ]


def sort_records(records: Sequence[Record], order: Sequence[str]) -> list[int]:
    """The ids in an order: null stands behind all values, in front where it descends; the key has the last word."""
    last = order[-1] if order else ""
    names = [
        *order,
        *(["-id" if last.startswith("-") else "id"] if "id" not in {one.lstrip("-") for one in order} else []),
    ]

    def compare(one: Record, other: Record) -> int:
        for name in names:
            field, sign = name.lstrip("-"), -1 if name.startswith("-") else 1
            left, right = one[field], other[field]
            if left != right:
                if left is None or right is None:
                    return sign if left is None else -sign
                return sign if left > right else -sign
        return 0

    return [record["id"] for record in sorted(records, key=cmp_to_key(compare))]


async def walk(client: httpx2.AsyncClient, query: dict[str, str], way: str = "next") -> tuple[list[int], str | None]:
    """The ids of all pages, one after the other, and the last cursor that was sent."""
    found: list[int] = []
    sent: dict[str, str] = {}
    while True:
        answer = await client.get("/kinds", params={**query, **sent})
        assert answer.status_code == 200, (query, answer.text)
        page: dict[str, Any] = answer.json()
        shown = [one["id"] for one in page["items"]]
        found = found + shown if way == "next" else shown + found
        assert len(found) == len(set(found)), (query, "a page comes again")
        if page[way] is None:
            return found, sent.get("cursor")
        sent = {"cursor": page[way]}


def put_together(leaves: Sequence[Leaf], part: Part | None, order: Sequence[str]) -> dict[str, str]:
    query = dict(leaf.parameter for leaf in leaves)
    if part is not None:
        query["filter"] = part.text
    if order:
        query["sort"] = ",".join(order)
    return query


@dataclass
class Asked:
    """Whom to ask, what is there, and how often that was held against the model."""

    client: httpx2.AsyncClient
    records: Sequence[Record]
    cases: int = 0


@pytest.fixture
async def asked(settings: Settings, extent: Extent, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asked]:
    monkeypatch.setenv("WAREHOUSE_WORKER", "false")
    await make_entities(KINDS)
    rows = make_rows()
    columns = ", ".join(f'"{name}"' for name in FIELDS)
    casts = ", ".join(f"${at}::text::{TYPES[kind]}" for at, kind in enumerate(FIELDS.values(), 1))
    async with connected(settings) as person, serving(settings) as client:
        await person.executemany(
            f"insert into entity.kinds ({columns}) values ({casts})", [[row[name] for name in FIELDS] for row in rows]
        )
        asked = Asked(client, [{name: parse(name, text) for name, text in row.items()} for row in rows])
        began = time.monotonic()
        yield asked
    extent.told.append(f"{asked.cases:,} lists beside a model in {time.monotonic() - began:.1f} s")


@pytest.mark.parametrize("number", range(PARTS))
@hypothesis.settings(max_examples=CASES, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.lists(parameters, max_size=2), st.none() | parts, st.tuples(sorts, st.sampled_from([7, 50, 50, 50])))
async def test_lists_are_what_a_model_gives(
    number: int, asked: Asked, leaves: Sequence[Leaf], part: Part | None, page: tuple[Sequence[str], int]
) -> None:
    del number
    order, limit = page
    query = dict(leaf.parameter for leaf in leaves)
    wanted = [leaf.holds for leaf in leaves if leaf.parameter in query.items()]
    if part is not None:
        query["filter"] = part.text
        wanted.append(part.holds)
    if order:
        query["sort"] = ",".join(order)
    expected = sort_records([one for one in asked.records if all(holds(one) for holds in wanted)], order)
    found, cursor = await walk(asked.client, {**query, "limit": str(limit)})
    assert found == expected, query
    asked.cases += 1
    if cursor is not None:
        # The last page is not walked: back from its cursor comes what stands in front of it.
        back, _ = await walk(asked.client, {**query, "limit": "16", "cursor": cursor}, "prev")
        assert expected[: len(back)] == back, query

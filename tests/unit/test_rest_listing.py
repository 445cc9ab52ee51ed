"""Pages of every style are read whole, whatever size, total and end a remote gives them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from nms.common.document import RestSystem
from nms.common.egress.exchange import Answer
from nms.connectors.rest.ask import Ask, resolve_link
from nms.connectors.rest.listing import Listing
from nms.connectors.rest.paging import read_link
from nms.connectors.rest.problems import NextPageLoop, OriginForeign, RemoteMissing, RemoteRefused

URL = "https://api.example.test/v1"
Headers = Mapping[str, str]


@dataclass
class Shelf:
    """How a remote gives `count` records: at most `most` a page, and what it says of all and behind the end."""

    paging: dict[str, Any]
    count: int = 0
    most: int = 10
    total: str = "none"
    behind: str = "empty"
    heeds: bool = True
    concurrency: int = 4
    asked: list[Ask] = field(default_factory=list)

    @property
    def system(self) -> RestSystem:
        things = {"path": "/things", "records": "data", "paging": self.paging, "validators": False}
        document = {"kind": "system", "name": "shop", "type": "rest", "url": URL, "concurrency": self.concurrency}
        return RestSystem.model_validate({**document, "resources": {"things": things}})

    async def get(self, ask: Ask) -> Answer:
        """The page that is asked for."""
        self.asked.append(ask)
        await asyncio.sleep(0)
        size = min(self.most, int(ask.query.get("size", self.most)))
        start = self.start_of(ask, size) if self.heeds else 0
        if start >= self.count and start > 0 and self.behind == "missing":
            raise RemoteMissing("no such page")
        if start >= self.count and start > 0 and self.behind == "refused":
            raise RemoteRefused("no such page")
        if start >= self.count and self.behind == "last":
            start = max(0, (self.count - 1) // size * size)
        records = [{"id": number} for number in range(start, min(start + size, self.count))]
        total = {"none": None, "right": self.count, "zero": 0, "page": len(records)}[self.total]
        body: dict[str, Any] = {"data": records} | ({} if total is None else {"total": total})
        headers = self.tell(start + size, body) if start + size < self.count else {}
        return Answer(200, headers, orjson.dumps(body))

    def start_of(self, ask: Ask, size: int) -> int:
        style, at = self.paging["style"], int(ask.query.get("at", 0))
        if style == "page":
            return max(0, at - int(self.paging.get("first", 1))) * size
        return int(ask.path.partition("?at=")[2] or 0) if "?" in ask.path else at

    def tell(self, following: int, body: dict[str, Any]) -> Headers:
        """How a page says where the next one is."""
        if "next_header" in self.paging:
            return {"x-next": str(following)}
        if self.paging["style"] == "link":
            return {"link": f'<{URL}/things?at=0>; rel="first", <things?at={following}>; title="a, b"; rel="last next"'}
        body["next"] = following if self.paging["style"] == "cursor" else f"{URL}/things?at={following}"
        return {}

    async def read(self, place: Any = None) -> tuple[list[int], bool]:
        """The ids that a reading finds, and whether it says that it was not whole."""
        system, found, moved = self.system, [], True
        listing = Listing(self, system.resources["things"], "/things", {})  # type: ignore[arg-type]
        async for fetched in listing.pages(place):
            found += [record["id"] for record in (fetched.body or {}).get("data", [])]
            moved = fetched.moved
        return found, moved


@st.composite
def numbered(draw: st.DrawFn) -> Shelf:
    size, most = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    total = draw(st.sampled_from(["none", "right", "zero", "page"]))
    paging: dict[str, Any] = {"style": draw(st.sampled_from(["page", "offset"])), "parameter": "at", "size": size}
    paging |= {} if total == "none" else {"total": "total"}
    paging |= draw(st.sampled_from([{}, {"size_parameter": "size"}]))
    paging |= draw(st.sampled_from([{}, {"first": 0}])) if paging["style"] == "page" else {}
    behind = draw(st.sampled_from(["empty", "last", "missing", *(["refused"] if total == "right" else [])]))
    return Shelf(paging, draw(st.integers(0, 60)), most, total, behind, concurrency=draw(st.integers(1, 8)))


@given(numbered())
def test_numbered_pages_are_read_whole(shelf: Shelf) -> None:
    try:
        found, moved = asyncio.run(shelf.read())
    except NextPageLoop:
        event("told")
        size = min(shelf.most, shelf.paging["size"] if "size_parameter" in shelf.paging else shelf.most)
        assert shelf.behind == "last", "only a remote that gives its only page again and again may look as if it"
        assert shelf.count <= size, "heeded no number"
        return
    assert set(found) == set(range(shelf.count))
    if shelf.total == "right":
        assert moved == (len(found) != shelf.count)
    pages = -(-shelf.count // min(shelf.most, shelf.paging["size"]))
    assert len(shelf.asked) <= 2 * pages + 3 * shelf.concurrency + 3


@given(numbered(), st.integers(0, 60))
def test_a_reading_that_goes_on_in_the_middle_misses_nothing_behind_it(shelf: Shelf, done: int) -> None:
    shelf.behind = "empty"
    size = min(shelf.most, shelf.paging["size"] if "size_parameter" in shelf.paging else shelf.most)
    pages = min(done, shelf.count) // size
    at = pages + shelf.paging.get("first", 1) if shelf.paging["style"] == "page" else pages * size
    found, _ = asyncio.run(shelf.read({"at": at}))
    assert set(found) >= set(range(pages * size, shelf.count))


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 95])
@pytest.mark.parametrize(
    "paging",
    [
        {"style": "cursor", "parameter": "at", "next": "next"},
        {"style": "cursor", "parameter": "at", "next_header": "X-Next"},
        {"style": "link"},
        {"style": "next-url", "next": "next"},
    ],
    ids=["cursor", "cursor in a header", "link", "next-url"],
)
async def test_pages_that_tell_the_next_one_are_read_once_each(paging: dict[str, Any], count: int) -> None:
    shelf = Shelf(paging, count)
    assert await shelf.read() == (list(range(count)), False)
    assert len(shelf.asked) == max(1, -(-count // 10))


@pytest.mark.parametrize("total", ["none", "right"])
async def test_a_remote_that_heeds_no_number_is_told(total: str) -> None:
    paging = {"style": "page", "parameter": "at", "size": 10, **({} if total == "none" else {"total": "total"})}
    with pytest.raises(NextPageLoop, match="`at` seems not to be heeded"):
        await Shelf(paging, 95, total=total, heeds=False).read()


async def test_a_cursor_that_leads_back_is_told() -> None:
    with pytest.raises(NextPageLoop):
        await Shelf({"style": "cursor", "parameter": "at", "next": "next"}, 95, heeds=False).read()


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<https://a/?p=2>; rel="next"', "https://a/?p=2"),
        ("<b>;rel=next", "b"),
        ('<a,b;c>; rel="prev", <d> ; title="x; rel=\\"next\\"" ; REL="up Next"', "d"),
        ('<a>; rel="prev"', None),
        ('<a>; title="rel=next"', None),
        ("", None),
        ("rel=next", None),
    ],
)
def test_links_are_read_as_their_standard_says(header: str, target: str | None) -> None:
    assert read_link(header) == target


def test_a_link_header_made_to_be_slow_is_read_at_once() -> None:
    assert read_link("<a>;x" + " " * 60_000 + "!") is None
    assert read_link("<a" * 20_000) is None


@pytest.mark.parametrize("link", ["https://other.test/x", "//other.test/x", "http://api.example.test/", "javascript:x"])
def test_a_link_to_another_origin_is_refused(link: str) -> None:
    with pytest.raises(OriginForeign):
        resolve_link(URL, f"{URL}/things", link)


async def test_the_next_page_is_asked_for_while_this_one_is_worked_on() -> None:
    shelf = Shelf({"style": "cursor", "parameter": "at", "next": "next"}, 30)
    system = shelf.system
    pages = Listing(shelf, system.resources["things"], "/things", {}).pages()  # type: ignore[arg-type]
    await anext(pages)
    await asyncio.sleep(0)
    assert len(shelf.asked) == 2
    await pages.aclose()


async def test_more_than_may_be_under_way_wait_for_their_turn_only_where_the_end_is_known() -> None:
    for total, most in (("right", 8), ("none", 4)):
        shelf = Shelf({"style": "page", "parameter": "at", "total": "total"}, 400, total=total)
        system, seen, peak = shelf.system, 0, 0
        pages = Listing(shelf, system.resources["things"], "/things", {}).pages()  # type: ignore[arg-type]
        async for _ in pages:
            seen += 1
            await asyncio.sleep(0)
            peak = max(peak, len(shelf.asked) - seen)
        assert peak == most - 1

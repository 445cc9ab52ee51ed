"""The arithmetic of pages: whatever a remote clamps, repeats or leaves unsaid, no record is passed over."""

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.common.document.resource import CursorPages, LinkedPages, NumberedPages
from nms.common.egress.exchange import Answer
from nms.connectors.rest.paging import Numbers, Tally, following, read_link

BASE = "https://api.example.com/v1"


def numbered(style: Literal["page", "offset"], size: int, first: int | None = None) -> NumberedPages:
    return NumberedPages(style=style, parameter="at", size=size, first=first)


def read_all(paging: NumberedPages, records: range, given: int, *, total: bool, clamps: bool = False) -> list[int]:
    """Read a list of a remote that gives at most so many records a page, as the listing does."""
    numbers, found = Numbers(paging), list[int]()
    for _ in range(1_000):
        at = numbers.take()
        start = at - paging.start if paging.style == "offset" else (at - paging.start) * given
        if clamps and start >= len(records) > 0:
            start = (len(records) - 1) // given * given
        page = records[start : start + given]
        found += page
        told = len(records) if total else None
        numbers.at = numbers.behind(at, len(page), told)
        if numbers.is_last(at, len(page), told, page):
            return found
    raise AssertionError("the list has no end")


@given(
    style=st.sampled_from(["page", "offset"]),
    size=st.integers(1, 20),
    given=st.integers(1, 20),
    count=st.integers(0, 100),
    total=st.booleans(),
)
def test_all_records_come_whatever_a_remote_gives_a_page(
    style: Literal["page", "offset"], size: int, given: int, count: int, total: bool
) -> None:
    found = read_all(numbered(style, size), range(count), given, total=total)
    assert found == list(range(count))


@given(size=st.integers(1, 20), count=st.integers(21, 100))
def test_a_remote_that_repeats_its_last_page_for_ever_comes_to_an_end(size: int, count: int) -> None:
    found = read_all(numbered("page", size), range(count), size, total=False, clamps=True)
    assert set(found) == set(range(count))


def test_an_empty_page_before_the_total_does_not_end_a_list() -> None:
    numbers = Numbers(numbered("page", 10))
    assert numbers.take() == 1
    assert numbers.behind(1, 10, 30) == 2
    assert not numbers.is_last(1, 10, 30, None)
    assert numbers.behind(2, 0, 30) == 3
    assert not numbers.is_last(2, 0, 30, None)
    assert numbers.is_last(3, numbers.behind(3, 10, 30), 30, None)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('<https://api.example.com/a?page=2>; rel="next"', "https://api.example.com/a?page=2"),
        ('</a?x=1,2>; rel="first", </a?x=3;4>; title="a, \\"b\\"; c"; rel="prev next"', "/a?x=3;4"),
        ("</a>; rel=next", "/a"),
        ("</a>; REL=Next; foo", "/a"),
        ('</a>; rel="previous"', None),
        ("garbage", None),
        ("", None),
    ],
)
def test_the_next_link_is_found(header: str, found: str | None) -> None:
    assert read_link(header) == found


@pytest.mark.parametrize(
    ("told", "place"),
    [("abc", {"cursor": "abc"}), (17, {"cursor": "17"}), (None, None), ("", None), (False, None), ([], None)],
)
def test_a_cursor_is_a_text_or_a_number(told: Any, place: Any) -> None:
    paging = CursorPages(style="cursor", parameter="after", next="meta.next")
    assert following(paging, BASE, BASE + "/a", Answer(200, {}), {"meta": {"next": told}}) == place


def test_links_are_read_against_the_page_that_they_stand_on() -> None:
    paging = LinkedPages(style="next-url", next="next")
    place = following(paging, BASE, BASE + "/a?page=1", Answer(200, {}), {"next": "?page=2"})
    assert place == {"url": BASE + "/a?page=2"}


def test_what_does_not_add_up_has_moved() -> None:
    calm, shrunk, short = Tally(), Tally(), Tally()
    for tally, pages in ((calm, [(2, 3), (1, 3)]), (shrunk, [(2, 3), (0, 2)]), (short, [(2, 3)])):
        for count, total in pages:
            tally.note(count, total)
    assert [calm.is_moved, shrunk.is_moved, short.is_moved] == [False, True, True]

"""Cursors: they come back as they went, and nobody else can make one."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.common.paging import CursorRefused, Cursors

SECRET = b"k8Vf3sQ0pZx7Lr2Wm9Yt4Nc6Bd1Hj5Ga"
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.uuids(),
    st.datetimes(timezones=st.just(UTC)),
)


@given(st.lists(scalars, min_size=1, max_size=4))
def test_a_key_comes_back_as_it_went(key: list[object]) -> None:
    cursors = Cursors(SECRET, "/runs?")
    assert cursors.open(cursors.seal(key)) == tuple(key)


def test_types_that_json_lacks_come_back_as_themselves() -> None:
    cursors = Cursors(SECRET, "/runs?")
    key = (datetime(2026, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=2))), UUID(int=7))
    assert cursors.open(cursors.seal(key)) == key


@pytest.mark.parametrize("size", [200, 2_000, 200_000])
def test_a_long_key_that_packs_well_makes_a_short_cursor(size: int) -> None:
    cursors = Cursors(SECRET, "/posts?")
    sealed = cursors.seal(["after", "ä" * size, "7"])
    assert len(sealed) < 1_000
    assert cursors.open(sealed) == ("after", "ä" * size, "7")


@given(st.text(max_size=80))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(CursorRefused):
        Cursors(SECRET, "/runs?").open(text)


def test_a_changed_cursor_is_refused() -> None:
    cursors = Cursors(SECRET, "/runs?")
    sealed = cursors.seal(["alpha"])
    for position in range(len(sealed) - 1):
        changed = sealed[:position] + ("A" if sealed[position] != "A" else "B") + sealed[position + 1 :]
        with pytest.raises(CursorRefused):
            cursors.open(changed)


@pytest.mark.parametrize("about", ["/pipelines?", "/runs?state=failed"])
def test_a_cursor_of_another_list_or_filter_is_refused(about: str) -> None:
    with pytest.raises(CursorRefused):
        Cursors(SECRET, about).open(Cursors(SECRET, "/runs?").seal(["alpha"]))


def test_a_cursor_of_another_installation_is_refused() -> None:
    with pytest.raises(CursorRefused):
        Cursors(SECRET[::-1], "/runs?").open(Cursors(SECRET, "/runs?").seal(["alpha"]))

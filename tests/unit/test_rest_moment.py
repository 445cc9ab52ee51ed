"""When records changed: moments of remotes are compared as what they are, and moved back as they are written."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.connectors.rest.moment import Form, newest, read_moment


@pytest.mark.parametrize(
    ("value", "seconds", "back"),
    [
        ("2026-01-01T00:00:01.123456Z", 2, "2025-12-31T23:59:59.123456Z"),
        ("2026-01-01T00:00:01Z", 0.5, "2026-01-01T00:00:00Z"),
        ("2026-01-01 00:01+02:00", 60, "2026-01-01 00:00+02:00"),
        ("2026-01-01T00:00:01.12", 1, "2026-01-01T00:00:00.12"),
        ("2026-01-01", 1, "2025-12-31"),
        (1_700_000_000, 10, "1699999990"),
        (1_700_000_000_000, 10, "1699999990000"),
    ],
)
def test_a_moment_is_moved_back_in_its_own_spelling(value: Any, seconds: float, back: str) -> None:
    moment = read_moment(value)
    assert moment is not None
    assert moment.back(seconds).text == back


@pytest.mark.parametrize(
    ("value", "form", "asked"),
    [
        ("2026-01-01T00:00:01.5Z", "as-is", "2026-01-01T00:00:01.5Z"),
        ("2026-01-01T00:00:01.5Z", "seconds", "1767225601"),
        ("2026-01-01T02:00:01.5+02:00", "milliseconds", "1767225601500"),
        (1767225601500, "seconds", "1767225601"),
        (1767225601, "milliseconds", "1767225601000"),
        (17, "as-is", "17"),
    ],
)
def test_a_moment_is_asked_for_in_the_form_of_the_remote(value: Any, form: Form, asked: str) -> None:
    moment = read_moment(value)
    assert moment is not None
    assert moment.ask(form) == asked


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        ("2026-01-01T00:00:00.5Z", "as-is", "2026-01-01T00:00:00.5Z"),
        ("2999-01-01T00:00:00.500Z", "as-is", "2026-01-01T00:00:01.000Z"),
        ("2999-01-01 02:00+02:00", "as-is", "2026-01-01 02:00+02:00"),
        ("9999-12-31", "as-is", "2026-01-01"),
        (32472144000, "seconds", "1767225601"),
        (32472144000000, "as-is", "32472144000000"),
        ("32472144000000", "milliseconds", "1767225601000"),
    ],
)
def test_a_time_beyond_now_is_cut_to_it_and_a_counter_is_not(value: Any, form: Form, text: str) -> None:
    moment = read_moment(value)
    assert moment is not None
    assert moment.until(datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC), form).text == text


@pytest.mark.parametrize(
    ("value", "form", "clock"),
    [
        ("2020-01-01", "as-is", True),
        (17, "seconds", True),
        (17, "as-is", False),
        (1767225601, "as-is", True),
        (1767225601500, "as-is", True),
        (1767225601 - 100_000, "as-is", True),
        (1767225601 + 100_000, "as-is", False),
        (1767225601 - 500 * 86_400, "as-is", True),
        (631_152_000, "as-is", True),
        (631_151_999, "as-is", False),
        (631_151_999_000, "as-is", False),
        (1767225601 * 10**6, "as-is", False),
    ],
)
def test_a_number_since_1990_is_a_time_and_another_a_counter(value: Any, form: Form, clock: bool) -> None:
    moment = read_moment(value)
    assert moment is not None
    assert moment.is_clock(form, datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)) is clock


def test_times_are_compared_by_what_they_mean() -> None:
    values = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z", "2026-01-01T01:00:00+02:00", "nonsense", None, True]
    found = newest(values)
    assert found is not None
    assert found.text == "2026-01-01T00:00:00.5Z"
    assert newest(["nonsense", None]) is None
    assert newest([]) is None


@given(st.lists(st.datetimes().filter(lambda each: each.year >= 1000), min_size=1, max_size=5))
def test_the_newest_of_equal_spellings_is_the_newest(times: list[Any]) -> None:
    texts = [each.isoformat(timespec="microseconds") + "Z" for each in times]
    found = newest(texts)
    assert found is not None
    assert found.text == max(texts)

"""What remotes say about coming again is read in every form they have, and never believed blindly."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.common.rate_advice import Allowed, Wait, pause, read_allowed, read_date, read_wait

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
CAP = 3600.0
EPOCH = int(NOW.timestamp())
DAYS = "Mon Tue Wed Thu Fri Sat Sun".split()
LONG_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def forms(at: datetime) -> list[str]:
    """The three forms of an HTTP date."""
    day, month = at.weekday(), MONTHS[at.month - 1]
    return [
        f"{DAYS[day]}, {at:%d} {month} {at.year:04} {at:%H:%M:%S} GMT",
        f"{LONG_DAYS[day]}, {at:%d}-{month}-{at.year % 100:02} {at:%H:%M:%S} GMT",
        f"{DAYS[day]} {month} {at.day:2} {at:%H:%M:%S} {at.year:04}",
    ]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0), ("7", 7), (" 7 ", 7), ("1.5", 1.5), ("007", 7), ("3600", 3600),
        (str(EPOCH + 90), 90), (str((EPOCH + 90) * 1000), 90), (str(EPOCH - 90), 0),
        *((form, 30) for form in forms(NOW + timedelta(seconds=30))),
        *((form, 0) for form in forms(NOW - timedelta(days=3))),
        ("Sat, 21 Nov 2026 12:00:60 GMT", 59),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_seconds_and_in_three_forms_of_a_date(value: str, seconds: float) -> None:
    assert read_wait({"retry-after": value}, NOW, CAP) == Wait(seconds, seconds)


def test_ten_days_are_capped_and_the_cap_is_told() -> None:
    for value in (str(864_000), *forms(NOW + timedelta(days=10))):
        wait = read_wait({"retry-after": value}, NOW, CAP)
        assert wait == Wait(CAP, 864_000)
        assert wait.capped
    assert read_wait({"retry-after": "9" * 15}, NOW, CAP).seconds == CAP  # type: ignore[union-attr]
    assert not Wait(5, 5).capped


@pytest.mark.parametrize(
    "value",
    ["", "-5", "soon", "1e9", "inf", "nan", "0x10", "1,5", "+5", "5s", "1 2", "\u0665", "9" * 16, "1" * 5000, "null",
     "Sat, 31 Feb 2026 12:00:00 GMT", "Sat, 21 Nov 2026 25:00:00 GMT", "Sat, 21 Nom 2026 12:00:00 GMT",
     "Sat, 21 Nov 2026 12:00:00 CET", "2026-11-21T12:00:00Z", "Sat, 21 Nov 2026", "Sat, 00 Nov 2026 12:00:00 GMT"],
)  # fmt: skip
def test_garbage_in_retry_after_is_as_if_nothing_was_said(value: str) -> None:
    assert read_wait({"retry-after": value}, NOW, CAP) is None


def test_a_date_counts_from_the_clock_of_the_remote() -> None:
    theirs = NOW - timedelta(hours=5)
    headers = {"date": forms(theirs)[0], "retry-after": forms(theirs + timedelta(seconds=20))[0]}
    assert read_wait(headers, NOW, CAP) == Wait(20, 20)
    assert read_wait({"date": "garbage", "retry-after": forms(NOW)[0]}, NOW, CAP) == Wait(0, 0)


@given(st.datetimes(min_value=datetime(1985, 1, 1), max_value=datetime(2070, 1, 1)))  # noqa: DTZ001
def test_all_three_forms_of_a_date_are_one_moment(at: datetime) -> None:
    at = at.replace(microsecond=0, tzinfo=UTC)
    assert [read_date(form) for form in forms(at)] == [at] * 3


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"ratelimit": '"default";r=50;t=30', "ratelimit-policy": '"default";q=100;w=60'},
         [Allowed("default", 50, 30, 100, 60)]),
        ({"ratelimit": '"burst";r=0;t=2,"daily";r=900', "ratelimit-policy": '"burst";q=10;w=1;pk=:c2:,"daily";q=1000'},
         [Allowed("burst", 0, 2, 10, 1), Allowed("daily", 900, None, 1000)]),
        ({"ratelimit": 'default;r=5;t=9'}, [Allowed("default", 5, 9)]),
        ({"ratelimit": '"a, b;c\\"";r=1'}, [Allowed('a, b;c\\"', 1)]),
        ({"ratelimit": "limit=100, remaining=50, reset=30"}, [Allowed("", 50, 30, 100)]),
        ({"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "3", "ratelimit-reset": "7"},
         [Allowed("", 3, 7, 100)]),
        ({"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "0", "x-ratelimit-reset": str(EPOCH + 60)},
         [Allowed("", 0, 60, 5000)]),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str((EPOCH + 60) * 1000)}, [Allowed("", 0, 60)]),
        ({"x-rate-limit-remaining": "1", "x-rate-limit-reset": forms(NOW + timedelta(seconds=4))[0]},
         [Allowed("", 1, 4)]),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(EPOCH + 9), "x-ratelimit-reset-after": "8.25"},
         [Allowed("", 0, 8.25)]),
        ({"x-ratelimit-remaining": "many", "x-ratelimit-reset": "7"}, []),
        ({"x-ratelimit-remaining": "-1"}, []),
        ({"x-ratelimit-remaining": "4", "x-ratelimit-reset": "soon", "x-ratelimit-limit": "?"}, [Allowed("", 4)]),
        ({"ratelimit": '"a";r=x'}, []), ({"ratelimit": ';;;,,,"'}, []), ({"ratelimit": '"' * 3000}, []), ({}, []),
    ],
)  # fmt: skip
def test_quotas_are_read_in_the_draft_and_in_vendors_forms(headers: dict[str, str], expected: list[Allowed]) -> None:
    assert read_allowed(headers, NOW) == expected


def test_a_spent_quota_is_a_wait_and_an_unspent_one_is_none() -> None:
    assert read_wait({"ratelimit": '"a";r=0;t=9, "b";r=0;t=30, "c";r=5;t=90'}, NOW, CAP) == Wait(30, 30)
    assert read_wait({"ratelimit": '"a";r=1;t=9'}, NOW, CAP) is None
    assert read_wait({"ratelimit": '"a";r=0;t=9', "retry-after": "2"}, NOW, CAP) == Wait(2, 2)
    assert read_wait({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9999"}, NOW, 60) == Wait(60, 9999)


NAMES = ["retry-after", "date", "ratelimit", "ratelimit-policy", "ratelimit-limit", "ratelimit-remaining",
         "ratelimit-reset", "x-ratelimit-remaining", "x-ratelimit-reset", "x-rate-limit-reset-after"]  # fmt: skip
VALUES = st.text(st.sampled_from('0123456789 ;,="abrtqw.-\\:GMT') | st.characters(), max_size=60)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_no_answer_makes_it_fail_or_wait_beyond_the_cap(headers: dict[str, str]) -> None:
    wait = read_wait(headers, NOW, CAP)
    assert wait is None or 0 <= wait.seconds <= min(CAP, wait.asked)
    for one in read_allowed(headers, NOW):
        assert all(number is None or number >= 0 for number in (one.remaining, one.reset, one.limit, one.window))


@given(st.integers(1, 10_000), st.none() | st.floats(0, CAP), st.floats(0, 1))
def test_a_pause_is_never_shorter_than_asked_and_never_nothing(attempt: int, asked: float | None, luck: float) -> None:
    wait = None if asked is None else Wait(asked, asked)
    seconds = pause(attempt, wait, base=0.5, cap=60.0, chance=lambda: luck)
    assert 0.25 <= seconds <= max(60.0, 1.1 * (asked or 0))
    assert asked is None or seconds >= asked

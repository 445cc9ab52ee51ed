"""Backoff, rates and rhythms: the pure parts of runs."""

from datetime import UTC, datetime, timedelta

import pytest

from nms.common.clock import backoff
from nms.common.lease import Meter
from nms.common.problem import Malformed
from nms.common.schedule import Schedule


def test_backoff_doubles_to_its_cap_and_spreads_over_the_upper_half() -> None:
    assert [backoff(n, base=1, cap=60, chance=lambda: 1.0) for n in (0, 1, 2, 3, 7, 10_000)] == [1, 1, 2, 4, 60, 60]
    assert backoff(3, base=1, cap=60, chance=lambda: 0.0) == 2
    assert len({backoff(5, base=1, cap=60) for _ in range(50)}) > 40


def test_a_meter_tells_rate_and_time_of_arrival() -> None:
    times = iter([0.0, 1.0, 2.0])
    meter = Meter(lambda: next(times))
    assert meter.read({"current": 0, "total": 100})["rate"] is None
    assert meter.read({"current": 10, "total": 100}) == {"current": 10, "total": 100, "rate": 10.0, "eta": 9.0}
    assert meter.read({"current": 20, "total": 100})["eta"] == 8.0


def test_a_new_phase_starts_its_own_rate() -> None:
    times = iter([0.0, 1.0, 2.0, 3.0])
    meter = Meter(lambda: next(times))
    meter.read({"current": 0, "phase": "copy"})
    assert meter.read({"current": 50, "phase": "copy"})["rate"] == 50
    assert meter.read({"current": 1, "phase": "index"})["rate"] is None
    assert meter.read({"current": 3, "phase": "index"}) == {"current": 3, "phase": "index", "rate": 2.0, "eta": None}


def test_cron_is_read_in_its_zone() -> None:
    schedule = Schedule("n", "k", "s", cron="30 2 * * *", zone="Europe/Berlin")
    assert schedule.next_after(datetime(2026, 7, 1, 0, 0, tzinfo=UTC)) == datetime(2026, 7, 1, 0, 30, tzinfo=UTC)
    assert schedule.next_after(datetime(2026, 12, 1, 0, 0, tzinfo=UTC)) == datetime(2026, 12, 1, 1, 30, tzinfo=UTC)


def test_an_interval_keeps_its_grid_after_missed_moments() -> None:
    schedule = Schedule("n", "k", "s", every=timedelta(minutes=10))
    due = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    assert schedule.next_on_grid(due, due + timedelta(minutes=25)) == due + timedelta(minutes=30)
    assert schedule.next_on_grid(due, due) == due + timedelta(minutes=10)


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule("n", "k", "s"),
        Schedule("n", "k", "s", cron="* * * * *", every=timedelta(1)),
        Schedule("n", "k", "s", cron="61 * * * *"),
        Schedule("n", "k", "s", cron="0 0 30 2 *"),
        Schedule("n", "k", "s", cron="0 0 * * *", zone="Mars/Base"),
        Schedule("n", "k", "s", cron="0 0 * * *", zone="../etc/passwd"),
        Schedule("n", "k", "s", every=timedelta(0)),
    ],
)
def test_a_rhythm_that_is_none_is_refused(schedule: Schedule) -> None:
    with pytest.raises(Malformed):
        schedule.next_after(datetime(2026, 1, 1, tzinfo=UTC))

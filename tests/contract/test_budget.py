"""Many workers in many processes together stay within a remote's limit, and use it."""

import asyncio
import sys
from collections import deque

import pytest

from nms.common.budget import Budget, DatabaseBuckets, opened_budget
from nms.common.cache.bucket import Booking, Bucket
from nms.common.cache.local import LocalCache
from nms.common.db.repositories import BaseNmsRepository
from nms.common.problem import Unavailable
from nms.common.settings import Settings, get_settings
from tests.waiting import Stopwatch

LIMIT, SECONDS, PROCESSES = 100, 3.0, 4


@pytest.fixture
async def buckets(settings: Settings) -> DatabaseBuckets:
    return DatabaseBuckets(await BaseNmsRepository.open())


async def test_the_database_keeps_buckets_as_a_cache_does(buckets: DatabaseBuckets) -> None:
    # Slow, for on a busy machine seconds pass between two bookings.
    bucket = Bucket("b", 0.005, 10.0)
    bookings = await asyncio.gather(*(buckets.book(bucket) for _ in range(30)))
    assert sum(booking.granted for booking in bookings) == 10
    slow = Bucket("slow", 0.001)
    booked = await asyncio.gather(*(buckets.book(slow, ahead=60_000.0) for _ in range(12)))
    waits = sorted(booking.wait for booking in booked)
    assert all(booking.granted for booking in booked)
    assert all(abs(wait - 1000 * place) < 200 for place, wait in enumerate(waits))
    refused = await buckets.book(slow, ahead=5_000.0)
    assert not refused.granted
    assert abs(refused.wait - 12_000) < 200
    with pytest.raises(ValueError, match="never holds"):
        await buckets.book(bucket, 11.0)


async def test_whoever_is_refused_at_the_same_moment_is_told_the_whole_wait(buckets: DatabaseBuckets) -> None:
    for n in range(50):
        bucket = Bucket(f"crowd{n}", 1 / 1200, 3.0)
        booked = await asyncio.gather(*(buckets.book(bucket) for _ in range(6)))
        assert sorted(one.granted for one in booked) == [False] * 3 + [True] * 3
        assert all(one.wait > 1100 for one in booked if not one.granted), "a wait that forgot what others booked"


async def test_a_hold_holds_in_the_database_too(buckets: DatabaseBuckets) -> None:
    for bucket in (Bucket("new", 100.0, 5.0), Bucket("known", 100.0, 5.0)):
        await buckets.book(bucket) if bucket.name == "known" else None
        await buckets.hold(bucket, 3000.0)
        await buckets.hold(bucket, 1.0)
        booking = await buckets.book(bucket)
        assert not booking.granted
        assert 2900 < booking.wait <= 3000


class Away:
    """A cache that does not answer."""

    async def book(self, bucket: Bucket, amount: float = 1.0, ahead: float = 0.0) -> Booking:
        raise Unavailable("away")

    async def hold(self, bucket: Bucket, seconds: float) -> None:
        raise Unavailable("away")


async def test_while_redis_is_away_the_database_keeps_the_budget(buckets: DatabaseBuckets) -> None:
    budget, bucket = Budget(Away(), buckets), Bucket("b", 0.001)
    await budget.turn(bucket)
    assert not (await budget.book(bucket)).granted
    await budget.hold(bucket, 5000.0)
    assert (await buckets.book(bucket)).wait > 4900
    with pytest.raises(Unavailable):
        await Budget(Away()).turn(bucket)
    with pytest.raises(Unavailable):
        await Budget(Away()).hold(bucket, 1.0)


async def test_a_turn_that_is_far_off_is_waited_for_and_can_be_given_up() -> None:
    cache, bucket = LocalCache(), Bucket("b", 100.0)
    await cache.hold(bucket, 1.2)
    watch = Stopwatch()
    await Budget(cache).turn(bucket)
    assert watch.real_seconds() > 1.15
    assert watch.seconds() < 5
    await cache.hold(bucket, 1000)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Budget(cache).turn(bucket), 0.1)


async def send_from_processes(shared: str) -> list[float]:
    """When the workers of all processes sent their requests, by the clock of the machine, from 0."""
    command = [sys.executable, "-m", "tests.contract.budget_worker", shared, str(SECONDS), str(LIMIT)]
    pipe = asyncio.subprocess.PIPE
    started = [await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe) for _ in range(PROCESSES)]
    for process in started:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    said = await asyncio.gather(*(process.communicate(b"go\n") for process in started))
    times = sorted(float(at) for out, _ in said for at in out.split())
    return [at - times[0] for at in times if at - times[0] < SECONDS]


def judge(times: list[float]) -> tuple[float, float]:
    """What a remote with this limit in any second says: the share of 429, and how much of the budget was used."""
    taken: deque[float] = deque()
    served = 0
    for at in times:
        while taken and taken[0] <= at - 1.0:
            taken.popleft()
        if len(taken) < LIMIT:
            taken.append(at)
            served += 1
    return 1 - served / len(times), served / (LIMIT * SECONDS)


@pytest.mark.parametrize("place", ["database", "redis"])
async def test_eight_workers_in_four_processes_stay_within_the_limit_and_use_it(
    place: str, settings: Settings, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "redis":
        monkeypatch.setenv("REDIS_DSN", request.getfixturevalue("redis"))
    get_settings.cache_clear()
    async with opened_budget(get_settings()) as budget:
        assert isinstance(budget._buckets, DatabaseBuckets) == (place == "database")
    # Turns that nobody took while the whole machine stood still are lost: then it is seen again, twice at most.
    seen: list[tuple[float, float]] = []
    while not seen or (seen[-1][0] > 0.01 or seen[-1][1] < 0.95):
        assert len(seen) < 3, f"refused, and used of the budget: {seen}"
        seen.append(judge(await send_from_processes("yes")))


async def test_workers_that_do_not_share_are_seen(settings: Settings) -> None:
    # A machine that stands still asks too seldom to be refused.
    for _ in range(3):
        refused, _ = judge(await send_from_processes("no"))
        if refused > 0.3:
            return
    raise AssertionError("nobody was refused although each process took the whole limit")

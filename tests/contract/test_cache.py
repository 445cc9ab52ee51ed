"""What every cache promises, and what happens while Redis is away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from nms.common.cache.bucket import Bucket
from nms.common.cache.cache import Cache, open_cache
from nms.common.cache.degrading import DegradingCache
from nms.common.cache.local import LocalCache
from nms.common.cache.redis import RedisCache
from nms.common.problem import Unavailable
from nms.common.settings import Settings
from tests.services.redis import DATABASES, RedisServer
from tests.services.shared import Session
from tests.waiting import PATIENCE, Stopwatch, eventually


@pytest.fixture(params=["local", "redis", "degrading"])
async def cache(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cache]:
    monkeypatch.setattr("nms.common.cache.redis.SECONDS", PATIENCE)
    made: Cache = LocalCache()
    if request.param != "local":
        made = RedisCache(request.getfixturevalue("redis"))
    if request.param == "degrading":
        made = DegradingCache(made, LocalCache())
    yield made
    await made.close()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis").launch()
    yield server
    server.end()


async def test_a_value_is_kept_and_forgotten(cache: Cache) -> None:
    await cache.check()
    assert await cache.get("a") is None
    await cache.set("a", b"\x00\xff one", 60)
    assert await cache.get("a") == b"\x00\xff one"
    await cache.set("a", b"", 60)
    assert await cache.get("a") == b""
    await cache.delete("a")
    await cache.delete("a")
    assert await cache.get("a") is None


async def test_a_value_ends_with_its_time(cache: Cache) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await cache.set("a", b"1", 0.05)
    assert await cache.get("a") == b"1" or loop.time() - began > 0.05

    async def gone() -> bool:
        return await cache.get("a") is None

    await eventually(gone)


async def test_counts_are_exact_and_end_with_the_time_of_the_first(cache: Cache) -> None:
    counts = await asyncio.gather(*(cache.incr("n", 600) for _ in range(50)))
    assert sorted(counts) == list(range(1, 51))
    assert await cache.incr("m", 60, by=5) == 5
    await cache.incr("short", 0.2, by=5)

    async def new() -> bool:
        return await cache.incr("short", 600) == 1

    await eventually(new)


async def test_a_bucket_gives_its_burst_and_then_its_rate(cache: Cache) -> None:
    bucket = Bucket("b", 0.5, 10.0)  # slow, for a busy machine passes seconds between two bookings
    bookings = await asyncio.gather(*(cache.book(bucket) for _ in range(30)))
    assert [booking.wait == 0 for booking in bookings] == [booking.granted for booking in bookings]
    assert sum(booking.granted for booking in bookings) in range(10, 14)
    assert 10 < (await cache.book(bucket, 10.0)).wait <= 20
    with pytest.raises(ValueError, match="never holds"):
        await cache.book(bucket, 11.0)


async def test_bookings_ahead_are_in_order_and_each_for_a_token_of_its_own(cache: Cache) -> None:
    bucket = Bucket("b", 0.5, 1.0)
    waits = [(await cache.book(bucket, ahead=100.0)).wait for _ in range(20)]
    assert waits == sorted(waits)
    assert waits[0] == 0
    assert 30 < waits[-1] <= 38
    refused = await cache.book(bucket, ahead=20.0)
    assert not refused.granted
    assert 20 < refused.wait <= 40
    assert (await cache.book(bucket, ahead=100.0)).wait <= refused.wait, "what was refused took nothing"


async def test_a_held_bucket_lets_nothing_go_and_a_shorter_hold_changes_nothing(cache: Cache) -> None:
    bucket = Bucket("b", 100.0, 5.0)
    await cache.hold(bucket, 3000.0)
    await cache.hold(bucket, 1.0)
    booking = await cache.book(bucket)
    assert not booking.granted
    assert 2900 < booking.wait <= 3000


async def test_buckets_are_apart(cache: Cache) -> None:
    one, two = Bucket("one", 0.001), Bucket("two", 0.001)
    assert (await cache.book(one)).granted
    assert not (await cache.book(one)).granted
    assert (await cache.book(two)).granted


async def test_messages_reach_every_listener_in_order_and_nobody_else(cache: Cache) -> None:
    async with cache.subscribe("run.1") as first, cache.subscribe("run.1") as second, cache.subscribe("x") as other:
        for number in range(20):
            await cache.publish("run.1", b"%d" % number)
        await cache.publish("x", b"end")
        for listener in (first, second):
            heard = [await asyncio.wait_for(anext(listener), PATIENCE) for _ in range(20)]
            assert heard == [b"%d" % number for number in range(20)]
        assert await asyncio.wait_for(anext(other), PATIENCE) == b"end"
    await cache.publish("run.1", b"nobody")


async def test_channels_of_another_database_of_the_same_redis_are_others(redis: str, services: Session) -> None:
    ours, others = RedisCache(redis), RedisCache(services.redis().dsn(services.number("redis-database") % DATABASES))
    async with ours.subscribe("c") as listener:
        await others.publish("c", b"theirs")
        await ours.publish("c", b"ours")
        assert await asyncio.wait_for(anext(listener), PATIENCE) == b"ours"
    await ours.close()
    await others.close()


@asynccontextmanager
async def held_back(dsn: str, word: bytes, gate: asyncio.Event) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A way to Redis that keeps bytes with a word until the gate opens: its DSN, and whether they have come."""
    came = asyncio.Event()
    parts = urlsplit(dsn)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(4096):
            if word in piece:
                came.set()
                await gate.wait()
            writer.write(piece)
        writer.close()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(carry(reader, forth), carry(back, writer))

    async with await asyncio.start_server(meet, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        yield parts._replace(netloc=f"127.0.0.1:{port}").geturl(), came


async def test_a_subscription_stands_when_redis_has_taken_it_not_when_it_was_sent(
    redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nms.common.cache.redis.SECONDS", PATIENCE)
    gate = asyncio.Event()
    async with held_back(redis, b"SUBSCRIBE", gate) as (dsn, came):
        cache = RedisCache(dsn)
        subscription = cache.subscribe("c")
        entered = asyncio.create_task(subscription.__aenter__())
        await came.wait()
        assert not (await asyncio.wait({entered}, timeout=0.2))[0]
        gate.set()
        listener = await entered
        await cache.publish("c", b"first")
        assert await asyncio.wait_for(anext(listener), PATIENCE) == b"first"
        await subscription.__aexit__(None, None, None)
        await cache.close()


async def test_a_cancelled_command_never_hands_its_answer_to_the_next_caller(cache: Cache) -> None:
    for number in range(40):
        await cache.set(f"k{number}", b"%d" % number, 60)
    for turn in range(100):
        tasks = [asyncio.create_task(cache.get(f"k{number}")) for number in range(40)]
        for _ in range(turn % 7):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        for number, answer in enumerate(answers):
            assert isinstance(answer, asyncio.CancelledError) or answer == b"%d" % number
    assert await cache.get("k3") == b"3"


async def test_the_cache_in_the_process_is_bounded() -> None:
    cache = LocalCache(entries=10)
    for number in range(50):
        await cache.set(f"k{number}", b"x", 60)
        await cache.book(Bucket(f"b{number}", 1))
        await cache.get("k0") if number < 9 else None
    assert len(cache._values) == len(cache._buckets) == 10


async def test_redis_away_is_a_named_problem_at_once(redis_server: RedisServer) -> None:
    cache = RedisCache(redis_server.dsn())
    await cache.set("a", b"1", 60)
    redis_server.end()
    watch = Stopwatch()
    for _ in range(20):
        with pytest.raises(Unavailable) as refused:
            await cache.get("a")
        assert refused.value.code == "cache-unavailable"
    assert watch.seconds() < 3
    redis_server.launch()

    async def back() -> bool:
        try:
            await cache.check()
        except Unavailable:
            return False
        return True

    await eventually(back)
    await cache.close()


async def test_while_redis_is_away_the_process_is_on_its_own_and_no_old_value_comes_back(
    redis_server: RedisServer,
) -> None:
    settings = Settings(redis_dsn=SecretStr(redis_server.dsn()), _env_file=None)
    cache = open_cache(settings)
    await cache.set("page", b"old", 3600)
    await cache.set("kept", b"same", 3600)
    redis_server.end()
    assert await cache.get("page") is None
    await cache.delete("page")
    assert [await cache.incr("n", 60) for _ in range(3)] == [1, 2, 3]
    assert (await cache.book(Bucket("b", 0.001))).granted
    assert not (await cache.book(Bucket("b", 0.001))).granted
    await cache.hold(Bucket("b", 0.001), 5.0)
    await cache.publish("c", b"x")
    with pytest.raises(Unavailable):
        await cache.check()
    redis_server.launch()

    async def back() -> bool:
        return await cache.get("kept") == b"same"

    await eventually(back)
    assert await cache.get("page") is None
    await cache.close()

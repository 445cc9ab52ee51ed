"""The lane of the inbox: what comes while a commit is under way shares the next, and one bad event takes none along."""

import asyncio
from collections.abc import Sequence
from hashlib import sha256

import pytest

from nms.common.db.problems import TransactionConflict
from nms.common.problem import Malformed, Unavailable
from nms.inbox.arrival import Arrival, Receipt, new_event_id
from nms.inbox.problems import InboxBusy
from nms.inbox.writer import MOST_ARRIVALS, MOST_BYTES, MOST_WAITING, Lane


def arrival(body: bytes = b"{}") -> Arrival:
    digest = sha256(body).digest()
    return Arrival(new_event_id(), "shop", digest, digest, "", "application/json", b"", body)


class Disk:
    """Keeps what it is given, a call at a time; `bad` is refused, and all while it is away or has `conflicts` left."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.away = False
        self.conflicts = 0

    async def store(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        await self.open.wait()
        self.calls.append([one.body for one in arrivals])
        if self.away:
            raise Unavailable("away")
        if self.conflicts:
            self.conflicts -= 1
            raise TransactionConflict("in the way")
        if any(one.body == b"bad" for one in arrivals):
            raise Malformed("bad")
        return [Receipt(one.id, "new") for one in arrivals]


async def test_what_comes_meanwhile_shares_the_next_commit_in_its_order() -> None:
    disk = Disk()
    lane = Lane(disk.store, disk.store)
    disk.open.clear()
    tasks = [asyncio.create_task(lane.put([arrival(b"%d" % n)])) for n in range(10)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    disk.open.set()
    await asyncio.gather(*tasks)
    assert len(disk.calls) <= 2
    assert [body for call in disk.calls for body in call] == [b"%d" % n for n in range(10)]


async def test_one_that_cannot_be_stored_takes_none_along() -> None:
    disk = Disk()
    lane = Lane(disk.store, disk.store)
    disk.open.clear()
    tasks = [asyncio.create_task(lane.put([arrival(body)])) for body in (b"a", b"bad", b"b")]
    await asyncio.sleep(0)
    disk.open.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, Malformed) for one in results] == [False, True, False]


async def test_what_another_transaction_was_in_the_way_of_is_repeated_once_for_all_and_no_more() -> None:
    disk = Disk()
    lane = Lane(disk.store, disk.store)
    disk.conflicts = 1
    receipts = await asyncio.gather(*(lane.put([arrival(body)]) for body in (b"a", b"b")))
    assert [one.kind for (one,) in receipts] == ["new", "new"]
    assert disk.calls == [[b"a", b"b"]] * 2
    disk.conflicts = 2
    with pytest.raises(TransactionConflict):
        await lane.put([arrival()])
    assert len(disk.calls) == 4


async def test_a_database_that_is_away_is_asked_once_for_all_and_again_for_the_next() -> None:
    disk = Disk()
    lane = Lane(disk.store, disk.store)
    disk.away = True
    disk.open.clear()
    tasks = [asyncio.create_task(lane.put([arrival()])) for _ in range(20)]
    await asyncio.sleep(0)
    disk.open.set()
    assert all(isinstance(one, Unavailable) for one in await asyncio.gather(*tasks, return_exceptions=True))
    assert len(disk.calls) <= 2
    with pytest.raises(Unavailable):
        lane.admit()
    disk.away = False
    (receipt,) = await lane.put([arrival()])
    assert receipt.kind == "new"
    lane.admit()


async def test_what_waits_is_bounded_and_is_stored_all_the_same() -> None:
    disk = Disk()
    lane = Lane(disk.store, disk.store)
    disk.open.clear()
    large = arrival(b"x" * MOST_BYTES)
    tasks = [asyncio.create_task(lane.put([large])) for _ in range(MOST_WAITING // MOST_BYTES + 5)]
    await asyncio.sleep(0)
    with pytest.raises(InboxBusy):
        lane.admit()
    disk.open.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [one for one in results if isinstance(one, InboxBusy)]
    assert refused
    assert len(disk.calls) == len(tasks) - len(refused)
    lane.admit()


async def test_those_that_come_together_are_stored_together_and_no_statement_is_too_large() -> None:
    disk = Disk()
    lane = Lane(disk.store, disk.store)
    disk.open.clear()
    large = b"x" * (MOST_BYTES // 3)
    tasks = [asyncio.create_task(lane.put([arrival(large), arrival(large)])) for _ in range(4)]
    tasks += [asyncio.create_task(lane.put([arrival(b"%d" % n)])) for n in range(2 * MOST_ARRIVALS)]
    await asyncio.sleep(0)
    disk.open.set()
    await asyncio.gather(*tasks)
    assert all(len(call) <= MOST_ARRIVALS for call in disk.calls)
    assert all(call.count(large) in (0, 2) for call in disk.calls)
    assert sum(len(call) for call in disk.calls) == 8 + 2 * MOST_ARRIVALS


async def test_a_list_shares_no_commit_so_that_it_can_be_refused_as_a_whole() -> None:
    disk, whole = Disk(), Disk()
    lane = Lane(disk.store, whole.store)
    disk.open.clear()
    groups = ((b"a",), (b"b", b"c"), (b"d",))
    tasks = [asyncio.create_task(lane.put([arrival(body) for body in bodies])) for bodies in groups]
    await asyncio.sleep(0)
    disk.open.set()
    await asyncio.gather(*tasks)
    assert whole.calls == [[b"b", b"c"]]
    assert [body for call in disk.calls for body in call] == [b"a", b"d"]


async def test_a_caller_that_goes_away_leaves_its_event_to_be_stored() -> None:
    disk = Disk()
    lane = Lane(disk.store, disk.store)
    disk.open.clear()
    gone = asyncio.create_task(lane.put([arrival(b"gone")]))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    disk.open.set()
    await lane.rest()
    assert disk.calls == [[b"gone"]]


async def test_what_nobody_foresaw_fails_all_that_wait_and_the_lane_goes_on() -> None:
    disk = Disk()

    async def crash(arrivals: Sequence[Arrival]) -> list[Receipt]:
        await disk.open.wait()
        raise ZeroDivisionError

    lane = Lane(crash, crash)
    disk.open.clear()
    tasks = [asyncio.create_task(lane.put([arrival()])) for _ in range(3)]
    await asyncio.sleep(0)
    disk.open.set()
    assert all(isinstance(one, ZeroDivisionError) for one in await asyncio.gather(*tasks, return_exceptions=True))
    lane._store = disk.store
    assert await lane.put([arrival()])

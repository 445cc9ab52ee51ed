"""Replays: events are passed on once more, under their ids, at a rate, none twice, whatever becomes of the worker."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from nms.common import faults
from nms.common.run import Claimed, Crew, LeaseLost, Run, RunRepository, RunState
from nms.common.settings import Settings
from nms.common.token import mint_token
from nms.inbox.arrival import Arrival
from nms.inbox.days import DayRepository
from nms.inbox.replay import KIND, ReplayOrder, ReplayRepository, order_replay
from nms.inbox.repository import InboxRepository
from nms.inbox.run import Pace, Replayer
from nms.inbox.selection import holds
from tests.service.inbox import SECRET, SHOP, declare, receiving, send
from tests.service.test_inbox_feed import arrival
from tests.service.web_client import problem_of
from tests.waiting import PATIENCE, eventually

OTHER = {**SHOP, "name": "other"}


@pytest.fixture
async def inbox(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare(SHOP, OTHER)
    scopes = ["events:read", "events:write", "tasks:read", "tasks:write"]
    async with receiving(settings) as client:
        client.headers["Authorization"] = f"Bearer {mint_token(settings, scopes, subject='ada')}"
        yield client


async def replay(client: httpx2.AsyncClient, **order: Any) -> dict[str, Any]:
    """Order a replay and wait for its end."""
    answer = await client.post("/replays", json={"endpoint": "shop", **order})
    assert answer.status_code == 202, answer.text
    place = answer.headers["location"]

    async def ended() -> dict[str, Any] | None:
        task: dict[str, Any] = (await client.get(place)).json()
        return task if task["ended_at"] else None

    return await eventually(ended)


async def count(client: httpx2.AsyncClient, **order: Any) -> dict[str, Any]:
    answer = await client.post("/replays", json={"endpoint": "shop", "dry_run": True, **order})
    assert answer.status_code == 200, answer.text
    counted: dict[str, Any] = answer.json()
    return counted


async def stored_ids(client: httpx2.AsyncClient, *bodies: bytes, path: str = "/in/shop") -> list[str]:
    """Send events; gives their ids."""
    return [(await send(client, body, f"{path}{n}{body!r}", path)).json()["id"] for n, body in enumerate(bodies)]


async def passed_on() -> list[tuple[str, int | None]]:
    """What a reader of the feed is given: ids of events and the runs that asked for them, in order."""
    connection: Any = (await InboxRepository.open()).connection
    upto = await connection.fetchval("select inbox.settled()")
    rows = await connection.fetch("select * from inbox.read_events('{shop,other}', 0, $1, 10000)", upto)
    assert [row["number"] for row in rows] == sorted({row["number"] for row in rows})
    return [(str(row["id"]), row["run"]) for row in rows]


async def again(run: int) -> list[str]:
    return [id_ for id_, its in await passed_on() if its == run]


async def test_a_replay_passes_events_on_under_their_ids_in_their_order(inbox: httpx2.AsyncClient) -> None:
    sent = await stored_ids(inbox, *(b"%d" % n for n in range(5)))
    other = await stored_ids(inbox, b"{}", path="/in/other")
    assert await count(inbox) == {"count": 5, "looked_at": 5, "exact": True}
    ended = await replay(inbox)
    assert (ended["state"], ended["kind"], ended["subject"]) == ("succeeded", "replay", "shop")
    progress = ended["progress"]
    assert (progress["current"], progress["total"], progress["unit"], progress["passed_on"]) == (5, 5, "events", 5)
    assert await passed_on() == [(id_, None) for id_ in sent + other] + [(id_, ended["id"]) for id_ in sent]
    # What was passed on once more is no event of its own: the next replay passes on no more.
    twice = await replay(inbox)
    assert await again(twice["id"]) == sent
    listed = (await inbox.get("/replays?endpoint=shop")).json()["items"]
    assert [(one["id"], one["asked"], one["state"]) for one in listed] == [
        (twice["id"], {"endpoint": "shop"}, "succeeded"),
        (ended["id"], {"endpoint": "shop"}, "succeeded"),
    ]


async def test_a_duty_that_fails_as_nobody_foresaw_is_told_and_the_others_go_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare(SHOP)
    connection: Any = (await InboxRepository.open()).connection
    made = await connection.fetchval("select pg_get_functiondef('inbox.make_days'::regproc)")
    body = "language sql return null::integer"

    async def heard() -> bool:
        return "the duty `days` of the inbox failed" in caplog.text

    await connection.execute(f"create or replace function inbox.make_days(ahead integer) returns integer {body}")
    async with receiving(settings) as client:
        client.headers["Authorization"] = (
            f"Bearer {mint_token(settings, ['events:write', 'tasks:read'], subject='ada')}"
        )
        await eventually(heard)
        sent = await stored_ids(client, b"{}")
        assert await again((await replay(client))["id"]) == sent
        told = (await client.get("/metrics")).text
        assert 'nms_inbox_duty_failed_total{duty="days"}' in told
        assert 'duty="replays"' not in told
        await connection.execute(made)
        days = "select count(*) > 1 from pg_inherits where inhparent = 'inbox.event'::regclass"
        await eventually(lambda: connection.fetchval(days))


async def test_only_what_was_asked_for_is_passed_on(inbox: httpx2.AsyncClient) -> None:
    bodies = [b'{"customer": {"id": "7"}}', b'{"customer": {"id": 7}}', b"no JSON", b'{"customer": {"id": 8}, "n": 0}']
    sent = await stored_ids(inbox, *bodies)
    connection = (await InboxRepository.open()).connection
    await connection.execute("update inbox.event set type = 'pull' where body = 'no JSON'")
    times = [await connection.fetchval("select received_at from inbox.event where id = $1", id_) for id_ in sent]
    orders: list[tuple[Mapping[str, Any], list[int]]] = [
        ({"path": "customer.id == '7'"}, [0]),
        ({"path": "customer.id == `7`"}, [1]),
        ({"path": "customer.id > `6`"}, [1, 3]),
        ({"path": "customer"}, [0, 1, 3]),
        ({"path": "length(customer) > `9`"}, []),
        ({"type": "pull"}, [2]),
        ({"type": "push", "path": "n == `0`"}, [3]),
        ({"ids": [sent[3], sent[1]]}, [1, 3]),
        ({"ids": [sent[3], sent[2]], "type": "push"}, [3]),
        ({"since": times[1].isoformat(), "until": times[3].isoformat()}, [1, 2]),
        ({"since": times[1].isoformat(), "type": "push"}, [1, 3]),
        ({"until": times[0].isoformat()}, []),
    ]
    for order, chosen in orders:
        assert ((await count(inbox, **order))["count"], order) == (len(chosen), order)
        ended = await replay(inbox, **order)
        assert (await again(ended["id"]), order) == ([sent[n] for n in chosen], order)
        assert ended["progress"]["passed_on"] == len(chosen)


async def test_what_cannot_be_asked_for_is_refused(inbox: httpx2.AsyncClient, settings: Settings) -> None:
    for order in (
        {},
        {"endpoint": "shop", "path": "customer =="},
        {"endpoint": "shop", "path": "nonsense(a)"},
        {"endpoint": "shop", "since": "yesterday"},
        {"endpoint": "shop", "rate": 0},
        {"endpoint": "shop", "ids": []},
        {"endpoint": "shop", "colour": "red"},
    ):
        problem_of(await inbox.post("/replays", json=order), 422, "malformed")
    problem_of(await inbox.post("/replays", json={"endpoint": "shop", "type": "a\0b"}), 422, "value-refused")
    problem_of(await inbox.post("/replays", json={"endpoint": "nowhere"}), 404, "endpoint-unknown")
    reader = {"Authorization": f"Bearer {mint_token(settings, ['events:read'], subject='bob')}"}
    problem_of(await inbox.post("/replays", json={"endpoint": "shop"}, headers=reader), 403, "scope-missing")


async def test_an_endpoint_has_one_replay_at_a_time(inbox: httpx2.AsyncClient) -> None:
    await stored_ids(inbox, b"1", b"2")
    slow = {"endpoint": "shop", "rate": 0.001}
    first = (await inbox.post("/replays", json=slow)).json()

    async def runs() -> bool:
        return bool((await inbox.get(f"/tasks/{first['id']}")).json()["state"] == "running")

    await eventually(runs)
    assert problem_of(await inbox.post("/replays", json=slow), 409, "run-exists")["run"] == first["id"]
    assert (await inbox.post("/replays", json={**slow, "unique": "existing"})).json()["id"] == first["id"]
    behind = (await inbox.post("/replays", json={**slow, "unique": "one_more"})).json()
    assert (behind["id"] != first["id"], behind["state"]) == (True, "queued")
    # The one that waits would not pass on what is asked for here.
    another = {**slow, "type": "push", "unique": "one_more"}
    assert problem_of(await inbox.post("/replays", json=another), 409, "run-exists")["run"] == behind["id"]
    elsewhere = await replay(inbox, endpoint="other")
    assert elsewhere["state"] == "succeeded"
    for run in (behind, first):
        assert (await inbox.post(f"/tasks/{run['id']}/cancel")).status_code == 202


async def test_a_replay_is_cancelled_while_it_waits_for_its_rate_and_goes_on_when_it_is_retried(
    inbox: httpx2.AsyncClient,
) -> None:
    sent = await stored_ids(inbox, b"1", b"2", b"3")
    run = (await inbox.post("/replays", json={"endpoint": "shop", "rate": 0.001})).json()["id"]

    async def begun() -> bool:
        return bool(await again(run))

    async def cancelled() -> bool:
        return bool((await inbox.get(f"/tasks/{run}")).json()["state"] == "cancelled")

    await eventually(begun)
    await inbox.post(f"/tasks/{run}/cancel")
    await eventually(cancelled, 2.0)
    assert await again(run) == sent[:1]
    await inbox.post(f"/tasks/{run}/retry")

    async def went_on() -> bool:
        return await again(run) == sent[:2]

    # What goes first of a try does not wait, and nothing goes twice.
    await eventually(went_on)
    await inbox.post(f"/tasks/{run}/cancel")
    await eventually(cancelled)


async def test_a_rate_is_kept_however_many_match_at_once(inbox: httpx2.AsyncClient) -> None:
    await stored_ids(inbox, *(b"%d" % n for n in range(13)))
    for order in ({}, {"path": "@ >= `0`"}):
        began = time.monotonic()
        ended = await replay(inbox, rate=10, **order)
        # The first goes at once, each of the twelve others a tenth of a second behind the one before.
        assert time.monotonic() - began >= 1.2
        assert len(await again(ended["id"])) == 13


def test_what_a_rate_allowed_and_nobody_used_is_not_saved_up() -> None:
    now = [0.0]
    pace = Pace(50.0, lambda: now[0])
    assert (pace.step(), pace.wait()) == (5, 0)
    pace.spend(5)
    assert pace.wait() == pytest.approx(0.1)
    now[0] = 60.0
    assert pace.wait() == 0
    pace.spend(5)
    assert pace.wait() == pytest.approx(0.1)
    assert Pace(0.5).step() == 1
    free = Pace(None)
    free.spend(1_000)
    assert free.wait() == 0


async def test_what_comes_later_is_no_part_of_a_replay_and_what_was_on_its_way_is(settings: Settings) -> None:
    await declare(SHOP)
    events, repository = await InboxRepository.open(), await ReplayRepository.open()
    await events.store([arrival("a")])

    async def has_begun() -> bool:
        return bool(await events.connection.fetchval("select count(*) from inbox.again") == 1)

    async with events.transaction() as late:
        await late.store([arrival("b")])
        # Acknowledged before the replay was ordered, and behind what is still on its way.
        await events.store([arrival("c")])
        run = await order_replay(repository, ReplayOrder(endpoint="shop"))
        await events.store([arrival("d")])
        async with working() as runs:
            # Nothing is passed by while the one before it is open.
            await eventually(has_begun)
    async with working() as runs:
        await eventually(in_state(runs, run, RunState.SUCCEEDED))
    bodies = "select e.body from inbox.again a join inbox.event e on e.id = a.event_id order by a.number"
    assert [row["body"] for row in await events.connection.fetch(bodies)] == [b"a", b"b", b"c"]


def in_state(runs: RunRepository, run: Run, state: RunState) -> Any:
    async def look() -> Run | None:
        found = await runs.get(run.id)
        return found if found.state is state else None

    return look


@asynccontextmanager
async def working(lease: float = 15.0) -> AsyncIterator[RunRepository]:
    """A worker of replays."""
    runs, stop = await RunRepository.open(), asyncio.Event()
    replayer = Replayer(await ReplayRepository.open())
    crew = Crew(runs, {KIND: replayer.replay}, worker="w", size=1, lease=lease)
    task = asyncio.create_task(crew.run(stop))
    try:
        yield runs
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENCE)


async def order_many(path: str) -> tuple[list[Arrival], Run]:
    """A replay of some steps."""
    await declare(SHOP)
    sent = [arrival(f"{n}") for n in range(450)]
    await (await InboxRepository.open()).store(sent)
    return sent, await order_replay(await ReplayRepository.open(), ReplayOrder(endpoint="shop", path=path))


@pytest.mark.parametrize("where", ["replay.before_commit", "replay.after_commit"])
async def test_a_step_that_fails_is_tried_again_and_nothing_goes_twice(settings: Settings, where: str) -> None:
    sent, run = await order_many("@ > `99`")
    faults.arm(f"{where}=raise@2", "test")
    try:
        async with working() as runs:
            ended = await eventually(in_state(runs, run, RunState.SUCCEEDED))
    finally:
        faults.arm("", "test")
    assert await again(run.id) == [str(one.id) for one in sent[100:]]
    assert ended.progress is not None
    assert [ended.progress[name] for name in ("current", "total", "passed_on")] == [450, 450, 350]


async def test_a_worker_that_is_killed_on_its_way_is_gone_on_for_and_nothing_goes_twice(settings: Settings) -> None:
    sent, run = await order_many("@ >= `0`")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nms", "worker", "inbox"),
        env={**os.environ, "NMS_FAULTS": "replay.before_commit=kill@2", "INBOX_LEASE": "1"},
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await asyncio.wait_for(process.wait(), PATIENCE) == -signal.SIGKILL
    assert len(await again(run.id)) == 200
    async with working() as runs:
        await eventually(in_state(runs, run, RunState.SUCCEEDED))
    assert await again(run.id) == [str(one.id) for one in sent]


async def test_who_lost_the_lease_passes_nothing_on(settings: Settings) -> None:
    await declare(SHOP)
    events, repository, runs = await InboxRepository.open(), await ReplayRepository.open(), await RunRepository.open()
    await events.store([arrival("a"), arrival("b")])
    run = await order_replay(repository, ReplayOrder(endpoint="shop"))
    (frozen,) = await runs.claim([KIND], "frozen", [], 1, 0.001)

    async def over() -> Sequence[Run]:
        return await runs.claim([KIND], "successor", [], 1, 60)

    (taken,) = await eventually(over)
    replayer = Replayer(repository)
    with pytest.raises(LeaseLost):
        await replayer.replay(Claimed(runs, frozen))
    assert await again(run.id) == []
    await replayer.replay(Claimed(runs, taken))
    assert len(await again(run.id)) == 2


async def test_what_is_gone_for_its_age_is_no_longer_kept_as_replayed(settings: Settings) -> None:
    await declare({**SHOP, "keep": "1d"})
    events, repository = await DayRepository.open(), await ReplayRepository.open()
    await events.store([arrival(f"{n}") for n in range(3)])
    await order_replay(repository, ReplayOrder(endpoint="shop"))
    async with working() as runs:
        run = (await runs.list())[0]
        await eventually(in_state(runs, run, RunState.SUCCEEDED))
    await events.connection.execute("update inbox.again set received_at = received_at - interval '3 days'")
    assert await events.delete_old_again(86_400, 2) == 2
    assert await events.delete_old_again(86_400, 2) == 1
    assert await events.connection.fetchval("select count(*) from inbox.again") == 0


@pytest.mark.parametrize(
    ("condition", "true"),
    [
        ("a == '1'", False),
        ("a == `1`", True),
        ("b", False),
        ("c", True),
        ("d", False),
        ("e[?x == 'y']", True),
        ("e[?x == 'z']", False),
        ("starts_with(a, 'x')", False),
        ("contains(f, 'ell')", True),
        ("@", True),
    ],
)
def test_a_condition_is_true_as_jmespath_tells_truth(condition: str, true: bool) -> None:
    body = b'{"a": 1, "b": "", "c": 0, "d": [], "e": [{"x": "y"}], "f": "hello"}'
    assert holds(condition, body) is true
    assert holds(condition, b"") is holds(condition, b"\xff") is holds(condition, b"{") is False


@pytest.mark.parametrize(("condition", "text"), [("ceil(to_number(a))", "1e999"), ("floor(to_number(a))", "nan")])
def test_a_condition_on_a_number_that_nothing_holds_is_not_true(condition: str, text: str) -> None:
    assert holds(condition, b'{"a": "%s"}' % text.encode()) is False

"""Watching the documents: no gap, nothing twice, nobody woken for others, and an end that says where to go on."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import pytest

from nms.cfg import notices, stream
from nms.cfg.models import Selector
from nms.cfg.notices import Notices, Reader
from nms.cfg.repository import DocumentRepository
from nms.common.following import followed
from nms.common.settings import Settings
from tests.service.watching import Event, Watched, endpoint, listening, publish, system, take, unread
from tests.waiting import PATIENCE, eventually


@pytest.fixture
async def watched(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setenv("CFG_WATCH_BEAT", "0.1")
    async with listening(settings) as watched:
        yield watched


async def test_a_watch_tells_what_was_and_then_what_comes(watched: Watched) -> None:
    await publish(system("crm"), system("billing"))
    await publish(system("crm", dsn="env://CRM_DSN"))
    async with watched.watch(since=0) as events:
        await publish(system("billing"), prune=True)
        found = await take(events, 4)
    assert [each.told for each in found] == [
        (1, "add", "billing"),
        (1, "add", "crm"),
        (2, "change", "crm"),
        (3, "remove", "crm"),
    ]
    # Who is cut off between two documents of a revision hears all of it again.
    assert [each.id for each in found] == [None, 1, 2, 3]
    assert found[2].data["document"] == system("crm", dsn="env://CRM_DSN")
    assert "document" not in found[3].data


async def test_who_names_a_kind_or_a_name_hears_of_nothing_else(watched: Watched) -> None:
    async with (
        watched.watch(kind="endpoint") as endpoints,
        watched.watch(name="crm") as crm,
        watched.watch(kind="system", name="crm") as both,
    ):
        await publish(system("billing"))
        await publish(system("crm"), endpoint("crm"), endpoint("shop"))
        newest = await publish(system("billing"), prune=True)
        assert [each.told for each in await take(endpoints, 4)] == [
            *((2, "add", "crm"), (2, "add", "shop"), (3, "remove", "crm"), (3, "remove", "shop")),
        ]
        assert [(each.data["kind"], each.id) for each in await take(crm, 2)] == [("endpoint", None), ("system", 2)]
        assert [each.told for each in await take(both, 2)] == [(2, "add", "crm"), (3, "remove", "crm")]
        await publish(system("billing", dsn="env://OTHER"))
        # Nothing for it, but a place to go on from, so that it never gets too old.
        assert await place_of(both) == newest + 1


async def place_of(events: AsyncIterator[Event]) -> int:
    """The newest id that comes alone."""
    last = 0
    async with asyncio.timeout(PATIENCE):
        for _ in range(4):
            event = await anext(events)
            assert (event.name, event.data) == ("", {})
            last = event.id or last
    return last


async def test_a_watch_begins_where_it_may(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFG_WATCH_REVISIONS", "3")
    async with listening(settings) as watched:
        await write(5)
        await begin_all_over(watched)


async def begin_all_over(watched: Watched) -> None:
    async with watched.client() as client:
        old = await client.get("/watch", params={"since": 1})
        assert (old.status_code, old.json()["code"], old.json()["revision"]) == (410, "watch-too-old", 5)
        ahead = await client.get("/watch", params={"since": 6})
        assert (ahead.status_code, ahead.json()["code"], ahead.json()["revision"]) == (409, "revision-ahead", 5)
        for query in ({"since": "-1"}, {"since": "x"}, {"kind": "planet"}, {"name": "No"}):
            assert (await client.get("/watch", params=query)).status_code == 422
        refused = await client.get("/watch", headers={"Last-Event-ID": "x"})
        assert (refused.status_code, refused.json()["errors"][0]["in"]) == (422, "header")
    # Who comes back brings the address of the first time: what it heard last counts.
    async with watched.watch(last=3, since=1) as events:
        assert [each.id for each in await take(events, 2)] == [4, 5]
    async with watched.watch() as events:
        await publish(system("crm"))
        assert [each.id for each in await take(events, 1)] == [6]


async def test_who_comes_back_by_its_last_id_misses_nothing_and_hears_nothing_twice(watched: Watched) -> None:
    writing = asyncio.create_task(write(40))
    heard: list[int] = []
    while len(heard) < 40:
        last = heard[-1] if heard else 0
        async with watched.watch(last=last) as events:
            heard += [each.data["revision"] for each in await take(events, min(3, 40 - len(heard)))]
    await writing
    assert heard == list(range(1, 41))


async def write(count: int) -> None:
    for number in range(count):
        await publish(system("crm", dsn=f"env://DSN_{number}"))


async def test_who_is_behind_what_a_process_remembers_is_told_from_the_database(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("KEPT", 5), ("WAITING", 2), ("PAGE", 3)):
        monkeypatch.setattr(notices, name, value)
    many = [system(f"crm-{number}") for number in range(8)]
    await publish(*many)
    async with watched.watch(since=0) as events:
        await write(12)
        await publish(*(each | {"dsn": "env://OTHER"} for each in many))
        found = await take(events, 28)
    assert [each.data["revision"] for each in found] == [1] * 8 + list(range(2, 14)) + [14] * 8
    assert [each.id for each in found] == [*[None] * 7, 1, *range(2, 14), *[None] * 7, 14]


async def test_a_rolled_back_revision_leaves_no_gap(settings: Settings) -> None:
    repository = await DocumentRepository.open()
    await publish(system("crm"))
    with suppress(ZeroDivisionError):
        async with repository.transaction() as tx:
            await tx.lock_revisions()
            mark, _ = await tx.insert_revision("ada", "", {})
            assert mark.id == 2
            raise ZeroDivisionError
    assert await publish(system("billing")) == 2


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [("CFG_WATCH_SECONDS", "0", "time-over"), ("CFG_WATCHERS", "1", "watchers-busy")],
)
async def test_a_watch_has_bounds(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    async with listening(settings) as watched, watched.client() as client:
        revision = await publish(system("crm"))
        if name == "CFG_WATCHERS":
            async with watched.watch():
                busy = await client.get("/watch")
                assert (busy.status_code, busy.json()["code"]) == (503, reason)
            return
        async with watched.watch(since=revision) as events:
            (ended,) = await take(events, 1, "ended")
            assert (ended.data["reason"], ended.data["since"]) == (reason, revision)
            assert [each async for each in events] == []


async def test_who_leaves_makes_room(watched: Watched) -> None:
    watches = watched.app.state.watches
    async with watched.watch(), watched.watch(kind="system"):
        assert watches.count == 2

    async def left() -> bool:
        return watches.count == 0 and not watches.notices._readers

    await eventually(left)


async def test_a_watch_ends_with_the_token_that_opened_it(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched.watch() as events:
        revision = await publish(system("crm"))
        await take(events, 1)
        watched.app.verifier._clock = lambda: 2e10  # type: ignore[attr-defined]
        await publish(system("billing"))
        (ended,) = await take(events, 1, "ended")
    assert (ended.data["reason"], ended.data["since"]) == ("token-refused", revision)


async def test_a_process_that_stops_says_where_to_go_on(watched: Watched) -> None:
    async with watched.watch() as events:
        revision = await publish(system("crm"))
        await take(events, 1)
        watched.app.state.life.stop.set()
        (ended,) = await take(events, 1, "ended")
    assert (ended.data["reason"], ended.data["since"]) == ("stopping", revision)


async def test_a_database_that_was_restored_ends_the_watches_that_knew_more(watched: Watched) -> None:
    await publish(system("crm"))
    await publish(system("billing"))
    pool = (await DocumentRepository.open()).connection
    async with watched.watch(since=0) as events:
        await take(events, 2)
        await pool.execute(
            "alter table cfg.document disable trigger user; alter table cfg.revision disable trigger user;"
            "alter table cfg.audit disable trigger user; delete from cfg.audit;"
            "delete from cfg.standing where name = 'billing'; delete from cfg.document where revision = 2;"
            "delete from cfg.revision where id = 2; notify nms_cfg"
        )
        (ended,) = await take(events, 1, "ended")
    assert (ended.data["reason"], ended.data["since"]) == ("revision-ahead", 2)


async def write_much(count: int) -> None:
    """So many revisions of about 25 kB."""
    for number in range(count):
        await publish(*(system(f"crm-{each}", dsn=f"file:///{number}{'x' * 900}") for each in range(25)))


async def test_a_slow_reader_is_ended_and_goes_on_from_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CFG_WATCH_PATIENCE", "0.2")
    caplog.set_level("INFO", logger="nms.cfg.stream")
    await write_much(12)
    async with listening(settings, buffer=4096) as watched:
        async with unread(watched) as reader:
            await eventually(lambda: said(caplog, "reader-slow"))
            text = (await asyncio.wait_for(reader.read(1 << 22), PATIENCE)).decode()
            while '"reason": "reader-slow"' not in text:
                text += (await asyncio.wait_for(reader.read(1 << 22), PATIENCE)).decode()
        heard = [int(each) for each in re.findall(r"^id: (\d+)", text, re.M)]
        assert 0 < len(heard) < 12
        assert re.findall(r'"since": (\d+)', text) == [str(heard[-1])]
        async with watched.watch(since=heard[-1]) as events:
            heard += [each.id for each in await take(events, (12 - len(heard)) * 25) if each.id]
    assert heard == list(range(1, 13))


async def said(caplog: pytest.LogCaptureFixture, word: str) -> bool:
    return any(word in record.getMessage() for record in caplog.records)


async def test_a_reader_that_never_reads_is_cut_off(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFG_WATCH_PATIENCE", "0.2")
    monkeypatch.setattr(stream, "END_SECONDS", 0.2)
    await write_much(12)
    async with listening(settings, buffer=4096) as watched, unread(watched):
        watches = watched.app.state.watches
        await eventually(lambda: has(watches, 1))
        await eventually(lambda: has(watches, 0))


async def has(watches: stream.Watches, count: int) -> bool:
    return watches.count == count


async def test_nobody_is_woken_for_what_others_watch(settings: Settings) -> None:
    readers = {selector: Reader() for selector in (Selector(), Selector("system"), Selector(None, "crm"), OTHER)}
    async with followed(Notices()) as found, AsyncExitStack() as stack:
        for selector, reader in readers.items():
            stack.enter_context(found.read_by(reader, selector))
        await publish(endpoint("shop"))
        await found.look()
        assert [selector for selector, reader in readers.items() if reader.wake.is_set()] == [Selector()]
        await publish(system("crm"))
        await found.look()
        assert [selector for selector, reader in readers.items() if not reader.wake.is_set()] == [OTHER]


OTHER = Selector("endpoint", "crm")

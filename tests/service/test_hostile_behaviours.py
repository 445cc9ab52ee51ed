"""Every behaviour of the hostile API does what its sentence says, seen by a client that takes what comes."""

import asyncio
import email.utils
import gzip
import json
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import pytest

from tests.service.raw_client import Seen, ask
from tests.service.test_warehouse_strangers import ANSWERED, NOT_FOUND, REFUSED
from tests.services.hostile.api import HostileApi
from tests.services.hostile.behaviour import BEHAVIOURS
from tests.services.hostile.broken import explosive

STATUSES = {str(n): n for n in (400, 401, 403, 404, 408, 409, 410, 412, 422, 428, 500, 501, 502, 503, 504, 520)}
# Behaviour -> status and header of an answer that comes instead of the effect.
REFUSALS: dict[str, tuple[int, str, str]] = {
    **{name: (status, "", "") for name, status in STATUSES.items()},
    "429-seconds": (429, "retry-after", "1"),
    "429-past": (429, "retry-after", "Wed, 01 Jan 2025 00:00:00 GMT"),
    "429-garbage": (429, "retry-after", "soon"),
    "429-negative": (429, "retry-after", "-5"),
    "429-ten-days": (429, "retry-after", "864000"),
    "429-token-expires": (429, "retry-after", "1"),
    "429-bare": (429, "", ""),
    "503-seconds": (503, "retry-after", "1"),
    "portal": (200, "content-type", "text/html; charset=utf-8"),
    "redirect-loopback": (302, "location", "/_secret"),
    "redirect-keeping": (307, "location", "/_secret"),
    "redirect-metadata": (302, "location", "http://169.254.169.254/latest/"),
    "redirect-file": (302, "location", "file:///etc/passwd"),
    "redirect-loop": (302, "location", "/be/redirect-loop/things"),
    "no-content": (204, "", ""),
    "accepted": (202, "", ""),
    "500-after-effect": (500, "", ""),
    "504-after-effect": (504, "", ""),
    "429-after-effect": (429, "retry-after", "0"),
}


def records(seen: Seen) -> list[dict[str, object]]:
    found: list[dict[str, object]] = seen.json["data"]
    return found


def fails(seen: Seen) -> bool:
    try:
        json.loads(seen.body)
    except (ValueError, RecursionError):
        return len(seen.body) == seen.length
    return False


def near(seen: Seen) -> bool:
    moment = email.utils.parsedate_to_datetime(seen.headers["retry-after"])
    return seen.status == 429 and abs((moment - datetime.now(UTC)).total_seconds()) < 5


def is_whole(packed: bytes) -> bool:
    unpacker = zlib.decompressobj(31)
    unpacker.decompress(packed)
    return unpacker.eof


# Behaviour -> what a GET of three records must look like; the path takes the options.
SIGHTS: dict[str, Callable[[Seen], bool]] = {
    "429-date": near,
    "timeout-before": lambda seen: (seen.data, seen.end) == (b"", "silence"),
    "timeout-after": lambda seen: (seen.data, seen.end) == (b"", "silence"),
    "timeout-in-body": lambda seen: seen.end == "silence" and 0 < len(seen.body) < seen.length,
    "late": lambda seen: seen.end == "silence" and not seen.data,
    "reset-before": lambda seen: (seen.data, seen.end) == (b"", "reset"),
    "reset-after": lambda seen: (seen.data, seen.end) == (b"", "reset"),
    "reset-in-headers": lambda seen: seen.status == 200 and b"\r\n\r\n" not in seen.data and seen.end == "reset",
    "reset-in-body": lambda seen: seen.end == "reset" and 0 < len(seen.body) < seen.length,
    "close-before": lambda seen: (seen.data, seen.end) == (b"", "closed"),
    "close-after": lambda seen: (seen.data, seen.end) == (b"", "closed"),
    "close-idle": lambda seen: len(records(seen)) == 3 and seen.headers.get("connection") is None,
    "length-long": lambda seen: seen.length == len(seen.body) + 100 and seen.end == "closed",
    "length-short": lambda seen: seen.length < len(seen.body),
    "length-twice": lambda seen: seen.data.lower().count(b"content-length: ") == 2,
    "huge-body": lambda seen: seen.length > 100_000_000 and seen.end == "more",
    "gzip-bomb": lambda seen: seen.length == len(explosive(1024)) < 2_000_000 and seen.body[:2] == b"\x1f\x8b",
    "gzip-broken": lambda seen: seen.headers["content-encoding"] == "gzip" and not is_whole(seen.body),
    "gzip-unasked": lambda seen: len(json.loads(gzip.decompress(seen.body))["data"]) == 3,
    "endless-body": lambda seen: "content-length" not in seen.headers and seen.end == "more",
    "drip": lambda seen: (len(seen.body), seen.end) == (1, "silence"),
    "drip-headers": lambda seen: (seen.data, seen.end) == (b"H", "silence"),
    "header-flood": lambda seen: b"\r\n\r\n" not in seen.data and seen.end == "more",
    "no-http": lambda seen: seen.data.startswith(b"SSH-"),
    "chunk-broken": lambda seen: seen.body.startswith(b"zz\r\n"),
    "chunk-cut": lambda seen: seen.body == b"2\r\n[]\r\n" and seen.end == "closed",
    "interim": lambda seen: seen.status == 103 and b"\r\n\r\nHTTP/1.1 200 OK" in seen.data,
    "extra-answer": lambda seen: seen.data.count(b"HTTP/1.1 200 OK") == 2,
    "schema-changed": lambda seen: all("name" not in one and isinstance(one["group"], str) for one in records(seen)),
    "key-missing": lambda seen: all("id" not in one for one in records(seen)),
    "key-null": lambda seen: all(one["id"] is None for one in records(seen)),
    "key-text": lambda seen: [one["id"] for one in records(seen)] == ["1", "2", "3"],
    "envelope-gone": lambda seen: "data" not in seen.json and seen.status == 200,
    "error-in-200": lambda seen: seen.status == 200 and "error" in seen.json,
    "html": lambda seen: seen.status == 200 and seen.headers["content-type"].startswith("text/html"),
    "html-as-json": lambda seen: fails(seen) and seen.headers["content-type"] == "application/json",
    "empty-200": lambda seen: (seen.status, seen.body) == (200, b""),
    "null": lambda seen: seen.json is None,
    "truncated-json": fails,
    "nan": lambda seen: b"NaN" in seen.body and b"Infinity" in seen.body,
    "big-numbers": lambda seen: b"1e999" in seen.body and b"12345678901234567890.123456789" in seen.body,
    "duplicate-keys": lambda seen: seen.body.count(b'"id": ') == 6,
    "two-documents": fails,
    "deep-json": fails,
    "broken-utf8": fails,
    "utf-16": lambda seen: seen.body[:2] in (b"\xff\xfe", b"\xfe\xff"),
    "nul-characters": lambda seen: rb"\u0000" in seen.body and rb"\ud800" in seen.body,
    "byte-order-mark": lambda seen: seen.body.startswith(b"\xef\xbb\xbf{"),
    "forgets-etag": lambda seen: "etag" not in seen.headers,
    "json-as-text": lambda seen: seen.headers["content-type"] == "text/plain" and len(records(seen)) == 3,
    "wrong-id": lambda seen: [one["id"] for one in records(seen)] == [1001, 1002, 1003],
    "page-short": lambda seen: len(records(seen)) == 1 and seen.json["total"] == 3,
    "page-vanish": lambda seen: len(records(seen)) == 3,
}
# Shown by walking through pages, in test_hostile_api.py.
WALKED = {"page-loop", "page-clamp", "page-repeat", "page-skip", "page-empty"}
# What callers do to the warehouse, by the test that shows what comes of it.
CALLERS: dict[str, tuple[str, ...]] = {
    "test_warehouse_strangers:test_what_strangers_ask_is_refused_with_its_place_and_changes_nothing": (
        *REFUSED,
        *NOT_FOUND,
    ),
    "test_warehouse_strangers:test_patterns_and_statements_as_values_are_values": (*ANSWERED,),
    "test_warehouse_reads:test_a_list_that_would_read_too_much_is_refused_before_it_is_read": ("costly list",),
    "test_warehouse_reads:test_a_read_ends_when_its_time_is_over": ("read that takes long",),
    "test_warehouse_reads:test_a_page_is_weighed_before_it_is_glued": ("page of large records",),
    "test_warehouse_reads:test_a_reader_cannot_write_whatever_it_asks": ("write through a read",),
    "test_warehouse_feed:test_a_place_that_the_feed_never_had_is_told": ("deep offset of the feed", "unknown place"),
    "test_warehouse_feed:test_nobody_who_waits_holds_a_connection": ("many who wait",),
    "test_warehouse_straight:test_who_leaves_reads_slowly_or_waits_while_the_role_stops": ("slow reader of pages",),
    "test_warehouse_writes:test_hostile_values_change_no_statement": ("statement within a record",),
    "test_export_stream:test_who_reads_slowly_gets_one_snapshot_and_holds_no_memory": ("slow reader of a stream",),
    "test_export_stream:test_a_cut_export_has_no_closing_record": ("cut export", "reader who leaves a stream"),
    "test_export_stream:test_only_so_many_are_streamed_at_once_and_none_keeps_a_process_from_ending": (
        "many streams at once",
    ),
    "test_exports:test_the_budget_of_the_disk_holds": ("exports that fill the disk",),
    "test_export:test_no_cell_of_a_csv_is_taken_for_a_formula": ("formula in a cell",),
}
# What says nothing more for as long as it is asked to, and how long one listens before that is called silence.
SILENT = {"timeout-before", "timeout-after", "timeout-in-body", "late", "drip", "drip-headers"}
HELD, LISTENED = 600, 1.0
# What a write has no effect under.
INSTEAD = {
    *REFUSALS.keys() - {"500-after-effect", "504-after-effect", "429-after-effect", "no-content", "accepted"},
    *("429-date", "timeout-before", "reset-before", "close-before", "huge-body", "gzip-bomb", "endless-body"),
    *("header-flood", "no-http", "chunk-broken", "chunk-cut"),
}


@pytest.fixture
def api(hostile_api: HostileApi) -> HostileApi:
    hostile_api.add("things", count=3, etag="strong")
    return hostile_api


async def see_all(api: HostileApi, name: str, **options: Any) -> Seen:
    """What comes under a behaviour, however busy this process is; only what is to be silent is left in the middle."""
    if name in SILENT:
        return await ask(api, f"/be/{name}/things?_seconds={HELD}", seconds=LISTENED, **options)
    return await ask(api, f"/be/{name}/things", **options)


def test_each_behaviour_is_shown_and_there_are_more_than_forty() -> None:
    assert set(BEHAVIOURS) == {*REFUSALS, *SIGHTS, *WALKED}
    assert len(BEHAVIOURS) > 80
    assert all(one.says for one in BEHAVIOURS.values())


def test_what_callers_do_to_the_warehouse_is_shown_by_a_test() -> None:
    told = [behaviour for behaviours in CALLERS.values() for behaviour in behaviours]
    assert len(told) == len(set(told)) > 40
    for place in CALLERS:
        module, _, name = place.partition(":")
        assert hasattr(import_module(f"tests.service.{module}"), name), place


async def test_refusals_have_their_status_and_their_header(api: HostileApi) -> None:
    for name, (status, header, value) in REFUSALS.items():
        seen = await ask(api, f"/be/{name}/things")
        assert (name, seen.status) == (name, status)
        assert seen.end == "closed"
        assert seen.headers.get(header, "").endswith(value), name


async def test_everything_else_looks_as_its_sentence_says(api: HostileApi) -> None:
    async def look(name: str) -> str:
        seen = await see_all(api, name, most=1 << 21)
        return "" if SIGHTS[name](seen) else f"{name}: {seen.data[:300]!r} {seen.end}"

    faults = await asyncio.gather(*map(look, SIGHTS))
    assert not [fault for fault in faults if fault]


async def test_a_write_is_done_or_not_as_the_sentence_says(api: HostileApi) -> None:
    async def write(name: str) -> None:
        await see_all(api, name, method="POST", document={"reference": name, "name": "Name"})

    await asyncio.gather(*map(write, BEHAVIOURS))
    assert api.counts("things") == {name: {"create": 1} for name in BEHAVIOURS if name not in INSTEAD}
    assert {entry.behaviour for entry in api.journal.entries} == set(BEHAVIOURS)


async def test_a_connection_that_is_to_stay_is_closed_all_the_same(api: HostileApi) -> None:
    stay = {"Connection": "keep-alive"}
    assert (await ask(api, "/things/1", headers=stay, seconds=LISTENED)).end == "silence"
    assert (await ask(api, "/be/close-idle/things/1", headers=stay)).end == "closed"


async def test_a_byte_a_second_comes_to_its_end_if_one_waits(api: HostileApi) -> None:
    seen = await ask(api, "/be/drip/things/1?_seconds=0.001")
    assert seen.json["id"] == 1
    assert (await ask(api, "/be/drip-headers/things/1?_seconds=0.0005")).json["id"] == 1
    assert (await ask(api, "/be/late/things/1?_seconds=0.01")).json["id"] == 1


def test_the_bomb_is_good_gzip() -> None:
    assert gzip.decompress(explosive(2)) == b"[" + b" " * (2 << 20) + b"]"
    assert is_whole(explosive(1))


async def test_an_expired_token_is_refused_after_the_wait(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=1, login="bearer")
    form = b"grant_type=client_credentials&client_id=nms&client_secret=of-tests-alone"
    token = (await ask(hostile_api, "/oauth/token", "POST", body=form)).json["access_token"]
    login = {"Authorization": f"Bearer {token}"}
    assert (await ask(hostile_api, "/things", headers=login)).status == 200
    hostile_api.plan("429-token-expires", times=1)
    assert (await ask(hostile_api, "/things", headers=login)).status == 429
    assert (await ask(hostile_api, "/things", headers=login)).status == 401

"""What the client of a REST API makes of a remote: an answer, a Problem that names it, or an outcome nobody knows."""

import asyncio
import time
from collections.abc import Awaitable

import pytest

from nms.common.egress.exchange import Answer
from nms.common.problem import Problem
from nms.connectors.rest.client import Ask, Client
from nms.connectors.rest.problems import OriginForeign
from nms.connectors.rest.records import find_records, parse_body
from tests.service.rest_systems import system_of
from tests.services.hostile.api import HostileApi

pytestmark = pytest.mark.usefixtures("asking")

# Behaviour -> the code of the Problem that a read of it ends with, and how often it was asked.
READS: dict[str, tuple[str, int]] = {
    "timeout-before": ("remote-timeout", 4),
    "timeout-after": ("remote-timeout", 4),
    "timeout-in-body": ("remote-timeout", 4),
    "late": ("remote-timeout", 4),
    "reset-before": ("remote-unreachable", 4),
    "reset-in-headers": ("remote-unreachable", 4),
    "reset-in-body": ("remote-unreachable", 4),
    "close-before": ("remote-unreachable", 4),
    "length-long": ("remote-malformed", 4),
    "length-short": ("body-not-json", 1),
    "length-twice": ("remote-malformed", 4),
    "huge-body": ("remote-too-large", 1),
    "gzip-broken": ("remote-malformed", 4),
    "endless-body": ("remote-too-large", 1),
    "drip-headers": ("remote-timeout", 4),
    "header-flood": ("remote-too-large", 1),
    "chunk-broken": ("remote-malformed", 4),
    "chunk-cut": ("remote-malformed", 4),
    "429-ten-days": ("remote-limited", 1),
    "502": ("remote-fails", 4),
    "504": ("remote-fails", 4),
    "500": ("remote-fails", 4),
    "503": ("remote-fails", 4),
    "520": ("remote-fails", 4),
    "501": ("remote-fails", 1),
    "400": ("remote-refused", 1),
    "422": ("remote-refused", 1),
    "401": ("remote-login-refused", 1),
    "403": ("remote-login-refused", 1),
    "404": ("remote-missing", 1),
    "410": ("remote-missing", 1),
    "408": ("remote-fails", 4),
    "409": ("remote-conflict", 1),
    "412": ("remote-conflict", 1),
    "428": ("remote-conflict", 1),
    "redirect-loopback": ("remote-moved", 1),
    "redirect-keeping": ("remote-moved", 1),
    "redirect-metadata": ("remote-moved", 1),
    "redirect-file": ("remote-moved", 1),
    "redirect-loop": ("remote-moved", 1),
    "envelope-gone": ("records-missing", 1),
    "error-in-200": ("records-missing", 1),
    "null": ("records-missing", 1),
    "html": ("body-not-json", 1),
    "html-as-json": ("body-not-json", 1),
    "empty-200": ("body-not-json", 1),
    "no-content": ("body-not-json", 1),
    "truncated-json": ("body-not-json", 1),
    "nan": ("body-not-json", 1),
    "two-documents": ("body-not-json", 1),
    "broken-utf8": ("body-not-json", 1),
    "utf-16": ("body-not-json", 1),
    "deep-json": ("body-too-deep", 1),
}
# What is still read: 20 records come.
READ = ["close-idle", "gzip-unasked", "interim", "json-as-text", "byte-order-mark", "big-numbers", "forgets-etag"]
# Behaviour of a write -> what comes of it (a code, or the status of an answer), and how often it was sent.
WRITES: dict[str, tuple[str, int]] = {
    "timeout-before": ("outcome-unknown", 1),
    "timeout-after": ("outcome-unknown", 1),
    "reset-before": ("outcome-unknown", 1),
    "reset-after": ("outcome-unknown", 1),
    "reset-in-body": ("outcome-unknown", 1),
    "close-before": ("outcome-unknown", 1),
    "close-after": ("outcome-unknown", 1),
    "no-http": ("outcome-unknown", 1),
    "huge-body": ("outcome-unknown", 1),
    "500": ("outcome-unknown", 1),
    "502": ("outcome-unknown", 1),
    "503": ("outcome-unknown", 1),
    "504": ("outcome-unknown", 1),
    "520": ("outcome-unknown", 1),
    "504-after-effect": ("outcome-unknown", 1),
    "501": ("501", 1),
    "400": ("400", 1),
    "403": ("403", 1),
    "409": ("409", 1),
    "412": ("412", 1),
    "422": ("422", 1),
    "redirect-keeping": ("307", 1),
    "408": ("remote-fails", 4),
    "401": ("remote-login-refused", 1),
    "429-ten-days": ("remote-limited", 1),
}


async def told(outcome: Awaitable[Answer]) -> str:
    """The code of the Problem, or the status."""
    try:
        return str((await outcome).status)
    except Problem as problem:
        shown = str(problem.to_dict())
        assert not {"169.254", "passwd"} & set(shown.split("/")), "where a redirect leads to elsewhere is not told"
        return problem.code


async def read_things(client: Client) -> Answer:
    answer = await client.get(Ask("GET", "/things"))
    assert len(find_records(parse_body(answer), "data")) == 20
    return answer


async def once(api: HostileApi, behaviour: str, method: str) -> tuple[str, int]:
    """What comes of one request that is treated in a way, and how often it was sent."""
    system = system_of(f"{api.url}/be/{behaviour}", timeout="300ms", page_limit=1_000_000)
    async with Client.opened(system) as client:
        asked = read_things(client) if method == "GET" else client.send(Ask(method, "/things", body=b"{}"))
        outcome = await told(asked)
    return outcome, sum(f"/be/{behaviour}/" in entry.target for entry in api.journal.entries)


async def compare(api: HostileApi, expected: dict[str, tuple[str, int]], method: str) -> None:
    api.add("things", count=20)
    seen = await asyncio.gather(*(once(api, behaviour, method) for behaviour in expected))
    assert dict(zip(expected, seen, strict=True)) == expected


async def test_what_a_remote_does_to_a_read_has_a_name_and_is_repeated_where_that_may_help(
    hostile_api: HostileApi,
) -> None:
    await compare(hostile_api, READS, "GET")


async def test_odd_answers_that_are_whole_are_read(hostile_api: HostileApi) -> None:
    await compare(hostile_api, dict.fromkeys(READ, ("200", 1)), "GET")


async def test_a_write_is_repeated_only_where_it_certainly_had_no_effect(hostile_api: HostileApi) -> None:
    await compare(hostile_api, WRITES, "POST")
    assert {effect.act for effect in hostile_api.journal.of("things")} == {"create"}


async def test_requests_of_all_clients_of_a_process_share_the_concurrency(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=20, latency=0.1)
    system = system_of(hostile_api.url, concurrency=2)
    began = time.monotonic()
    async with Client.opened(system) as one, Client.opened(system) as other:
        await asyncio.gather(*(read_things(client) for client in (one, other) * 4))
        assert one.facts()["requests"] == 4
    assert time.monotonic() - began > 0.38


async def test_a_link_to_another_origin_gets_neither_request_nor_key(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=20)
    async with Client.opened(system_of(hostile_api.url)) as client:
        assert (await client.get(Ask("GET", f"{hostile_api.url}/things?page=1", {"per_page": "3"}))).status == 200
        for link in (hostile_api.tls_url() + "/things", "http://127.0.0.1:1/things", "https://user@127.0.0.1/"):
            with pytest.raises(OriginForeign):
                await client.get(Ask("GET", link))
    assert [entry.target for entry in hostile_api.journal.entries] == ["/things?page=1&per_page=3"]

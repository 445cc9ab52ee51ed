"""What outbound HTTP does to a remote, and what a remote cannot do to it."""

import asyncio
import gzip
import logging
import ssl
import traceback
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nms.common.egress.address import parse_allowance
from nms.common.egress.egress import Egress
from nms.common.egress.exchange import Caps, Request
from nms.common.egress.inflate import PIECE
from nms.common.egress.problems import EgressRefused, RemoteProblem
from nms.common.problem import Retry
from tests.service.remote import OK, Behaviour, Names, Remote, answering, endless, listening, saying, silent
from tests.waiting import Stopwatch, eventually

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
MEGABYTE = 1024 * 1024
# By what a remote is refused for: the rest is long, for on a busy machine anything may take a while.
SHORT = {
    "answer": Caps(answer=0.3, body=MEGABYTE),
    "idle": Caps(idle=0.3, body=MEGABYTE),
    "rate": Caps(idle=1.0, rate=100_000, body=MEGABYTE),
    "whole": Caps(whole=1.0, rate=1, body=MEGABYTE),
}


def local(*answers: list[str]) -> Egress:
    """An egress that may reach 127.0.0.2 and nothing else inside."""
    return Egress([parse_allowance("127.0.0.2")], NO_TLS, Names(*(answers or [["127.0.0.2"]])))


@asynccontextmanager
async def both(behave: Behaviour) -> AsyncIterator[tuple[Egress, Remote]]:
    egress = local()
    async with listening(behave) as remote:
        yield egress, remote
        await egress.close()


async def test_a_request_arrives_as_it_was_written_and_its_answer_comes_back() -> None:
    answer = b'HTTP/1.1 207 Multi\r\ncontent-length: 2\r\nLink: <a>\r\nlink: <b>\r\nETag: "x"\r\n\r\n{}'
    async with both(saying(answer)) as (egress, remote):
        given = Request("POST", remote.url("/a?b=c#d"), {"Authorization": "Bearer x", "X-A": "1"}, b"body")
        answered = await egress.send(given)
    assert (answered.status, answered.body) == (207, b"{}")
    assert (answered.headers["link"], answered.headers["etag"]) == ("<a>, <b>", '"x"')
    head = remote.heads[0].decode().lower()
    assert head.startswith("post /a?b=c http/1.1\r\n")
    for line in (f"host: api.example.test:{remote.port}", "authorization: bearer x", "x-a: 1", "content-length: 4"):
        assert f"\r\n{line}\r\n" in head
    assert "\r\nuser-agent: nms/" in head
    assert remote.bodies == [b"body"]


async def test_connections_are_used_again() -> None:
    async with both(saying(OK)) as (egress, remote):
        for _ in range(5):
            assert (await egress.send(Request("GET", remote.url()))).body == b"ok"
    assert len(remote.heads) == 5
    assert len(remote.reached) == 1


async def test_a_connection_that_the_remote_closed_meanwhile_is_not_used_again() -> None:
    async with both(saying(OK, close=True)) as (egress, remote):

        async def closed() -> bool:
            return not remote.tasks

        for _ in range(5):
            assert (await egress.send(Request("GET", remote.url()))).body == b"ok"
            await eventually(closed)
    assert len(remote.reached) == 5


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    inside = answering(b"", b"location: http://127.0.0.1/", status=b"302 Found")
    async with both(inside) as (egress, remote):
        answer = await egress.send(Request("GET", remote.url()))
    assert (answer.status, answer.headers["location"], len(remote.heads)) == (302, "http://127.0.0.1/", 1)


async def test_a_name_is_looked_up_once_and_the_connection_goes_to_that_very_answer() -> None:
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    egress = Egress([parse_allowance("127.0.0.2")], NO_TLS, names)
    async with listening(saying(OK)) as remote:
        for _ in range(3):
            await egress.send(Request("GET", remote.url()))
        assert (names.asked, remote.reached) == (["api.example.test"], ["127.0.0.2"])
        await egress.close()


async def test_a_name_that_turns_inwards_is_refused_at_its_next_connection() -> None:
    egress = local(["127.0.0.2"], ["127.0.0.1"])
    async with listening(answering(b"", b"connection: close")) as remote:
        assert (await egress.send(Request("GET", remote.url()))).status == 200
        with pytest.raises(EgressRefused):
            await egress.send(Request("GET", remote.url()))
        assert remote.reached == ["127.0.0.2"]
        await egress.close()


@pytest.mark.parametrize("answers", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "::1"]])
async def test_a_name_with_one_inner_answer_is_refused_and_no_answer_is_reached(
    answers: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    egress = local(answers)
    async with listening(saying(OK)) as remote:
        with pytest.raises(EgressRefused) as refused:
            await egress.send(Request("GET", remote.url()))
        assert remote.reached == []
    assert refused.value.retry is Retry.NEVER
    assert "127.0.0.1" not in str(refused.value.to_dict()), "an answer of the inner network is for the operator only"
    assert "which is not public" in caplog.text
    await egress.close()


async def test_an_address_that_does_not_answer_leaves_time_for_the_next_one() -> None:
    egress = local(["127.0.0.2"])
    async with listening(saying(OK)) as remote:
        egress = Egress([parse_allowance("127.0.0.0/8")], NO_TLS, Names(["127.0.0.3", "127.0.0.2"]))
        assert (await egress.send(Request("GET", remote.url()))).status == 200
        assert (await egress.send(Request("GET", f"http://127.0.0.4:{remote.port}/"))).status == 200
    await egress.close()


GZIPPED = gzip.compress(b"a" * 40 * MEGABYTE)
RAW = zlib.compressobj(wbits=-15)
DEFLATED = RAW.compress(b"b" * 5000) + RAW.flush()


@pytest.mark.parametrize(
    ("coding", "packed", "plain"),
    [
        (b"gzip", gzip.compress(b"one") + gzip.compress(b"two"), b"onetwo"),
        (b"x-gzip", gzip.compress(b"one"), b"one"),
        (b"deflate", zlib.compress(b"three" * 1000), b"three" * 1000),
        (b"deflate", DEFLATED, b"b" * 5000),
        (b"identity", b"four", b"four"),
        (b"gzip", b"", b""),
    ],
    # gzip writes the time of day: workers that collect in different seconds would not agree on the names.
    ids=["gzip twice", "x-gzip", "deflate", "deflate without its frame", "identity", "nothing"],
)
async def test_packed_bodies_are_unpacked_also_when_they_come_byte_by_byte(
    coding: bytes, packed: bytes, plain: bytes
) -> None:
    head = HEAD + b"content-encoding: " + coding + b"\r\ntransfer-encoding: chunked\r\n\r\n"
    chunks = [b"1\r\n%c\r\n" % byte for byte in packed]
    async with both(saying(head, *chunks, b"0\r\n\r\n")) as (egress, remote):
        assert (await egress.send(Request("GET", remote.url()))).body == plain


async def test_a_large_body_is_read_as_it_comes_and_a_slow_reader_is_not_the_remotes_fault() -> None:
    parts = [b"%x\r\n" % MEGABYTE + b"x" * MEGABYTE + b"\r\n"] * 20
    caps = Caps(idle=1.0, whole=1.5, rate=1, body=30 * MEGABYTE)
    size = largest = slept = 0
    async with (
        both(saying(CHUNKED, *parts, b"0\r\n\r\n")) as (egress, remote),
        egress.stream(Request("GET", remote.url(), caps=caps)) as answer,
    ):
        async for part in answer.parts():
            size, largest = size + len(part), max(largest, len(part))
            if slept < 16:
                slept += 1
                await asyncio.sleep(0.1)
    assert slept == 16
    assert size == 20 * MEGABYTE
    assert largest <= MEGABYTE


async def test_a_bomb_comes_out_in_small_parts() -> None:
    async with (
        both(answering(GZIPPED, b"content-encoding: gzip")) as (egress, remote),
        egress.stream(Request("GET", remote.url(), caps=Caps(body=41 * MEGABYTE))) as answer,
    ):
        sizes = [len(part) async for part in answer.parts()]
    assert sum(sizes) == 40 * MEGABYTE
    assert max(sizes) <= PIECE


@pytest.mark.parametrize(("method", "status"), [("HEAD", b"200 OK"), ("GET", b"304 Not Modified"), ("GET", b"204 No")])
async def test_the_length_and_coding_of_a_body_that_is_not_sent_are_no_fault(method: str, status: bytes) -> None:
    lines = b"\r\ncontent-encoding: br" + (b"" if b"204" in status else b"\r\ncontent-length: 99999999")
    async with both(saying(b"HTTP/1.1 " + status + lines + b"\r\n\r\n")) as (egress, remote):
        for _ in range(2):
            answer = await egress.send(Request(method, remote.url()))
            assert (answer.status, answer.body) == (int(status[:3]), b"")
        assert len(remote.reached) == 1


async def test_neither_proxies_of_the_environment_nor_cookies_have_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    async with both(answering(b"", b"set-cookie: hush=1; Path=/")) as (egress, remote):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        for _ in range(2):
            assert (await egress.send(Request("GET", remote.url()))).status == 200
    assert b"hush" not in b"".join(remote.heads)


# What a remote does, and: code, reason, whether the request may have had an effect.
HOSTILE: dict[str, tuple[Behaviour, tuple[str, str, bool]]] = {
    "large as announced": (answering(b"x" * (MEGABYTE + 1)), ("remote-too-large", "body", True)),
    "endless": (endless(CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n"), ("remote-too-large", "body", True)),
    "endless until close": (endless(HEAD + b"\r\n", b"x" * 65536), ("remote-too-large", "body", True)),
    "gzip bomb": (answering(GZIPPED, b"content-encoding: gzip"), ("remote-too-large", "body", True)),
    "deflate bomb": (
        answering(zlib.compress(b"a" * 40 * MEGABYTE), b"content-encoding: deflate"),
        ("remote-too-large", "body", True),
    ),
    "bomb in a bomb": (
        answering(gzip.compress(GZIPPED), b"content-encoding: gzip, gzip"),
        ("remote-malformed", "coding", True),
    ),
    "brotli unasked": (answering(b"\x8b\x02\x80x\x03", b"content-encoding: br"), ("remote-malformed", "coding", True)),
    "zstd unasked": (answering(b"\x28\xb5\x2f\xfd", b"content-encoding: zstd"), ("remote-malformed", "coding", True)),
    "gzip cut short": (answering(GZIPPED[:5000], b"content-encoding: gzip"), ("remote-too-large", "body", True)),
    "small gzip cut short": (
        answering(gzip.compress(b"hello")[:-4], b"content-encoding: gzip"),
        ("remote-malformed", "coding", True),
    ),
    "no gzip at all": (answering(b"hello", b"content-encoding: gzip"), ("remote-malformed", "coding", True)),
    "gzip and more": (
        answering(gzip.compress(b"hello") + b"more", b"content-encoding: gzip"),
        ("remote-malformed", "coding", True),
    ),
    "deflate and more": (
        answering(zlib.compress(b"hello") + b"more", b"content-encoding: deflate"),
        ("remote-malformed", "coding", True),
    ),
    "one byte of gzip": (answering(b"\x1f", b"content-encoding: gzip"), ("remote-malformed", "coding", True)),
    "large head": (answering(b"", b"x-a: " + b"a" * 70_000), ("remote-too-large", "head", True)),
    "endless head": (endless(HEAD, b"x-a: " + b"a" * 5000 + b"\r\n"), ("remote-too-large", "head", True)),
    "silence": (silent, ("remote-timeout", "answer", True)),
    "a head byte by byte": (endless(HEAD + b"x-a: ", b"a", 0.02), ("remote-timeout", "answer", True)),
    "endless hints": (endless(b"", b"HTTP/1.1 103 Hints\r\n\r\n", 0.02), ("remote-timeout", "answer", True)),
    "silence in the body": (saying(CHUNKED, pause=5), ("remote-timeout", "idle", True)),
    "a body byte by byte": (endless(CHUNKED, b"1\r\nx\r\n", 0.02), ("remote-timeout", "rate", True)),
    "a body that takes too long": (
        endless(HEAD + b"\r\n", b"x" * 4000, 0.02),
        ("remote-timeout", "whole", True),
    ),
    "end before an answer": (saying(close=True), ("remote-unreachable", "closed", True)),
    "end in the head": (saying(HEAD, close=True), ("remote-unreachable", "closed", True)),
    "end in the body": (
        saying(HEAD + b"content-length: 9\r\n\r\nab", close=True, pause=0.05),
        ("remote-malformed", "cut", True),
    ),
    "end in a chunk": (saying(CHUNKED + b"9\r\nab", close=True, pause=0.05), ("remote-malformed", "cut", True)),
    "no HTTP": (saying(b"220 smtp.example.test ESMTP\r\n\r\n"), ("remote-malformed", "http", True)),
    "two lengths": (answering(b"ab", b"content-length: 3"), ("remote-malformed", "http", True)),
    "another protocol": (
        saying(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
        ("remote-malformed", "http", True),
    ),
    "a chunk without size": (saying(CHUNKED + b"zz\r\n"), ("remote-malformed", "http", True)),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_remote_is_a_named_problem_soon_and_the_next_request_goes_well(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    behave, expected = HOSTILE[name]
    caplog.set_level(logging.DEBUG)
    caps = SHORT.get(expected[1], Caps(body=MEGABYTE))
    async with both(behave) as (egress, remote):
        watch = Stopwatch()
        with pytest.raises(RemoteProblem) as problem:
            await egress.send(Request("GET", remote.url("/hush1?t=hush2"), {"X-Key": "hush3"}, b"hush4", caps))
        assert watch.seconds() < 5
        remote.behave = saying(OK)
        assert (await egress.send(Request("GET", remote.url()))).status == 200
    facts = problem.value.facts
    assert (problem.value.code, facts["reason"], facts["sent"]) == expected
    told = "".join(traceback.format_exception(problem.value)) + str(problem.value.to_dict()) + caplog.text
    told = "\n".join(line for line in told.splitlines() if "Request(" not in line)
    assert "hush" not in told
    assert facts["origin"] == f"http://api.example.test:{remote.port}"


async def test_a_remote_that_does_not_listen_was_not_sent_anything() -> None:
    async with both(saying(OK)) as (egress, remote):
        pass
    for answers, expected in (
        (["127.0.0.2"], ("remote-unreachable", "connect", False)),
        ([], ("remote-unreachable", "name", False)),
    ):
        egress = local(answers)
        with pytest.raises(RemoteProblem) as problem:
            await egress.send(Request("GET", remote.url()))
        assert (problem.value.code, problem.value.reason, problem.value.sent) == expected
        await egress.close()


async def test_a_look_up_that_hangs_or_fails_is_a_named_problem() -> None:
    async def hang(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    egress = Egress((), NO_TLS, hang)
    with pytest.raises(RemoteProblem) as problem:
        await egress.send(Request("GET", "http://api.example.test/", caps=Caps(connect=0.3)))
    assert (problem.value.code, problem.value.reason, problem.value.sent) == ("remote-timeout", "connect", False)
    await egress.close()
    egress = Egress((), NO_TLS)
    with pytest.raises(RemoteProblem) as problem:
        await egress.send(Request("GET", "http://no-such-name.invalid/"))
    assert (problem.value.code, problem.value.reason, problem.value.sent) == ("remote-unreachable", "name", False)
    await egress.close()


async def test_a_remote_that_hangs_takes_only_its_own_connections() -> None:
    egress = Egress([parse_allowance("127.0.0.2")], NO_TLS, Names(["127.0.0.2"]), per_origin=3)
    async with listening(silent) as hung, listening(saying(OK)) as well:
        caps = Caps(queue=0.2, answer=30)
        tasks = [asyncio.create_task(egress.send(Request("GET", hung.url(), caps=caps))) for _ in range(5)]

        async def two_gave_up() -> bool:
            return sum(task.done() for task in tasks) == 2 and len(hung.heads) == 3

        await eventually(two_gave_up, 5)
        done, waiting = await asyncio.wait(tasks, timeout=0)
        for task in done:
            problem = task.exception()
            assert isinstance(problem, RemoteProblem)
            assert (problem.code, problem.reason, problem.sent) == ("remote-timeout", "queue", False)
        assert (len(done), len(waiting)) == (2, 3)
        assert (await egress.send(Request("GET", well.url()))).status == 200
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        hung.behave = saying(OK)
        assert (await egress.send(Request("GET", hung.url()))).status == 200
        await egress.close()


async def test_requests_that_are_cancelled_at_any_moment_leave_a_working_pool() -> None:
    async with both(saying(HEAD, b"content-length: 2\r\n\r\n", b"o", b"k")) as (egress, remote):
        for turn in range(40):
            tasks = [asyncio.create_task(egress.send(Request("GET", remote.url()))) for _ in range(6)]
            for _ in range(turn):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            for answer in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(answer, asyncio.CancelledError) or answer.body == b"ok"  # type: ignore[union-attr]
        assert (await egress.send(Request("GET", remote.url()))).body == b"ok"


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"X-A": "a\r\nHost: b"}),
        ("GET", {"X-A\r\n": "a"}),
        ("GET", {"X-A": "\u00e4"}),
        ("GET", {"Host": "inner"}),
        ("GET", {"Transfer-Encoding": "chunked"}),
        ("GET", {"content-length": "5"}),
        ("GET", {"Proxy-Authorization": "x"}),
        ("GET / HTTP/1.1\r\nX: ", {}),
        ("CONNECT", {}),
        ("TRACE", {}),
    ],
)
async def test_what_would_reframe_a_request_is_refused_and_not_sent(method: str, headers: dict[str, str]) -> None:
    async with both(saying(OK)) as (egress, remote):
        with pytest.raises(EgressRefused):
            await egress.send(Request(method, remote.url(), headers))
        assert remote.reached == []

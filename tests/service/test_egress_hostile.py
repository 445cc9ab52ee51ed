"""Nobody is reached on this machine over an address that a stranger wrote, in whatever spelling; good ones are."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence

import pytest

from nms.common.egress import network
from nms.common.egress.address import Allowance, is_open, parse_allowance
from nms.common.egress.egress import Egress
from nms.common.egress.exchange import Caps, Request
from nms.common.egress.problems import EgressRefused, RemoteProblem
from tests.service.hostile_addresses import hosts, urls
from tests.service.remote import Names, Remote, answering

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
HOSTILE = 400
SHORT = Caps(connect=0.5, answer=0.5, idle=0.5, whole=1.0)


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    """Listens on every address of this machine, of both families; answers 200."""
    remote = Remote(answering(b"in"))
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as place:
        server = await asyncio.start_server(remote.accept, sock=place)
        remote.port = place.getsockname()[1]
        yield remote
        server.close()
        for task in remote.tasks:
            task.cancel()
        await asyncio.gather(*remote.tasks)


async def lead_here(host: str, port: int) -> Sequence[str]:
    """A name server in a stranger's hands: whatever is asked leads to this machine."""
    return ["127.0.0.1", "::1"]


async def try_all(targets: Sequence[str], resolve: network.Resolve = lead_here) -> list[str]:
    """The URLs that were not refused; what is let through fails or is answered."""
    egress, passed = Egress(tls=NO_TLS, resolve=resolve), []
    for url in targets:
        try:
            await egress.send(Request("GET", url, caps=SHORT))
            passed.append(url)
        except EgressRefused:
            continue
        except RemoteProblem:
            passed.append(url)
    await egress.close()
    return passed


async def test_no_spelling_of_an_inner_address_reaches_a_listener(remote: Remote) -> None:
    targets = list(urls(remote.port))
    assert len(set(targets)) == len(targets) >= HOSTILE
    assert await try_all(targets) == []
    assert remote.reached == []


async def test_a_guard_that_believes_every_answer_is_caught_by_the_same_list(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    def believe(_text: str, _port: int, _allowed: Sequence[Allowance]) -> bool:
        return True

    monkeypatch.setattr(network, "is_open", believe)
    await try_all(
        [f"http://{host}:{remote.port}/" for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]")]
    )
    assert len(remote.reached) == 4


async def test_a_name_that_leads_inwards_in_any_spelling_is_refused_as_a_whole(remote: Remote) -> None:
    for host in hosts():
        # What stands in an answer of a name server is the address itself, without brackets.
        answers = Names(["8.8.8.8", host.strip("[]").replace("%25", "%")], ["127.0.0.1"])
        assert await try_all([f"http://api.example.com:{remote.port}/"] * 2, answers) == [], host
    assert remote.reached == []


async def test_a_redirect_inwards_is_an_answer_and_is_not_followed(remote: Remote) -> None:
    egress = Egress([parse_allowance("127.0.0.2")], NO_TLS, Names(["127.0.0.2"]))
    for url in list(urls(remote.port))[::20]:
        location = b"location: " + url.encode().replace(b"\n", b"").replace(b"\t", b"")
        for status in (b"301 Moved", b"302 Found", b"307 Temporary", b"308 Permanent"):
            remote.behave = answering(b"", location, status=status)
            answer = await egress.send(Request("GET", remote.url()))
            assert answer.status == int(status[:3])
    await egress.close()
    assert set(remote.reached) == {"::ffff:127.0.0.2"}


async def test_what_the_owner_opened_and_what_is_public_is_reached(remote: Remote) -> None:
    egress = Egress([parse_allowance(f"127.0.0.2:{remote.port}"), parse_allowance("::1")], NO_TLS, Names(["127.0.0.2"]))
    for host in (
        "api.example.com",
        "API.example.com",
        "b\u00fccher.example",
        "127.0.0.2",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
    ):
        assert (await egress.send(Request("GET", f"http://{host}:{remote.port}/"))).status == 200
    await egress.close()
    assert {"::ffff:127.0.0.2", "::1"} == set(remote.reached)
    for public in ("1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001::1"):
        assert is_open(public, 443, ())

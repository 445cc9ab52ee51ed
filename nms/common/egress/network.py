"""The connect of outbound HTTP: one look-up, every answer judged, and the connection goes to that very answer."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from httpcore2 import AsyncNetworkBackend, AsyncNetworkStream, ConnectError, ConnectTimeout

from nms.common import clock
from nms.common.egress.address import Allowance, is_open
from nms.common.egress.problems import EgressRefused
from nms.common.egress.wire import Stream

log = logging.getLogger(__name__)

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives every address of a name; raises OSError when there is none."""

ANSWERS: Final = 16
"""More addresses of one name are judged but not tried."""


class NameUnknown(ConnectError):
    """The name has no address."""


class GuardedNetwork(AsyncNetworkBackend):
    """Opens connections for the pool of HTTP connections; a name with one inner answer is refused as a whole."""

    def __init__(self, allowed: Sequence[Allowance], resolve: Resolve) -> None:
        self._allowed = tuple(allowed)
        self._resolve = resolve

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 (the pool names it)
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> AsyncNetworkStream:
        """Connect to the first address that answers, within `timeout` seconds for the look-up and all of them."""
        limit = 10.0 if timeout is None else timeout
        until = clock.monotonic() + limit
        addresses = await self._look_up(host, port, limit)
        failure: Exception = ConnectTimeout()
        for place, address in enumerate(addresses):
            left = until - clock.monotonic()
            if left <= 0:
                break
            # An address that swallows packets must leave time for the next one.
            share = left / (len(addresses) - place)
            try:
                return await Stream.connect(address, port, share)
            except (ConnectError, ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)

    async def _look_up(self, host: str, port: int, limit: float) -> Sequence[str]:
        answers = [host] if _is_address(host) else await self._ask(host, port, limit)
        for answer in answers:
            if not is_open(answer, port, self._allowed):
                # The answer itself is for the operator: to whoever may write URLs it would draw a map of the network.
                log.warning("outbound HTTP to %s is refused: it leads to %s, which is not public", host, answer)
                raise EgressRefused(f"{host} leads to an address that is not public.", host=host, port=port)
        return answers[:ANSWERS]

    async def _ask(self, host: str, port: int, limit: float) -> Sequence[str]:
        try:
            async with asyncio.timeout(limit):
                answers = await self._resolve(host, port)
        except TimeoutError as error:
            raise ConnectTimeout from error
        except (OSError, UnicodeError) as error:
            raise NameUnknown from error
        if not answers:
            raise NameUnknown
        return answers


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name in the order of the system's own look-up; raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

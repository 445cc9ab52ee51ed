"""Drivers that open connections of their own, kept within the bounds of outbound HTTP: work on a loop that looks.

They run in a thread with an event loop of its own, which judges every answer of a look-up, and every address once more
when a connection is opened: what a cluster tells of its other servers too. Nothing else of the process is in reach.
"""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from threading import Thread
from typing import Any, Final, TypeVar

from nms.common.egress.address import Allowance, is_open
from nms.common.egress.problems import EgressRefused

log = logging.getLogger(__name__)

T = TypeVar("T")

CLOSE_SECONDS: Final = 1.0
_REMEDY: Final = (
    "Inner networks are allowed by the owner of the process alone, in EGRESS_ALLOW; link-local addresses and those "
    "where clouds tell their guests about themselves never are."
)
# Link-local (RFC 3927, RFC 4291) and where AWS, Azure, Alibaba and Oracle answer their guests.
_NEVER: Final = tuple(
    ipaddress.ip_network(text)
    for text in "169.254.0.0/16 168.63.129.16/32 100.100.100.200/32 192.0.0.192/32 fe80::/10 fd00:ec2::/32".split()
)


def is_reachable(text: str, port: int, allowed: Sequence[Allowance]) -> bool:
    """Whether a driver may connect to an address: as outbound HTTP, but never to what is only there for the host."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    plain = getattr(address, "ipv4_mapped", None) or address
    return not any(plain in network for network in _NEVER) and is_open(text, port, allowed)


class ConfinedLoop(asyncio.SelectorEventLoop):
    """Opens TCP connections to reachable addresses, and no others."""

    def __init__(self, allowed: Sequence[Allowance]) -> None:
        super().__init__()
        self._allowed = tuple(allowed)
        self._opened: list[asyncio.BaseTransport] = []

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> list[Any]:
        """The addresses of a name, all of which may be reached; raises EgressRefused, OSError."""
        answers = await super().getaddrinfo(host, port, **hints)
        for answer in answers:
            self._judge(str(host), answer[4])
        return answers

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect; raises EgressRefused, OSError."""
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            raise EgressRefused("This is no address of the internet.", remedy=_REMEDY)
        self._judge(str(address[0]), address)
        await super().sock_connect(sock, address)

    async def create_connection(self, *given: Any, **options: Any) -> Any:
        """As ever; raises EgressRefused, OSError."""
        transport, protocol = await super().create_connection(*given, **options)
        self._opened.append(transport)
        return transport, protocol

    async def create_unix_connection(self, *_: Any, **__: Any) -> Any:
        """Refused: sockets of this machine are nobody's system."""
        raise EgressRefused("This is no address of the internet.", remedy=_REMEDY)

    def end(self) -> None:
        """Cut off whatever is left, and close the loop."""
        left = asyncio.all_tasks(self)
        for task in left:
            task.cancel()
        self.run_until_complete(asyncio.wait(left, timeout=CLOSE_SECONDS) if left else asyncio.sleep(0))
        for transport in self._opened:
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
        # What is told to the protocols of connections is told by callbacks, some by callbacks of those.
        for _ in range(3):
            self.run_until_complete(asyncio.sleep(0))
        self.close()

    def _judge(self, host: str, address: Any) -> None:
        if not is_reachable(str(address[0]), address[1], self._allowed):
            # The answer itself is for the operator: to who may write addresses it would draw a map of the network.
            log.warning("a connection to %s is refused: it leads to %s, which is not public", host, address[0])
            raise EgressRefused(f"{host} leads to an address that is not public.", remedy=_REMEDY, host=host)


async def run_confined(work: Callable[[], Awaitable[T]], allowed: Sequence[Allowance], seconds: float) -> T:
    """What `work` gives, done on a confined loop; raises what it raises, and TimeoutError.

    Work that swallows its cancellation is left behind in a thread that ends with the process.
    """
    here = asyncio.get_running_loop()
    done: asyncio.Future[T] = here.create_future()

    def finish(error: BaseException | None, result: Any) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        loop = ConfinedLoop(allowed)
        error, result = None, None
        try:
            result = loop.run_until_complete(_within(work(), seconds))
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):
            here.call_soon_threadsafe(finish, error, result)
        loop.end()

    Thread(target=copy_context().run, args=(run,), daemon=True, name="confined").start()
    return await done


async def _within(awaitable: Awaitable[T], seconds: float) -> T:
    task = asyncio.ensure_future(awaitable)
    await asyncio.wait({task}, timeout=seconds)
    if task.done():
        return task.result()
    task.cancel()
    raise TimeoutError

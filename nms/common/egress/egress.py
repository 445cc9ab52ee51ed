"""Outbound HTTP: http and https only, to public addresses or what EGRESS_ALLOW opens, no redirects, everything capped.

HTTP/1.1 over one pool of connections for the whole process. Cookies, proxies of the environment and `.netrc` have no
part in it.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self
from weakref import WeakValueDictionary

import httpcore2

from nms.common.egress.address import Allowance, Location, parse_allowance, parse_url
from nms.common.egress.exchange import Answer, Exchange, Request, StreamedAnswer, written
from nms.common.egress.network import GuardedNetwork, Resolve, resolve
from nms.common.egress.problems import EgressRefused, RemoteMalformed
from nms.common.settings import Settings, SettingsRefused

CONNECTIONS: Final = 100
CONNECTIONS_PER_ORIGIN: Final = 20
"""One remote that hangs must not keep the others from their turn."""
KEPT_SECONDS: Final = 4.0
"""An idle connection is closed before the usual five seconds after which servers do, so that none is found closed."""

# At DEBUG it would log the headers of requests and answers.
logging.getLogger("httpcore2").setLevel(logging.INFO)


class Egress:
    """Sends requests; any status is an answer, redirects too. Make one per process with `Egress.of(settings)`."""

    def __init__(
        self,
        allowed: Sequence[Allowance] = (),
        tls: ssl.SSLContext | None = None,
        resolve: Resolve = resolve,
        per_origin: int = CONNECTIONS_PER_ORIGIN,
    ) -> None:
        self._per_origin = per_origin
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpcore2.default_ssl_context() if tls is None else tls,
            max_connections=CONNECTIONS,
            max_keepalive_connections=CONNECTIONS,
            keepalive_expiry=KEPT_SECONDS,
            network_backend=GuardedNetwork(allowed, resolve),
        )

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """With EGRESS_ALLOW and EGRESS_CA; raises SettingsRefused when they cannot be used."""
        tls = httpcore2.default_ssl_context()
        if settings.egress_ca is not None:
            try:
                tls.load_verify_locations(settings.egress_ca)
            except (OSError, ssl.SSLError) as error:
                raise SettingsRefused(
                    f"EGRESS_CA cannot be read as certificates in PEM form: {error.strerror}."
                ) from None
        return cls([parse_allowance(text) for text in settings.egress_allow], tls)

    async def send(self, request: Request) -> Answer:
        """Send a request and read the whole answer.

        Raises EgressRefused (never; nothing was sent), and with the fact `sent`: RemoteUnreachable, RemoteTimeout,
        RemoteMalformed (later), RemoteTooLarge (never).
        """
        async with self.stream(request) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[StreamedAnswer]:
        """Send a request; its body is read as it comes, and what is not read is dropped. Raises as `send` does."""
        location = _locate(request.url)
        exchange = Exchange(request, location)
        outgoing = _prepare(exchange)
        turns = self._turns.setdefault(location.origin, asyncio.Semaphore(self._per_origin))
        with exchange.translated("queue"):
            async with asyncio.timeout(request.caps.queue):
                await turns.acquire()
        try:
            with exchange.translated("answer"):
                async with exchange.awaited():
                    response = await self._pool.handle_async_request(outgoing)
            try:
                yield _check(exchange, response)
            finally:
                await response.aclose()
        finally:
            turns.release()

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


def _locate(url: str) -> Location:
    try:
        return parse_url(url)
    except ValueError as error:
        raise EgressRefused(f"The address cannot be used: {error}.") from None


def _prepare(exchange: Exchange) -> httpcore2.Request:
    location, caps = exchange.location, exchange.request.caps
    return httpcore2.Request(
        exchange.request.method,
        httpcore2.URL(scheme=location.scheme, host=location.host, port=location.port, target=location.target),
        headers=written(exchange.request, location),
        content=exchange.request.body,
        extensions={"timeout": {"pool": caps.queue, "connect": caps.connect}, "trace": exchange.trace},
    )


def _check(exchange: Exchange, response: httpcore2.Response) -> StreamedAnswer:
    if response.status < 200:
        raise exchange.fault(RemoteMalformed, "it answers with a protocol that was not asked for", "http")
    return StreamedAnswer(exchange, response)

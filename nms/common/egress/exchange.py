"""One request and its answer: what they are made of, how far they may go, and what went wrong."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Final

import httpcore2

from nms.common import clock
from nms.common.egress.address import Location
from nms.common.egress.inflate import ACCEPTED, Inflater, Unpackable
from nms.common.egress.network import NameUnknown
from nms.common.egress.problems import (
    EgressRefused,
    RemoteMalformed,
    RemoteProblem,
    RemoteTimeout,
    RemoteTooLarge,
    RemoteUnreachable,
)

_AGENT: Final = f"nms/{version('nms')}"
_METHOD: Final = re.compile(r"[A-Z]{1,20}")
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")
_VALUE: Final = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?")
# What frames a request or speaks to the next hop is written here and nowhere else.
_OURS: Final = frozenset(
    "host content-length transfer-encoding connection accept-encoding te upgrade keep-alive expect trailer".split()
)


@dataclass(frozen=True, slots=True)
class Caps:
    """How far a remote may go. Times are seconds, sizes bytes.

    `queue`: until a connection is free; `connect`: look-up, TCP and TLS; `answer`: from the first byte sent until the
    head of the answer is whole; `idle`: between two parts of the body; `whole`: waited for the whole body; `rate`:
    bytes a second of the body, judged as soon as more than `idle` was waited; `head` and `body`: sizes, the body as it
    came and inflated. Time in which the caller works on a part is not counted.
    """

    queue: float = 60.0
    connect: float = 10.0
    answer: float = 60.0
    idle: float = 30.0
    whole: float = 600.0
    rate: int = 1_000
    head: int = 64 * 1024
    body: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What to send; the representation shows neither URL, headers nor body."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    caps: Caps = field(default_factory=Caps, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status; names of `headers` are lower case, equal ones are joined by `, `."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


class Exchange:
    """One request under way; knows whether a byte of it was sent and names what goes wrong."""

    def __init__(self, request: Request, location: Location) -> None:
        self.request = request
        self.location = location
        self.sent = False
        self._deadline = asyncio.timeout(None)

    def awaited(self) -> asyncio.Timeout:
        """Encloses the sending and the wait for the head; the time runs from the first byte that is sent."""
        return self._deadline

    async def trace(self, name: str, _info: Mapping[str, Any]) -> None:
        """Hear of each step of the HTTP library."""
        if name == "http11.send_request_headers.started":
            self.sent = True
            self._deadline.reschedule(asyncio.get_running_loop().time() + self.request.caps.answer)

    def fault(self, kind: type[RemoteProblem], what: str, reason: str) -> RemoteProblem:
        """A problem of this exchange: what happened to whom, and whether the request may have had an effect."""
        origin, method = self.location.origin, self.request.method
        return kind(f"{origin}: {what}.", reason=reason, sent=self.sent, origin=origin, method=method)

    @contextmanager
    def translated(self, slow: str) -> Iterator[None]:
        """Turn what is raised inside into problems; `slow` is the reason when time runs out."""
        try:
            yield
        except (httpcore2.TimeoutException, TimeoutError) as error:
            reason = _SLOW.get(type(error), slow)
            raise self.fault(RemoteTimeout, f"it takes too long ({reason})", reason) from None
        except Unpackable as error:
            raise self.fault(RemoteMalformed, str(error), "coding") from None
        except httpcore2.LocalProtocolError:
            raise EgressRefused("The request is not valid HTTP.", origin=self.location.origin) from None
        except httpcore2.RemoteProtocolError as error:
            raise self._judge(str(error)) from None
        except NameUnknown:
            raise self.fault(RemoteUnreachable, "its name has no address", "name") from None
        except httpcore2.ConnectError as error:
            raise self._judge_connect(error) from None
        except (httpcore2.NetworkError, OSError):
            raise self.fault(RemoteUnreachable, "the connection broke", "broken") from None

    def _judge(self, said: str) -> RemoteProblem:
        if said.startswith("Server disconnected"):
            return self.fault(RemoteUnreachable, "it closed the connection without an answer", "closed")
        if "Receive buffer too long" in said:
            return self.fault(RemoteTooLarge, "the head of its answer is too large", "head")
        if "without sending complete message body" in said or "incomplete chunked read" in said:
            return self.fault(RemoteMalformed, "its answer is cut short", "cut")
        return self.fault(RemoteMalformed, "its answer is not valid HTTP", "http")

    def _judge_connect(self, error: BaseException) -> RemoteProblem:
        # The library hands its cause over as the first argument, and cuts the chain to it.
        cause = next((one for one in error.args if isinstance(one, BaseException)), None)
        while cause is not None and not isinstance(cause, ssl.SSLError):
            cause = cause.__cause__
        if isinstance(cause, ssl.SSLCertVerificationError):
            what = "its certificate is not from an authority we trust, is over, or names another host"
            return self.fault(RemoteUnreachable, what, "certificate")
        if cause is not None:
            return self.fault(RemoteUnreachable, "TLS cannot be agreed on", "tls")
        return self.fault(RemoteUnreachable, "it takes no connection", "connect")


_SLOW: Final[Mapping[type[BaseException], str]] = {
    httpcore2.PoolTimeout: "queue",
    httpcore2.ConnectTimeout: "connect",
    httpcore2.WriteTimeout: "answer",
}


class StreamedAnswer:
    """An answer whose body is still to come; read it once, inside the `async with` that gave it."""

    def __init__(self, exchange: Exchange, response: httpcore2.Response) -> None:
        self.status = response.status
        self.headers = _read_headers(exchange, response.headers)
        self._exchange = exchange
        self._response = response

    async def read(self) -> bytes:
        """The whole body; raises RemoteTooLarge, RemoteTimeout, RemoteUnreachable, RemoteMalformed."""
        return b"".join([part async for part in self.parts()])

    async def parts(self) -> AsyncIterator[bytes]:
        """The body, inflated, in parts of at most 256 KB; raises as `read` does."""
        exchange, most = self._exchange, self._exchange.request.caps.body
        if exchange.request.method == "HEAD" or self.status in (204, 304):
            # Length and coding speak of a body that is not sent (RFC 9110 sections 8.6 and 15.4.5); to read to its end
            # gives the connection back.
            async for _ in self._raw():
                pass
            return
        if self.headers.get("content-length", "").isdigit() and int(self.headers["content-length"]) > most:
            raise exchange.fault(RemoteTooLarge, f"its answer is larger than {most} bytes", "body")
        with exchange.translated("idle"):
            inflater = Inflater(self.headers.get("content-encoding", ""))
        size = 0
        async for data in self._raw():
            for piece in _within(exchange, inflater.feed(data)):
                size += len(piece)
                if size > most:
                    raise exchange.fault(RemoteTooLarge, f"its answer is larger than {most} bytes", "body")
                yield piece
                if inflater.unpacks:
                    # Unpacking a bomb up to the cap must not keep the other work of this process waiting.
                    await asyncio.sleep(0)
        with exchange.translated("idle"):
            rest = inflater.end()
        if rest:
            yield rest

    async def _raw(self) -> AsyncIterator[bytes]:
        """The body as it comes over the wire, within the caps of time and size."""
        exchange, caps = self._exchange, self._exchange.request.caps
        assert isinstance(self._response.stream, AsyncIterable)
        stream = aiter(self._response.stream)
        waited, received = 0.0, 0
        while True:
            started = clock.monotonic()
            with exchange.translated("idle" if caps.whole - waited > caps.idle else "whole"):
                async with asyncio.timeout(min(caps.idle, max(0.0, caps.whole - waited))):
                    data = await anext(stream, None)
            if data is None:
                return
            waited += clock.monotonic() - started
            received += len(data)
            if received > caps.body:
                raise exchange.fault(RemoteTooLarge, f"its answer is larger than {caps.body} bytes", "body")
            if waited > caps.idle and received < caps.rate * waited:
                raise exchange.fault(RemoteTimeout, f"it sends less than {caps.rate} bytes a second", "rate")
            yield data


def _within(exchange: Exchange, pieces: Iterator[bytes]) -> Iterator[bytes]:
    while True:
        with exchange.translated("idle"):
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


def _read_headers(exchange: Exchange, raw: list[tuple[bytes, bytes]]) -> Mapping[str, str]:
    most = exchange.request.caps.head
    if sum(len(name) + len(value) + 4 for name, value in raw) > most:
        raise exchange.fault(RemoteTooLarge, f"the head of its answer is larger than {most} bytes", "head")
    joined: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        joined[key] = f"{joined[key]}, {text}" if key in joined else text
    return MappingProxyType(joined)


def written(request: Request, location: Location) -> list[tuple[str, str]]:
    """The headers of a request as they are sent; raises EgressRefused."""
    if not _METHOD.fullmatch(request.method) or request.method in ("CONNECT", "TRACE"):
        raise EgressRefused("This method is not sent.", origin=location.origin)
    for name, value in request.headers.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise EgressRefused("A header is not printable ASCII.", origin=location.origin)
        if name.lower() in _OURS or name.lower().startswith("proxy-"):
            raise EgressRefused(f"The header {name} is written by NMS itself.", origin=location.origin)
    headers = [("host", location.authority), ("accept-encoding", ACCEPTED), *request.headers.items()]
    if not any(name.lower() == "user-agent" for name in request.headers):
        headers.append(("user-agent", _AGENT))
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        headers.append(("content-length", str(len(request.body))))
    return headers

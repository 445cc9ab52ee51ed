"""HTTP/1 as a stranger meets it: what is ambiguous, too large or too slow is refused before a role sees it.

`uvicorn APP --http nms.common.strict_http:StrictHttp`, `gunicorn APP -k nms.common.strict_worker.StrictWorker`;
`nms serve` and `nms up` have it. uvicorn's own protocol has no time for a request and no limit of its headers, and
takes trailers for headers (RFC 9112, RFC 9110 sections 6.5.1, 7.2, 7.8).
"""

import asyncio
import json
import logging
import re
from typing import Any, Final, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from nms.common.callers import Caller, callers_of
from nms.common.http_problems import HeadersTooLarge, HttpMalformed, RequestTooSlow, TargetTooLong
from nms.common.metrics import Counter
from nms.common.problem import Problem
from nms.common.rendering import MEDIA_TYPE
from nms.common.shortcut import Whole, fill_scope, is_forwarded, log_access, shortcut_of

FIELDS: Final = 100
TARGET: Final = 8192
"""Bytes, as RFC 9112 section 3 recommends."""
PIPELINED: Final = 16
DRAINED: Final = 1 << 20
"""Bytes of a body that still come when it is answered already; then the connection ends."""
FRAMING: Final = 8
"""Bytes on the wire for one of the body: one-byte chunks need six, more are extensions and trailers."""
SLASH: Final = ord("/")
LINGER: Final = 2.0
"""Seconds in which a refused caller may read why; closed at once, a reset could overtake it."""
IDLE, HEAD, BODY, WHOLE = range(4)
"""What a caller owes: a request, the rest of its head, the rest of its body, nothing. No Enum: it costs a look-up."""

_HOST = re.compile(rb"[\w.~%!$&'()*+,;=:\[\]-]*", re.ASCII)
_ABSOLUTE = re.compile(rb"https?://([^/?]+)", re.IGNORECASE)
_log = logging.getLogger(__name__)
_refused = Counter("nms_http_refused_total", "Requests that were refused before a role saw them", ("code",))


class StrictHttp(HttpToolsProtocol):
    """One connection; the methods with names of asyncio, httptools and uvicorn are called by them."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._callers = callers_of(server_state, cast("set[Caller]", server_state.connections))
        settings = self._callers.settings
        self._head_seconds, self._body_seconds = settings.head_seconds, settings.body_seconds
        self._per_byte, self._head_size = 1 / settings.rate, settings.head_size
        self._stage = IDLE
        self._is_refused = self._is_chunked = False
        self._size = self._came = self._body = 0
        self._running: RequestResponseCycle | Whole | None = None
        self._shortcut = None if self.limit_concurrency else shortcut_of(config.loaded_app)
        self._early: bytes | None = None
        self._defaults: tuple[Any, bytes] = (None, b"")
        self._host: bytes | None = None
        self._unread: tuple[float, int] | None = None
        self.since = self._due = 0.0
        self.held = 0

    @property
    def owes(self) -> bool:
        """Whether a request is not whole, or none has begun."""
        return self._stage != WHOLE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a caller."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._rest()
        self._callers.join(len(self.connections))

    def connection_lost(self, exc: Exception | None) -> None:
        """Let a caller go."""
        self._hold(-self.held)
        if self._running is not None:
            # The newest hears of it by itself; this one would write on.
            self._running.disconnected = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came; nothing behind a refused request is looked at."""
        if self._is_refused:
            return
        self._unset_keepalive_if_required()
        self._size = len(data)
        self._came += self._size
        try:
            self._feed(data)
            if self._early is not None:
                self._open()
            if self._stage == HEAD or self._stage == BODY:
                self._check_rest()
        except Problem as problem:
            self._refuse(problem)
        except httptools.HttpParserError as error:
            known = error.__context__
            self._refuse(known if isinstance(known, Problem) else HttpMalformed("The request cannot be read."))

    def look(self, now: float) -> None:
        """End it where a request, or the reading of an answer, takes longer than it may."""
        if self.flow.write_paused or self.transport.is_closing():
            self._look_at_reader(now)
            return
        self._unread = None
        if self._stage == BODY:
            # What came fast earns no long pause.
            self._due = min(self._due, now + self._body_seconds)
        if self.flow.read_paused and not self._is_refused:
            # We do not read, so he cannot send.
            self._due = max(self._due, now + self._body_seconds)
        elif now > self._due and self._stage != WHOLE:
            self._end()

    def drop(self) -> None:
        """End it at once."""
        self._hold(-self.held)
        self._stage = WHOLE
        _refused.labels("dropped").inc()
        self.transport.abort()

    def on_message_begin(self) -> None:
        """Begin a request."""
        HttpToolsProtocol.on_message_begin(self)
        self._stage = HEAD
        # It may share what came with requests before it: then it is less than this.
        self._came = self._size
        self._body = 0
        self.since = self.loop.time()
        self._due = self.since + self._head_seconds

    def on_headers_complete(self) -> None:
        """Hand a request on to the role."""
        self._check_head()
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise HttpMalformed("This is no proxy.")
            return
        if len(self.pipeline) >= PIPELINED:
            raise HttpMalformed(f"More than {PIPELINED} requests came before their answers.")
        self._stage = BODY
        self._due += self._body_seconds
        if self._may_come_whole():
            self._early = b""
        else:
            self._open()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._body += len(body)
        if self._early is None:
            HttpToolsProtocol.on_body(self, body)
        else:
            self._early += body

    def on_message_complete(self) -> None:
        """End a request."""
        if self.parser.should_upgrade():
            return
        if self._early is not None:
            self._take_whole()
            return
        if self.cycle.response_complete:
            self._rest()
        else:
            self._stage = WHOLE
        HttpToolsProtocol.on_message_complete(self)

    def write(self, whole: Whole, status: bytes, headers: bytes, body: bytes) -> None:
        """Answer a request that came whole."""
        own = self.server_state.default_headers
        if self._defaults[0] is not own:
            self._defaults = own, b"".join([b"%b: %b\r\n" % pair for pair in own])
        if self.access_log:
            log_access(self.access_logger, whole, status)
        # Not one piece: a page has no second copy in memory.
        self.transport.writelines((status + self._defaults[1] + headers, body))
        if not whole.keep_alive:
            self.transport.close()
        if self.pipeline or self.flow.read_paused or self._stage != WHOLE:
            self.on_response_complete()
            return
        # As uvicorn does, but for its timer: who is late is seen by the look that is taken at all.
        self.server_state.total_requests += 1
        self._stage = IDLE
        self.since = self.loop.time()
        self._due = self.since + self.timeout_keep_alive

    def begin(self, whole: Whole) -> None:
        """Hand a request that came whole to the app, as ASGI has it."""
        cycle = RequestResponseCycle(
            scope=fill_scope(whole),
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=whole.keep_alive,
            on_response=self.on_response_complete,
        )
        cycle.body += whole.body
        cycle.more_body = False
        cycle.message_event.set()
        self._running = cycle
        if cast("Any", self.cycle) is whole:
            self.cycle = cycle
        self._start_asgi_task(cycle, self.app)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        if self.held:
            self._hold(-self.held)
        if self.pipeline:
            self._running = self.pipeline[-1][0]
        elif self._stage == WHOLE:
            self._rest()
        HttpToolsProtocol.on_response_complete(self)
        if self._stage != IDLE:
            # The next request has begun already, and has a time of its own.
            self._unset_keepalive_if_required()

    def _may_come_whole(self) -> bool:
        """Whether a request is one that the app may answer without being called, if all of it is there already."""
        return (
            self._shortcut is not None
            and self._shortcut.leads(self.parser.get_method(), self.url)
            and not (self._is_chunked or self.expect_100_continue)
            and (self._running is None or self._running.response_complete)
            and not (self.pipeline or self.flow.write_paused)
            and self.parser.should_keep_alive()
            and self.parser.get_http_version() == "1.1"
        )

    def _take_whole(self) -> None:
        assert self._shortcut is not None and self._early is not None
        self.scope["method"] = self.parser.get_method().decode()
        whole = Whole(self, self.scope, self.url, self._early)
        self._early, self._stage, self._running = None, WHOLE, whole
        self.cycle = cast("Any", whole)
        if (self.access_log and is_forwarded(whole)) or not self._shortcut.take(whole, whole.target):
            self.begin(whole)

    def _open(self) -> None:
        """Hand a request on as ASGI has it while its body comes."""
        early, self._early = self._early, None
        # httptools adds trailers to the list it began with; proxies do not look at them.
        self.scope["headers"] = self.headers.copy()
        HttpToolsProtocol.on_headers_complete(self)
        if not self.pipeline:
            self._running = self.cycle
        if early:
            HttpToolsProtocol.on_body(self, early)

    def _hold(self, size: int) -> None:
        self.held += size
        self._callers.hold(size)

    def _rest(self) -> None:
        self._stage = IDLE
        self.since = self.loop.time()
        self._due = self.since + self._head_seconds + self.timeout_keep_alive

    def _feed(self, data: bytes) -> None:
        """Read; a head that asks for another protocol once more without: with it, the parser would take no body."""
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                rest = data[upgrade.args[0] :]
            first = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
            kept = [b"%s: %s" % pair for pair in self.headers if pair[0] != b"upgrade"]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            data = b"\r\n".join([first, *kept, b"", rest])

    def _check_rest(self) -> None:
        """Look at a request that is not whole: what the parser holds back or throws away is seen on the wire only."""
        if self._stage == HEAD:
            if self._came > self._head_size + TARGET:
                raise self._too_large() if len(self.url) <= TARGET else self._too_long()
        elif self.cycle.response_complete:
            if self._came > DRAINED:
                raise HttpMalformed("The body goes on although it is answered.")
        elif self._is_chunked and self._came > self._head_size + TARGET + FRAMING * self._body:
            raise HttpMalformed("The body has more around it than in it.")
        else:
            self._due += self._size * self._per_byte
            self._hold(self._size)

    def _check_head(self) -> None:
        """Raise HttpMalformed for what httptools takes and others may read differently."""
        if len(self.url) > TARGET:
            raise self._too_long()
        if len(self.headers) > FIELDS or (
            self._came > self._head_size
            and sum(len(name) + len(value) for name, value in self.headers) > self._head_size
        ):
            raise self._too_large()
        version = self.parser.get_http_version()
        if version != "1.1" and version != "1.0":
            raise HttpMalformed("The version must be HTTP/1.1 or HTTP/1.0.")
        found = dict(self.headers)
        host = found.get(b"host")
        if host != self._host or host is None or len(found) != len(self.headers):
            self._check_host(host, version)
        self._is_chunked = b"transfer-encoding" in found
        if self._is_chunked and (
            version == "1.0"
            or [value.lower() for name, value in self.headers if name == b"transfer-encoding"] != [b"chunked"]
        ):
            raise HttpMalformed("The one Transfer-Encoding that is taken is `chunked`, in HTTP/1.1.")
        if self.url[0] != SLASH or b"#" in self.url:
            self._check_target(host or b"")

    def _check_host(self, host: bytes | None, version: str) -> None:
        told = sum(name == b"host" for name, _ in self.headers)
        if told > 1 or (told == 0 and version == "1.1"):
            raise HttpMalformed("There must be one header Host.")
        if host is not None and not _HOST.fullmatch(host):
            raise HttpMalformed("The header Host is not a host.")
        self._host = host

    def _check_target(self, host: bytes) -> None:
        absolute = _ABSOLUTE.match(self.url)
        is_own = absolute is not None and absolute[1].lower() == host.lower()
        is_star = self.url == b"*" and self.parser.get_method() == b"OPTIONS"
        if b"#" in self.url or not (is_own or is_star):
            raise HttpMalformed("The address must be a path, or name the same host as the header Host.")

    def _too_long(self) -> TargetTooLong:
        return TargetTooLong(f"At most {TARGET} bytes are taken.", limit=TARGET)

    def _too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(
            f"At most {FIELDS} headers with {self._head_size} bytes are taken.", limit=self._head_size
        )

    def _look_at_reader(self, now: float) -> None:
        left = self.transport.get_write_buffer_size()
        if self._unread is None or left > self._unread[1]:
            self._unread = (now, left)
        began, size = self._unread
        if now - began > self._body_seconds + (size - left) * self._per_byte:
            self.drop()

    def _end(self) -> None:
        if self._is_refused:
            self.transport.abort()
        elif self._stage == IDLE:
            self.transport.close()
        else:
            self._refuse(RequestTooSlow("The request did not come in its time."))

    def _refuse(self, problem: Problem) -> None:
        """Say why, where no other answer is due before, and end; a request that is whole still gets its answer."""
        self._is_refused = True
        _refused.labels(problem.code).inc()
        _log.info("refused: %s", problem.detail, extra={"code": problem.code, "client": self.client})
        cycle: RequestResponseCycle | None = self.cycle
        in_head = self._stage < BODY
        if cycle is None or (in_head and cycle.response_complete):
            self._tell(problem)
        elif in_head:
            cycle.keep_alive = False
            self._stage = WHOLE
        else:
            is_silent = cycle.response_started or bool(self.pipeline)
            cycle.disconnected = True
            cycle.message_event.set()
            if is_silent:
                self.transport.close()
            else:
                self._tell(problem)

    def _tell(self, problem: Problem) -> None:
        body = json.dumps(problem.to_dict()).encode()
        told = {b"content-type": MEDIA_TYPE.encode(), b"content-length": b"%d" % len(body), b"connection": b"close"}
        lines = [b"%s: %s\r\n" % pair for pair in (*self.server_state.default_headers, *told.items())]
        self.transport.write(b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", body]))
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self._stage = IDLE
        self._due = self.loop.time() + LINGER

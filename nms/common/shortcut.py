"""The way past ASGI: what came in one piece may be answered at once, without the task that an app's call needs.

An app that has a `shortcut` is asked first. What it does not take, or hands back, goes the ordinary way from its
beginning; so it only needs to know how to say yes.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from logging import Logger
from typing import Any, Final, Protocol, runtime_checkable
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.utils import get_client_addr


@runtime_checkable
class Shortcut(Protocol):
    """What an app offers to answer whole requests with."""

    def leads(self, method: bytes, target: bytes) -> bool:
        """Whether requests by this method to this target, as it stands in the request line, may be taken."""
        ...

    def take(self, whole: "Whole", target: bytes) -> bool:
        """Take a request, to answer it or hand it back, once, now or later; False leaves it to the app at once."""
        ...


class Mounted:
    """The shortcuts of apps that stand under names: `/inbox/in/shop` is `/in/shop` of the app named `inbox`."""

    def __init__(self, apps: Mapping[str, Any]) -> None:
        self._apps = {name.encode(): app for name, app in apps.items()}

    def leads(self, method: bytes, target: bytes) -> bool:
        """Whether requests to this target may be taken by the app that it leads to."""
        shortcut, rest = self._find(target)
        return shortcut is not None and shortcut.leads(method, rest)

    def take(self, whole: "Whole", target: bytes) -> bool:
        """Take a request for the app that its target leads to."""
        shortcut, rest = self._find(target)
        return shortcut is not None and shortcut.take(whole, rest)

    def _find(self, target: bytes) -> tuple[Shortcut | None, bytes]:
        _, name, *rest = target.split(b"/", 2) if target.startswith(b"/") else (b"", b"")
        app = self._apps.get(name)
        return None if app is None or not rest else shortcut_of(app), b"/" + b"".join(rest)


class Line(Protocol):
    """The connection that a whole request came over."""

    loop: asyncio.AbstractEventLoop
    tasks: set[asyncio.Task[None]]
    """What the server waits for before it stops."""

    def write(self, whole: "Whole", status: bytes, headers: bytes, body: bytes) -> None:
        """Write an answer; the headers end with an empty line, the server's own stand before them; go on."""

    def begin(self, whole: "Whole") -> None:
        """Hand a request to the app as ASGI has it."""


class _Unheard:
    def set(self) -> None:
        """Nobody waits for it."""


class Whole:
    """A request that came whole; to uvicorn it is the one under way, as its own RequestResponseCycle would be."""

    __slots__ = (
        "_line",
        "body",
        "disconnected",
        "keep_alive",
        "response_complete",
        "response_started",
        "scope",
        "target",
    )
    message_event: Final = _Unheard()

    def __init__(self, line: Line, scope: Any, target: bytes, body: bytes) -> None:
        self._line = line
        self.scope, self.target, self.body = scope, target, body
        self.response_started = self.response_complete = self.disconnected = False
        self.keep_alive = True

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Its headers, with names in lower case."""
        found: Sequence[tuple[bytes, bytes]] = self.scope["headers"]
        return found

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Have the event loop do what answers it or hands it back; the server waits for that before it stops."""
        task = self._line.loop.create_task(work)
        self._line.tasks.add(task)
        task.add_done_callback(self._line.tasks.discard)

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """Answer with header lines, each with its line break, and a body."""
        if not self.disconnected:
            self.response_started = self.response_complete = True
            end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
            self._line.write(self, STATUS_LINE[status], headers + end, body)

    def hand_back(self) -> None:
        """Let the app see it after all."""
        if not self.disconnected:
            self._line.begin(self)


def path_of(whole: Whole) -> str:
    """The path of a request as ASGI has it."""
    path = whole.target.partition(b"?")[0].decode("ascii")
    root: str = whole.scope["root_path"]
    return root + (unquote(path) if "%" in path else path)


def fill_scope(whole: Whole) -> Any:
    """The ASGI scope of a whole request, from the one that uvicorn began."""
    url = httptools.parse_url(whole.target)
    root: str = whole.scope["root_path"]
    whole.scope["path"] = path_of(whole)
    whole.scope["raw_path"] = root.encode("ascii") + url.path
    whole.scope["query_string"] = url.query or b""
    return whole.scope


def is_forwarded(whole: Whole) -> bool:
    """Whether a proxy tells of the caller: an access log names him, and who he is uvicorn finds out on its own way."""
    return any(name == b"x-forwarded-for" for name, _ in whole.headers)


def log_access(log: Logger, whole: Whole, status: bytes) -> None:
    """The line that uvicorn writes for a request, where it writes any."""
    told = get_client_addr(whole.scope), whole.scope["method"], whole.target.decode(), "1.1", int(status[9:12])
    log.info('%s - "%s %s HTTP/%s" %d', *told)


def shortcut_of(app: Any) -> Shortcut | None:
    """What an app offers, looked for below the layers that uvicorn puts around it."""
    while app is not None:
        found: Shortcut | None = getattr(app, "shortcut", None)
        if found is not None:
            return found
        app = getattr(app, "app", None)
    return None

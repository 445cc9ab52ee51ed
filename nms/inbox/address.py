"""Where a request was sent to: as it arrived here, and as the endpoint says that the provider wrote it."""

from collections.abc import Sequence
from typing import Final

from starlette.types import Scope

from nms.common.document import EndpointDocument
from nms.common.log import REDACTED

PREFIX: Final = "/in/"
WEBHOOK: Final = "/webhook"


def targets_of(name: str) -> Sequence[bytes]:
    """The targets of the request line by which an endpoint is called, without a query or a tail."""
    plain = f"{PREFIX}{name}".encode()
    return (plain, WEBHOOK.encode()) if name == WEBHOOK.removeprefix("/") else (plain,)


def arrived_at(scope: Scope) -> str:
    """The address of a request as it arrived, without its query."""
    host = next((value for key, value in scope["headers"] if key == b"host"), b"")
    return f"{scope['scheme']}://{host.decode('latin-1')}{_raw_path(scope).decode('latin-1')}"


def whole_url(told: str, query: str) -> str:
    """An address with its query, where it has one."""
    return f"{told}?{query}" if query else told


def signed_url(document: EndpointDocument, address: str, query: str) -> str:
    """The URL that the provider signed: behind a proxy it is not the one that arrives, so the document may say it."""
    return whole_url(document.url or address, query)


def tail_of(scope: Scope) -> bytes:
    """What stands in the path behind the endpoint's name as it was sent, whatever stands in front of it."""
    own = _raw_path(scope).removeprefix(scope.get("root_path", "").encode())
    steps = _steps_of(own.decode("latin-1"))
    return b"".join(own.split(b"/", steps)[steps:])


def path_told(scope: Scope) -> str:
    """The path without what stands behind the endpoint's name: that may be a secret, an old or an unknown one."""
    path: str = scope["path"]
    own = path.removeprefix(scope.get("root_path", ""))
    tail = own.split("/", _steps_of(own))[_steps_of(own) :]
    return f"{path.removesuffix(tail[0])}{REDACTED}" if tail and tail[0] else path


def _steps_of(own: str) -> int:
    return 3 if own.startswith(PREFIX) else 2


def _raw_path(scope: Scope) -> bytes:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    return path

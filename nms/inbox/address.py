"""Where a request was sent to: as it arrived here, and as the endpoint says that the provider wrote it."""

from collections.abc import Sequence
from typing import Final

from starlette.types import Scope

from nms.common.document import EndpointDocument

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
    steps = 3 if own.startswith(PREFIX.encode()) else 2
    return b"".join(own.split(b"/", steps)[steps:])


def _raw_path(scope: Scope) -> bytes:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    return path

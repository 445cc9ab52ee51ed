"""The headers of a request as they are stored: lines, without what gives their bearer rights."""

from collections.abc import Sequence
from typing import Final

LOGINS: Final = frozenset({b"authorization", b"proxy-authorization", b"cookie"})
HIDDEN: Final = b"(hidden)"


def lines_of(headers: Sequence[tuple[bytes, bytes]], secrets: Sequence[bytes]) -> bytes:
    """Headers as lines `name: value`, names in lower case as ASGI has them; in values each of the secrets is hidden."""
    # A proxy may tell the address that was called, and so the end of the path, in any header.
    for secret in secrets:
        headers = [(name, value.replace(secret, HIDDEN)) for name, value in headers]
    return b"\n".join([b"%b: %b" % (name, HIDDEN if name in LOGINS else value) for name, value in headers])

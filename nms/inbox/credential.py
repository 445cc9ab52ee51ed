"""Credentials of refused requests: hidden in what is shown, sealed for the day when they are verified again."""

import json
import logging
import re
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from nms.common.problem import Problem
from nms.common.seal import Sealer
from nms.common.settings import Settings
from nms.inbox.address import whole_url
from nms.inbox.header import HIDDEN
from nms.inbox.refused import Refused

log = logging.getLogger(__name__)

_NAMES: Final = re.compile(rb"auth|cookie|token|secret|passw|api-?key|credential")
_SHOWN: Final = HIDDEN.decode()


def sealer_of(settings: Settings) -> Sealer | None:
    """What seals credentials in this installation; None without a key, and then they are not kept at all."""
    try:
        return Sealer(*settings.sealing_keys())
    except Problem as problem:
        log.warning("credentials of refused requests are not kept: %s", problem.detail)
        return None


def is_credential(name: bytes) -> bool:
    """Whether the value of a header gives its bearer rights; a signature only speaks for its own request."""
    low = name.lower()
    return _NAMES.search(low) is not None and b"signature" not in low


def shown_url(refused: Refused) -> str:
    """The URL of a request without what may be secret: the end of the path, and the values of the query."""
    address, tail = refused.address, refused.tail.decode("latin-1")
    if tail:
        address = address.removesuffix(tail) + _SHOWN
    return whole_url(address, shown_query(refused.query))


def shown_query(query: str) -> str:
    """A query without its values."""
    parts = [name + equals + _SHOWN for name, equals, _ in map(_split, query.split("&"))]
    return "&".join(parts) if query else ""


def shown_headers(refused: Refused) -> bytes:
    """The headers of a request as lines, without credentials."""
    places = _credentials(refused)
    pairs = ((name, HIDDEN if place in places else value) for place, (name, value) in enumerate(refused.headers))
    return b"\n".join(name + b": " + value for name, value in pairs)


def seal(sealer: Sealer, refused: Refused) -> bytes:
    """What is not shown, sealed for this request."""
    hidden = {
        "address": refused.address,
        "query": refused.query,
        "tail": refused.tail.decode("latin-1"),
        "headers": {str(place): refused.headers[place][1].decode("latin-1") for place in _credentials(refused)},
    }
    return sealer.seal(json.dumps(hidden).encode(), _about(refused.id))


def _credentials(refused: Refused) -> Sequence[int]:
    """Places of headers that are credentials by their names, or have in them what the request shows elsewhere."""
    shown = [value.partition(b" ")[2] for name, value in refused.headers if name.lower() == b"authorization"]
    # Proxies tell the address that was called in headers of many names.
    shown += [b"/" + refused.tail if refused.tail else b"", b"?" + refused.query.encode("latin-1")]
    words = [word for word in shown if len(word) > 1]
    pairs = enumerate(refused.headers)
    return [place for place, (name, value) in pairs if is_credential(name) or any(word in value for word in words)]


def unseal(sealer: Sealer, sealed: bytes, id_: UUID) -> dict[str, Any]:
    """What `seal` was given; raises SealBroken."""
    hidden: dict[str, Any] = json.loads(sealer.open(sealed, _about(id_)))
    return hidden


def restore(shown: Sequence[tuple[bytes, bytes]], hidden: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """Headers with their credentials in place again."""
    told: dict[str, str] = hidden["headers"]
    return [
        (name, told[str(place)].encode("latin-1") if str(place) in told else value)
        for place, (name, value) in enumerate(shown)
    ]


def _split(parameter: str) -> tuple[str, str, str]:
    name, equals, value = parameter.partition("=")
    # Without a `=` the whole may be the secret.
    return (name, equals, value) if equals else ("", "", name)


def _about(id_: UUID) -> str:
    return f"inbox.quarantine {id_}"

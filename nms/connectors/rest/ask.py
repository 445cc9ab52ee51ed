"""One request to a REST API as its connector asks it, and the address that it leads to (pure)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote, urlencode, urljoin

from nms.common.egress.address import Location, parse_url
from nms.connectors.rest.problems import OriginForeign, PathUnfillable

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: `path` below the base URL, or an absolute URL of the same origin with a query of its own.

    The representation shows neither query, headers nor body.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


def fill(path: str, values: Mapping[str, str]) -> str:
    """A path with `{field}` replaced, each value as one segment (RFC 3986 section 3.3); raises PathUnfillable."""

    def segment(found: re.Match[str]) -> str:
        value = values.get(found[1])
        if value is None or value in ("", ".", ".."):
            raise PathUnfillable(f"The field {found[1]} of the path has no value that fits.", field=found[1])
        try:
            return quote(value, safe="")
        except UnicodeEncodeError:
            raise PathUnfillable(f"The field {found[1]} has half of a surrogate pair.", field=found[1]) from None

    return _PLACEHOLDER.sub(segment, path)


def locate(base: str, ask: Ask) -> str:
    """The whole URL of a request; raises OriginForeign for a link that leads away from the base URL's origin."""
    url = ask.path if _is_absolute(ask.path) else base + ask.path
    if _is_absolute(ask.path):
        _check_origin(base, url)
    if not ask.query:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(ask.query, quote_via=quote)}"


def resolve_link(base: str, url: str, link: str) -> str:
    """The absolute URL of a link in the answer to `url` (RFC 3986 section 5), no fragment; raises OriginForeign."""
    try:
        absolute = urljoin(url, link.strip()).partition("#")[0]
    except ValueError:
        raise OriginForeign("A link of the remote is no URL.") from None
    _check_origin(base, absolute)
    return absolute


def key_of_location(link: str) -> str:
    """The last segment of the path of a `Location` (RFC 9110 section 10.2.2), decoded; empty where there is none."""
    path = link.partition("#")[0].partition("?")[0]
    return unquote(path.rstrip("/").rpartition("/")[2])


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL that a document has."""
    return parse_url(url).origin


def _is_absolute(path: str) -> bool:
    return path[:8].lower().startswith(("http://", "https://"))


def _check_origin(base: str, url: str) -> None:
    ours = parse_url(base)
    try:
        theirs: Location | None = parse_url(url)
    except ValueError:
        theirs = None
    if theirs is None or theirs.origin != ours.origin:
        told = "no http or https URL" if theirs is None else theirs.origin
        raise OriginForeign(f"A link of {ours.origin} leads to {told}.", origin=ours.origin)

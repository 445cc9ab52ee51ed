"""Where outbound HTTP may go: strict addresses, public networks, and what the owner of the process allows besides."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import quote

import idna

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

URL_LENGTH: Final = 8000
"""RFC 9110 section 4.1 asks for at least this much."""

_URL: Final = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.IGNORECASE)
_AUTHORITY: Final = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::([0-9]{1,5}))?")
_HOST: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_NUMBER: Final = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")
_PATH: Final = "%/:@!$&'()*+,;=~-._"
_QUERY: Final = _PATH + "?"
_USUAL_PORTS: Final = {"http": 80, "https": 443}

# IANA IPv4 Special-Purpose Address Registry whole (also its entries that may be reached globally), multicast
# (RFC 5771), and the address under which Azure's hosts answer their guests.
_INNER_4: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
    192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15
    198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
    """.split()
)
# Of IPv6 only what is handed out as global unicast (RFC 4291) is public, without the special blocks in it: protocol
# assignments with Teredo, documentation, 6to4, the former 6bone, AS112. NAT64, mapped, compatible and unique local
# addresses, and the metadata services that stand there, are outside of it.
_GLOBAL_6: Final = ipaddress.IPv6Network("2000::/3")
_INNER_6: Final = tuple(
    ipaddress.IPv6Network(text)
    for text in "2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3ffe::/16 3fff::/20".split()
)


@dataclass(frozen=True, slots=True)
class Location:
    """A URL taken apart, so that nobody reads it a second time in another way: `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """Scheme, host and port: what errors and logs may tell of it."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port as the Host header has them (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _USUAL_PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Allowance:
    """A network that the owner of the process opened; with a port only that one."""

    network: Network
    port: int | None = None


def parse_url(url: str) -> Location:
    """Read an http or https URL; raises ValueError with one sentence that does not repeat it.

    Refused: user names and passwords, numeric spellings of an IPv4 address other than four decimal numbers, zones,
    a dot at the end, spaces and control characters. Names beyond ASCII become IDNA, a fragment is dropped.
    """
    if len(url) > URL_LENGTH:
        raise ValueError(f"a URL has at most {URL_LENGTH} characters")
    if "\\" in url or not url.isprintable() or any(letter.isspace() for letter in url):
        raise ValueError("a URL has no spaces, control characters or backslashes")
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("a URL begins with http:// or https://")
    scheme, (host, port) = found[1].lower(), _read_authority(found[2])
    path = quote(found[3], safe=_PATH) or "/"
    query = "" if found[4] is None else "?" + quote(found[4], safe=_QUERY)
    return Location(scheme, host, port or _USUAL_PORTS[scheme], path + query)


def _read_authority(text: str) -> tuple[str, int | None]:
    if "@" in text:
        raise ValueError("a URL holds no user name or password")
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise ValueError("a host is a name, an IPv4 address or an IPv6 address in brackets, a port is a number")
    port = None if found[2] is None else int(found[2])
    if port is not None and not 1 <= port <= 65535:
        raise ValueError("a port is between 1 and 65535")
    return _read_host(found[1]), port


def _read_host(text: str) -> str:
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address("" if "%" in text else text[1:-1]))
        except ValueError:
            raise ValueError("in brackets stands an IPv6 address without a zone") from None
    name = _to_ascii(text).lower()
    if not _HOST.fullmatch(name):
        raise ValueError("the host is not a host name")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise ValueError("an IPv4 address is written as four decimal numbers") from None
    return name


def _to_ascii(text: str) -> str:
    if text.isascii():
        return text
    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode()
    except UnicodeError:
        raise ValueError("the host is not a host name") from None


def parse_allowance(text: str) -> Allowance:
    """Read `10.0.0.0/8`, `127.0.0.1:8080`, `fd00::/8` or `[::1]:8080`; raises ValueError with one sentence."""
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:]+))(?::([0-9]{1,5}))?", text)
    place, port = (text, None) if found is None else (found[1] or found[2], found[3])
    if port is not None and not 1 <= int(port) <= 65535:
        raise ValueError("a port is between 1 and 65535")
    try:
        if "%" in place:
            raise ValueError
        return Allowance(ipaddress.ip_network(place), None if port is None else int(port))
    except ValueError:
        form = "a network such as 10.0.0.0/8, 127.0.0.1:8080 or [fd00::/8]:8080, without bits behind its mask"
        raise ValueError(f"{text[:60]!r} is not {form}") from None


def is_public(address: Address) -> bool:
    """Whether an address is handed out to somebody in the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _INNER_4)
    return address in _GLOBAL_6 and not any(address in network for network in _INNER_6)


def is_open(text: str, port: int, allowed: Sequence[Allowance]) -> bool:
    """Whether a connection may go to an address as a look-up gave it: public, or in an allowed network."""
    try:
        # A zone belongs to a link-local address and is no part of the comparison.
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if is_public(address):
        return True
    return any(address in one.network and one.port in (None, port) for one in allowed)

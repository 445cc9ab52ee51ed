"""Where a PostgreSQL system stands: a DSN reduced to what may be asked for."""

import ipaddress
import re
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import SecretStr

from nms.common.origin import STRICT

SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_FORM: Final = "write it as `postgresql://user@host:port/database`"


@dataclass(frozen=True, slots=True)
class Address:
    """Host, port, user and database of a PostgreSQL system; the password is never shown."""

    host: str
    port: int
    user: str
    database: str
    sslmode: str | None = None
    password: SecretStr | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self._render(self.user_part())

    @property
    def place(self) -> tuple[str, int, str]:
        """Host, port and database: two systems with one place are one database."""
        return (self.host.lower(), self.port, self.database)

    @property
    def origin(self) -> str:
        """Where a password goes with it: how surely it is hidden on its way, host and port."""
        scheme = f"postgresql+{self.sslmode}" if self.sslmode in STRICT else "postgresql"
        return f"{scheme}://{spell_host(self.host)}:{self.port}"

    def user_part(self) -> str:
        """The user as it stands in a DSN."""
        return quote(self.user, safe="")

    def dsn(self) -> str:
        """The whole DSN with the password in it, for a driver only."""
        if self.password is None:
            return str(self)
        return self._render(f"{self.user_part()}:{quote(self.password.get_secret_value(), safe='')}")

    def with_password(self, password: SecretStr | None) -> "Address":
        """The same place with this password."""
        return replace(self, password=password)

    def _render(self, login: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        options = f"?sslmode={self.sslmode}" if self.sslmode else ""
        return f"postgresql://{login}@{host}:{self.port}/{quote(self.database, safe='')}{options}"


def spell_host(host: str) -> str:
    """A host as it stands in a URL; capitals make no difference."""
    return f"[{host}]" if ":" in host else host.lower()


def parse_address(text: str) -> Address:
    """Read a DSN; raises ValueError with one sentence that never repeats the DSN.

    Refused: sockets, several hosts, options other than `sslmode` (files and server options among them).
    """
    if any(letter.isspace() or not letter.isprintable() for letter in text) or len(text) > 2000:
        raise ValueError(f"a DSN has no spaces or control characters; {_FORM}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"this is not a DSN; {_FORM}") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError(f"a DSN begins with `postgresql://`; {_FORM}")
    if parts.fragment or text.endswith("#"):
        raise ValueError(f"a DSN has no `#`; write it as %23; {_FORM}")
    return Address(
        host=read_host(parts.netloc, parts.hostname),
        port=read_port(port, 5432),
        user=_read_word(parts.username, "user"),
        database=_read_word(parts.path.removeprefix("/"), "database"),
        sslmode=_read_sslmode(parts.query),
        password=SecretStr(_decode(parts.password)) if parts.password else None,
    )


def _decode(text: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("a DSN is UTF-8, percent signs are written %25") from None
    if "\0" in decoded:
        raise ValueError("a DSN has no zero bytes")
    return decoded


def _read_word(text: str | None, what: str) -> str:
    if not text:
        raise ValueError(f"a DSN names its {what}; {_FORM}")
    if "/" in text:
        raise ValueError(f"a DSN names one {what}; a slash in it is written %2F")
    return _decode(text)


def read_host(netloc: str, host: str | None) -> str:
    """The host of a network location; raises ValueError for sockets, files and several hosts."""
    login, _, place = netloc.rpartition("@")
    if "@" in login:
        raise ValueError("a DSN has one `@`; in a user it is written %40")
    if "%" in place or "/" in place:
        raise ValueError("a DSN may not name a socket or a file; give a host name or an IP address")
    if "," in place:
        raise ValueError("a DSN names one host; make a system of each")
    if not host:
        raise ValueError(f"a DSN names its host, a local socket is not taken; {_FORM}")
    if place.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise ValueError("in brackets stands an IPv6 address") from None
    if not _HOST.fullmatch(host):
        raise ValueError("the host is a host name or an IP address")
    return host


def read_port(port: int | None, usual: int) -> int:
    """The port, or the usual one where none is named; raises ValueError."""
    if port == 0:
        raise ValueError("a port is between 1 and 65535")
    return port or usual


def _read_sslmode(query: str) -> str | None:
    try:
        options = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValueError("the options behind `?` are written name=value") from None
    for name, _ in options:
        if name != "sslmode":
            raise ValueError(f"the DSN option `{name[:40]}` is not allowed; only `sslmode` is")
    if len(options) > 1:
        raise ValueError("`sslmode` is given twice")
    mode = options[0][1] if options else None
    if mode is not None and mode not in SSL_MODES:
        raise ValueError(f"`sslmode` is one of {', '.join(SSL_MODES)}")
    return mode

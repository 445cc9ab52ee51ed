"""Where a broker stands: an AMQP URI or Kafka's bootstrap servers, reduced to what may be asked for."""

import re
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr

from nms.common.document.address import read_host, read_port, spell_host

_AMQP_FORM: Final = "write it as `amqp://user@host:port/vhost`"
_SERVER: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Broker:
    """Scheme, host, port, user and virtual host of an AMQP broker; the password is never shown."""

    scheme: str
    host: str
    port: int
    user: str
    vhost: str
    password: SecretStr | None = field(default=None, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{quote(self.user, safe='')}@{host}:{self.port}/{quote(self.vhost, safe='')}"

    @property
    def place(self) -> tuple[str, int, str]:
        """Host, port and virtual host: two systems with one place are one broker."""
        return (self.host.lower(), self.port, self.vhost)

    @property
    def origin(self) -> str:
        """Where a password goes with it: scheme, host and port."""
        return f"{self.scheme}://{spell_host(self.host)}:{self.port}"

    def with_password(self, password: SecretStr | None) -> "Broker":
        """The same place with this password."""
        return replace(self, password=password)


def parse_broker(text: str) -> Broker:
    """Read an AMQP URI (RabbitMQ URI specification); raises ValueError with one sentence that never repeats it."""
    if any(letter.isspace() or not letter.isprintable() for letter in text) or len(text) > 2000:
        raise ValueError(f"a DSN has no spaces or control characters; {_AMQP_FORM}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"this is not a DSN; {_AMQP_FORM}") from None
    if parts.scheme not in ("amqp", "amqps"):
        raise ValueError(f"a DSN begins with `amqp://` or `amqps://`; {_AMQP_FORM}")
    if "%00" in text:
        raise ValueError("a DSN has no zero bytes")
    if parts.query or parts.fragment or text.endswith(("#", "?")):
        raise ValueError(f"an AMQP DSN has no options; {_AMQP_FORM}")
    if not parts.username:
        raise ValueError(f"a DSN names its user; {_AMQP_FORM}")
    if "/" in parts.path[1:]:
        raise ValueError("a slash in the name of a virtual host is written %2F")
    return Broker(
        scheme=parts.scheme,
        host=read_host(parts.netloc, parts.hostname),
        port=read_port(port, 5671 if parts.scheme == "amqps" else 5672),
        user=unquote(parts.username),
        vhost=unquote(parts.path[1:]) or "/",
        password=SecretStr(unquote(parts.password)) if parts.password else None,
    )


def parse_server(text: str) -> str:
    """One of Kafka's bootstrap servers, host:port; raises ValueError with one sentence."""
    match = _SERVER.fullmatch(text)
    if match is None or not 1 <= int(match[2]) <= 65535:
        raise ValueError("a server is written `host:port`")
    return text.lower()

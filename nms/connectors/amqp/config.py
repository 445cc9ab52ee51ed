"""How a broker is reached, and how much of it is taken at once."""

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from nms.common.messages import MESSAGE_LIMIT

HEARTBEAT_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a broker: its system's name for messages, an AMQP URI without password, and the password."""

    system: str
    dsn: str
    password: str | None = None

    def __repr__(self) -> str:
        return f"Access({self.system})"

    def url(self) -> str:
        """The URI that the driver takes."""
        parts = urlsplit(self.dsn)
        login, _, place = parts.netloc.rpartition("@")
        if self.password is not None:
            login = f"{login.partition(':')[0]}:{quote(self.password, safe='')}"
        query = "&".join(filter(None, (parts.query, f"heartbeat={HEARTBEAT_SECONDS}")))
        return parts._replace(netloc=f"{login}@{place}" if login else place, query=query).geturl()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken at once: messages a queue may send ahead, and the bounds of a batch and of one message.

    What was sent ahead stands in memory, so `prefetch` messages of the largest size must find room there.
    """

    prefetch: int = 500
    batch_messages: int = 1_000
    batch_bytes: int = 8 << 20
    message_bytes: int = MESSAGE_LIMIT

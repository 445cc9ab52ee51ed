"""How a cluster is reached, and how much of it is taken at once."""

from dataclasses import dataclass

from nms.common.messages import MESSAGE_LIMIT


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a cluster: its system's name for messages, some of its servers (host:port), login and TLS."""

    system: str
    servers: tuple[str, ...]
    user: str | None = None
    password: str | None = None
    mechanism: str = "SCRAM-SHA-512"
    tls: bool = False

    def __repr__(self) -> str:
        return f"Access({self.system})"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken at once: the bounds of a batch, of one message, and of what a broker sends ahead, in bytes.

    A broker sends the first message of an answer whatever its size, so a large one must find room beside `fetch_bytes`.
    """

    batch_messages: int = 2_000
    batch_bytes: int = 8 << 20
    message_bytes: int = MESSAGE_LIMIT
    fetch_bytes: int = 8 << 20

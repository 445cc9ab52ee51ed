"""What auth speaks of."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to log in; `keys` are the rows that it is counted in: of its network, of both, of its account."""

    email_key: str
    network: str
    keys: tuple[bytes, bytes, bytes]

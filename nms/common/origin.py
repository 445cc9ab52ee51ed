"""Origins: where a secret goes when it is used, and whether it was given for there (pure).

An origin is scheme, host and port; `the inbox` for what verifies webhooks; the reference itself where it holds a DSN.
"""

from collections.abc import Collection
from typing import Final

INBOX: Final = "the inbox"
ANSWERS: Final = "answers to handshakes"
"""Of its own: who may ask for signatures with a secret that verifies webhooks could forge them."""
STRICT: Final = ("require", "verify-ca", "verify-full")
"""Modes of TLS that a server must keep; with the others a password may go out in the clear."""


def is_covered(origin: str, recorded: Collection[str]) -> bool:
    """Whether a secret may go there: to an origin that it was given for, or the same place better hidden on its way."""
    scheme, _, place = origin.partition("://")
    if scheme == "kafka":
        # SCRAM (RFC 5802) shows no password; PLAIN (RFC 4616) without TLS does.
        return origin in recorded or f"kafka+clear://{place}" in recorded
    name, _, mode = scheme.partition("+")
    if name != "postgresql" or mode not in STRICT:
        return origin in recorded
    weaker = ["postgresql", *(f"postgresql+{each}" for each in STRICT[: STRICT.index(mode) + 1])]
    return any(f"{each}://{place}" in recorded for each in weaker)

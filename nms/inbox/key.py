"""Keys of schemes: what a secret becomes, once, so that a request costs only its own bytes."""

import hmac
import re
from base64 import b64decode
from binascii import Error
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import new as new_hash
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from nms.inbox.problems import SecretUnfit
from nms.inbox.scheme import Signed
from nms.inbox.signature import read_base64

SHORTEST_KEY: Final = 16
LONGEST_KEY: Final = 128
"""Bytes behind `whsec_`; the specification says 24 to 64, some providers are a little off."""
ED25519: Final = re.compile(rb"[A-Za-z0-9+/]{86}==")
"""What a signature of Ed25519 looks like in base64, right or wrong."""


class Running(Protocol):
    """A digest under way."""

    def copy(self) -> "Running":
        """The same, to go on from here."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""

    def digest(self) -> bytes:
        """The digest of the bytes so far."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key of Ed25519 (RFC 8032)."""

    key: Ed25519PublicKey

    def fits(self, signature: bytes, message: bytes) -> bool:
        """Whether this canonical base64 is the key's signature of the message."""
        raw = read_base64(signature, 64)
        if raw is None:
            return False
        try:
            self.key.verify(raw, message)
        except InvalidSignature:
            return False
        return True


def plain_secrets(secrets: Sequence[str]) -> list[bytes]:
    """Secrets as the bytes that they are; raises SecretUnfit."""
    for secret in secrets:
        if not secret or secret != secret.strip() or not secret.isprintable():
            raise SecretUnfit("A secret is empty, has blanks around it, or characters that cannot be seen.")
    if not secrets:
        raise SecretUnfit("The endpoint has no secret.")
    return [secret.encode() for secret in secrets]


def shared_keys(rule: Signed, secrets: Sequence[str]) -> tuple[list[Running], list[PublicKey]]:
    """What computes signatures of a scheme, and what only checks them; raises SecretUnfit."""
    given = plain_secrets(secrets)
    if rule.spelling != "list":
        return [_start(rule, key) for key in given], []
    shared = [_start(rule, _shared(secret)) for secret in given if not secret.startswith(b"whpk_")]
    return shared, [_public(secret) for secret in given if secret.startswith(b"whpk_")]


def _start(rule: Signed, key: bytes) -> Running:
    if rule.keyed == "hmac":
        return hmac.new(key, digestmod=rule.algorithm)
    return new_hash(rule.algorithm, key)


def _shared(secret: bytes) -> bytes:
    if secret.startswith(b"whsk_"):
        raise SecretUnfit("A secret that begins with `whsk_` is the sender's private key; `whpk_` is the public one.")
    text = secret.removeprefix(b"whsec_")
    try:
        key = b64decode(text, validate=True)
    except Error:
        key = b""
    if text == secret or not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise SecretUnfit(
            f"A secret of Standard Webhooks is `whsec_` and base64 of {SHORTEST_KEY} to {LONGEST_KEY} bytes, "
            "or `whpk_` and the base64 of a public key."
        )
    return key


def _public(secret: bytes) -> PublicKey:
    raw = read_base64(secret.removeprefix(b"whpk_"), 32)
    if raw is None:
        raise SecretUnfit("A public key of Standard Webhooks is `whpk_` and the base64 of 32 bytes.")
    return PublicKey(Ed25519PublicKey.from_public_bytes(raw))

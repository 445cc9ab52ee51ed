"""Sealing secrets at rest: AES-256-GCM with a key of its own, bound to what the secret is about.

A sealed value is: one byte of form, 8 bytes that name the key, 12 bytes of nonce, the ciphertext and its tag.
"""

from hashlib import sha256
from os import urandom

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from nms.common.problem import Problem

_FORM = b"\x01"
_NAME, _NONCE, _TAG = 8, 12, 16


class SealBroken(Problem):
    """A sealed value is damaged, or was sealed for something else."""

    status, code, title = 500, "seal-broken", "A sealed secret cannot be opened"
    remedy = "It was changed or moved in the database: restore its row from a backup, or set the secret anew."


class SealKeyChanged(SealBroken):
    """A value was sealed with another key than the one that is set."""

    code, title = "seal-key-changed", "A secret was sealed with another key"
    remedy = "Set SECRETS_KEY (or DATA_DIR/keys/secrets) to the key that it was sealed with, or set the secret anew."


def derive_key(secret: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose out of a longer-lived secret (HKDF-SHA256, RFC 5869); another purpose gives others."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"nms {purpose}".encode()).derive(secret)


class Sealer:
    """Seals and opens with one key; `about` says what a secret belongs to and must be the same both times."""

    def __init__(self, secret: bytes) -> None:
        key = derive_key(secret, "seal")
        self._cipher = AESGCM(key)
        self._name = sha256(b"nms seal key" + key).digest()[:_NAME]

    def seal(self, plain: bytes, about: str) -> bytes:
        """The sealed form of a secret, another one each time."""
        head, nonce = _FORM + self._name, urandom(_NONCE)
        return head + nonce + self._cipher.encrypt(nonce, plain, head + about.encode())

    def open(self, sealed: bytes, about: str) -> bytes:
        """The secret; raises SealBroken, of it SealKeyChanged."""
        head, rest = sealed[: 1 + _NAME], sealed[1 + _NAME :]
        if len(rest) < _NONCE + _TAG or head[:1] != _FORM:
            raise SealBroken("The sealed value does not have the form that we write.")
        if head[1:] != self._name:
            raise SealKeyChanged("The sealed value names another key than ours.")
        try:
            return self._cipher.decrypt(rest[:_NONCE], rest[_NONCE:], head + about.encode())
        except InvalidTag:
            raise SealBroken("The sealed value was changed, or belongs to something else.") from None

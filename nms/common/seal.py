"""Sealing secrets at rest: AES-256-GCM with a key of its own, bound to what the secret is about.

A sealed value is: one byte of form, 8 bytes that name the key, 12 bytes of nonce, the ciphertext and its tag.
An envelope is a value sealed with a data key of its own, and that data key sealed with the long-lived one: where the
long-lived key changes, or the terms on which the value is handed out, only the data key is sealed anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from os import urandom

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from nms.common.problem import Problem

_FORM = b"\x01"
_NAME, _NONCE, _TAG, _KEY = 8, 12, 16, 32


class SealBroken(Problem):
    """A sealed value is damaged, or was sealed for something else."""

    status, code, title = 500, "seal-broken", "A sealed secret cannot be opened"
    remedy = "It was changed or moved in the database: restore its row from a backup, or set the secret anew."


class SealKeyChanged(SealBroken):
    """A value was sealed with another key than the one that is set."""

    code, title = "seal-key-changed", "A secret was sealed with another key"
    remedy = "Give this process the key it was sealed with in SECRETS_KEY_BEFORE, or set the secret anew; then resume."


def derive_key(secret: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose out of a longer-lived secret (HKDF-SHA256, RFC 5869); another purpose gives others."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"nms {purpose}".encode()).derive(secret)


class Sealer:
    """Seals with one key and opens with that one and earlier ones; `about` must be the same both times."""

    def __init__(self, secret: bytes, *earlier: bytes) -> None:
        self._ciphers: dict[bytes, AESGCM] = {}
        for one in reversed((secret, *earlier)):
            key = derive_key(one, "seal")
            self._name = sha256(b"nms seal key" + key).digest()[:_NAME]
            self._ciphers[self._name] = AESGCM(key)

    @property
    def key_id(self) -> str:
        """The name of the key that seals, 16 hexadecimal digits; it tells nothing of the key."""
        return self._name.hex()

    def seal(self, plain: bytes, about: str) -> bytes:
        """The sealed form of a secret, another one each time."""
        head, nonce = _FORM + self._name, urandom(_NONCE)
        return head + nonce + self._ciphers[self._name].encrypt(nonce, plain, head + about.encode())

    def open(self, sealed: bytes, about: str) -> bytes:
        """The secret; raises SealBroken, of it SealKeyChanged."""
        head, rest = sealed[: 1 + _NAME], sealed[1 + _NAME :]
        if len(rest) < _NONCE + _TAG or head[:1] != _FORM:
            raise SealBroken("The sealed value does not have the form that we write.")
        cipher = self._ciphers.get(head[1:])
        if cipher is None:
            raise SealKeyChanged("The sealed value names another key than ours.")
        try:
            return cipher.decrypt(rest[:_NONCE], rest[_NONCE:], head + about.encode())
        except InvalidTag:
            raise SealBroken("The sealed value was changed, or belongs to something else.") from None

    def reseal(self, sealed: bytes, about: str) -> bytes:
        """The same secret sealed with the key of today; raises as `open` does."""
        return self.seal(self.open(sealed, about), about)

    def enclose(self, plain: bytes, about: str, terms: Iterable[str] = ()) -> "Envelope":
        """A secret in an envelope, with a data key of its own; `terms` (lines) must be the same when it is opened."""
        key = urandom(_KEY)
        return Envelope(self.seal(key, _wrapping(about, terms)), Sealer(key).seal(plain, about))

    def disclose(self, envelope: "Envelope", about: str, terms: Iterable[str] = ()) -> bytes:
        """The secret in an envelope; raises SealBroken, of it SealKeyChanged."""
        data = Sealer(self.open(envelope.wrapped, _wrapping(about, terms)))
        try:
            return data.open(envelope.sealed, about)
        except SealKeyChanged:
            raise SealBroken("The sealed value and its data key do not belong together.") from None

    def rewrap(self, wrapped: bytes, about: str, before: Iterable[str], after: Iterable[str]) -> bytes:
        """The data key of an envelope sealed with the key of today, on other terms; raises as `open` does."""
        return self.seal(self.open(wrapped, _wrapping(about, before)), _wrapping(about, after))


@dataclass(frozen=True, slots=True)
class Envelope:
    """A sealed value and the data key that it is sealed with, itself sealed."""

    wrapped: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


def _wrapping(about: str, terms: Iterable[str]) -> str:
    return "\n".join([f"data key of {about}", *terms])

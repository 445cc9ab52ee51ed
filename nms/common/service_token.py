"""The form of a service token: `nmss_`, 30 random characters (178 bits), 6 characters of checksum, all base62.

The checksum is the CRC-32 of everything before it: a mistyped or invented token is refused without a database, and
scanners for leaked secrets find few false ones. Pure.
"""

import secrets
from binascii import crc32
from hashlib import sha256
from re import compile as pattern
from string import ascii_letters, digits

PREFIX = "nmss_"
HINT_LENGTH = 9
"""So many characters of a token may be shown: the prefix and 24 of its 178 bits."""

_ALPHABET = digits + ascii_letters
_RANDOM, _CHECKSUM = 30, 6
_FORM = pattern(rf"{PREFIX}[0-9A-Za-z]{{{_RANDOM + _CHECKSUM}}}")


def make() -> str:
    """A new token; only its hash is ever stored."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return body + _checksum_of(body)


def is_one(text: str) -> bool:
    """Whether a text begins like a service token, well made or not."""
    return text.startswith(PREFIX)


def is_well_formed(text: str) -> bool:
    """Whether a text has the form of a service token and its checksum is right."""
    return _FORM.fullmatch(text) is not None and _checksum_of(text[:-_CHECKSUM]) == text[-_CHECKSUM:]


def hash_of(token: str) -> bytes:
    """What is stored and compared (SHA-256; 178 random bits need no slow hash)."""
    return sha256(token.encode()).digest()


def hint_of(token: str) -> str:
    """The beginning of a token, by which people tell one from another."""
    return token[:HINT_LENGTH]


def _checksum_of(body: str) -> str:
    number, written = crc32(body.encode()), ""
    for _ in range(_CHECKSUM):
        number, rest = divmod(number, len(_ALPHABET))
        written = _ALPHABET[rest] + written
    return written

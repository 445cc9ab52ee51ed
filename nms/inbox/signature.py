"""Signatures, times and encodings as headers spell them: one spelling each, anything else is refused. Pure."""

import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from binascii import Error, hexlify
from collections.abc import Callable, Mapping
from hashlib import new as new_hash
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from nms.inbox.check import Refusal

MOST_SIGNATURES: Final = 16
"""Signatures of one header that are looked at; a provider that rotates its keys sends two or three."""
_NUMBER: Final = re.compile(rb"0|[1-9][0-9]{0,14}")
_PAIR: Final = re.compile(rb"([a-z0-9]{1,20})=([\x21-\x2b\x2d-\x7e]+)")
_LISTED: Final = re.compile(rb"([a-z0-9]{1,20}),([\x21-\x7e]+)")

ENCODERS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "hex": hexlify,
    "hex-upper": lambda digest: hexlify(digest).upper(),
    "base64": b64encode,
    "base64url": lambda digest: urlsafe_b64encode(digest).rstrip(b"="),
}
_LETTERS: Final = {"hex": b"[0-9a-f]", "hex-upper": b"[0-9A-F]", "base64": b"[A-Za-z0-9+/]", "base64url": rb"[\w-]"}


def shape_of(algorithm: str, encoding: str, prefix: bytes) -> re.Pattern[bytes]:
    """What a signature looks like, right or wrong."""
    sample = ENCODERS[encoding](bytes(new_hash(algorithm).digest_size))
    letters = len(sample.rstrip(b"="))
    return re.compile(re.escape(prefix) + _LETTERS[encoding] + b"{%d}" % letters + b"=" * (len(sample) - letters))


def read_base64(text: bytes, size: int) -> bytes | None:
    """The bytes of canonical base64 (RFC 4648 section 4), or None for any other text or number of bytes."""
    if len(text) != (size + 2) // 3 * 4:
        return None
    try:
        decoded = b64decode(text, validate=True)
    except Error:
        return None
    return decoded if len(decoded) == size and b64encode(decoded) == text else None


def read_time(text: bytes, unit: str, header: str) -> float:
    """Seconds since 1970 of a whole number; raises Refusal for any other text."""
    if not _NUMBER.fullmatch(text):
        told = "seconds" if unit == "s" else "milliseconds"
        raise Refusal("timestamp-malformed", f"The time in `{header}` is no whole number of {told}.", header=header)
    return int(text) if unit == "s" else int(text) / 1000


def check_time(sent: float, arrived: float, window: float) -> None:
    """Raise Refusal when the time of a request is further off than the window, either way."""
    late = arrived - sent
    if late > window:
        raise Refusal(
            "timestamp-old",
            f"The request was signed {late:.0f} s before it came; {window:.0f} s are allowed. "
            "It was held up, sent a second time by somebody else, or a clock is wrong.",
            seconds=late,
            window=window,
        )
    if late < -window:
        raise Refusal(
            "timestamp-ahead",
            f"The request was signed {-late:.0f} s after it came; {window:.0f} s are allowed. A clock is wrong.",
            seconds=late,
            window=window,
        )


def split_pairs(value: bytes, header: str) -> list[tuple[bytes, bytes]]:
    """The pairs of `t=1,v1=ab,v1=cd`; raises Refusal for another form or too many of them."""
    return _split(value, b",", _PAIR, header)


def split_list(value: bytes, header: str) -> list[tuple[bytes, bytes]]:
    """Version and signature of each of `v1,abc v1a,def`; raises Refusal for another form or too many of them."""
    return _split(value, b" ", _LISTED, header)


def _split(value: bytes, between: bytes, form: re.Pattern[bytes], header: str) -> list[tuple[bytes, bytes]]:
    if value.count(between) >= MOST_SIGNATURES:
        raise Refusal(
            "signatures-too-many",
            f"The header `{header}` has more than {MOST_SIGNATURES} parts.",
            header=header,
            parts=value.count(between) + 1,
        )
    found = []
    for part in value.split(between):
        match = form.fullmatch(part)
        if match is None:
            raise malformed(header)
        found.append((match[1], match[2]))
    return found


def malformed(header: str) -> Refusal:
    """The refusal of a header in which no signature of this scheme can be read."""
    return Refusal("signature-malformed", f"The header `{header}` has not the form of this scheme.", header=header)


def mismatch(header: str, secrets: int) -> Refusal:
    """The refusal of a well-formed signature that fits none of the secrets."""
    whose = "the secret" if secrets == 1 else f"any of the {secrets} secrets"
    return Refusal(
        "signature-mismatch",
        f"The signature in `{header}` does not fit the body and {whose}: the secret is another one, "
        "or something changed the request on its way (its body, or the URL where the scheme signs it).",
        header=header,
        secrets=secrets,
    )


def is_same(one: bytes, other: bytes) -> bool:
    """Whether two secret texts are the same, in a time that tells neither where they differ nor how long they are."""
    return compare_digest(sha256(one).digest(), sha256(other).digest())

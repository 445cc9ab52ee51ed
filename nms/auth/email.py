"""E-mail addresses: the one form in which two spellings of an address are the same account."""

import unicodedata
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from nms.common.problem import Malformed, Pointer

LONGEST: Final = 254
"""RFC 3696 erratum 1690: characters of an address."""

# No mail is sent from here: a house may name its people ada@crm.local. The library's manual says to change the list.
SPECIAL_USE_DOMAIN_NAMES.clear()


@dataclass(frozen=True, slots=True)
class Email:
    """An address as it is shown, and the key that is compared."""

    shown: str
    key: str


def parse_email(text: str, pointer: str = "/email") -> Email:
    """An address in its normal form, no DNS asked; raises Malformed with this pointer.

    The key is case-folded and NFKC: `Ada@BÜCHER.example` is `ada@xn--bcher-kva.example`, and `ß` is `ss`.
    """
    try:
        shown = _validate(text.strip())
        key = _fold(shown)
        # A sign that becomes `@`, a blank or a dot would make two addresses of one key, or a key that is none.
        if _fold(_validate(key)) != key:
            raise EmailNotValidError("It has characters that look like others.")
    except EmailNotValidError as error:
        raise Malformed("This is no e-mail address.", pointers=[Pointer(pointer, str(error))]) from None
    return Email(shown, key)


def key_of(text: str) -> str:
    """The key of whatever somebody gives as an address: for what is none, a text that no account has."""
    try:
        return parse_email(text[: 2 * LONGEST]).key
    except Malformed:
        return " " + sha256(text.encode(errors="surrogatepass")).hexdigest()


def is_address(key: str) -> bool:
    """Whether a key is that of an address."""
    return not key.startswith(" ")


def _validate(text: str) -> str:
    if len(text) > LONGEST:
        raise EmailNotValidError(f"It is longer than {LONGEST} characters.")
    valid = validate_email(text, check_deliverability=False, globally_deliverable=False)
    if len(valid.normalized) > LONGEST:
        raise EmailNotValidError(f"It is longer than {LONGEST} characters.")
    return valid.normalized


def _fold(text: str) -> str:
    """NFKC and case-folded, again until nothing moves: one round leaves some signs half way."""
    folded = unicodedata.normalize("NFKC", text.casefold())
    return folded if folded == text else _fold(folded)

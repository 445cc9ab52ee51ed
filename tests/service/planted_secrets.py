"""Secrets to be planted everywhere that NMS is given some, and how they may come to stand somewhere."""

import secrets
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

STORED = tuple(f"stored-{number}" for number in range(14))
VARIABLES = tuple(f"PLANTED_{number}" for number in range(8))
FILES = tuple(f"file-{number}" for number in range(4))
IN_A_PATH = "PLANTED_4"
DSNS = ("DB_NMS_DSN", "DB_AUTH_DSN", "DB_DWH_DSN")
KEYS = ("SECRETS_KEY", "SECRETS_KEY_BEFORE", "JWT_SECRET_KEY")
PEOPLE = ("ann", "bob", "vera", "eve")
WORD = "word of YAML"
WRONG = ("wrong password", "secret in a wrong place", "dsn in a document", "forged signature", WORD)
NAMES = (*STORED, *VARIABLES, *FILES, *DSNS, *KEYS, *PEOPLE, *WRONG)


def make_value(name: str) -> str:
    """A value that stands nowhere else, with characters that every coding writes otherwise, where they are allowed."""
    special = {IN_A_PATH: "-._~", WORD: "-_"}.get(name, "/+&")
    return f"{secrets.token_hex(12)}{special}{name[:2].strip()}{secrets.token_hex(6)}"


@dataclass(frozen=True)
class Planted:
    """The values by what they are for; what a service hands out (tokens) is added."""

    values: dict[str, str]

    @classmethod
    def make(cls) -> "Planted":
        return cls({name: make_value(name) for name in NAMES})

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def of(self, names: Iterable[str]) -> dict[str, str]:
        """Some of them."""
        return {name: self.values[name] for name in names}

    def found_in(self, places: Mapping[str, str]) -> list[str]:
        """Which secret stands where, in any coding."""
        return [
            f"{name} stands in {place} as {coding}"
            for name, value in self.values.items()
            for coding, written in codings_of(value)
            for place, text in places.items()
            if written in text
        ]


def codings_of(value: str) -> Iterator[tuple[str, str]]:
    """How a value may be written; base64 in the middle of something else at each of its three places."""
    raw = value.encode()
    yield "it is", value
    yield "hex", raw.hex()
    yield "url", quote(value, safe="")
    yield "form", quote_plus(value)
    yield "JSON", value.replace("/", "\\/")
    for shift in range(3):
        inner = b"\0" * shift + raw
        whole = slice(-(-shift * 4 // 3) + (shift > 0), len(inner) // 3 * 4)
        yield "base64", b64encode(inner).decode()[whole]
        yield "base64 of addresses", urlsafe_b64encode(inner).decode()[whole]

"""What the scheme of an endpoint may say."""

from typing import Any

import pytest
from pydantic import ValidationError

from nms.common.document.scheme import HmacScheme, Piece, split_signed
from tests.unit.webhooks import PROVIDERS, SCHEMES

SECRETS = ["env://HOOK"]
HMAC = {"type": "hmac", "secrets": SECRETS, "header": "X-Sign"}


@pytest.mark.parametrize(
    "scheme",
    [
        *(provider.scheme for provider in PROVIDERS.values()),
        {"type": "basic", "user": "crm", "secrets": SECRETS},
        {"type": "bearer", "secrets": ["env://A", "file:///run/secrets/b"]},
        {"type": "path", "secrets": SECRETS},
        {"type": "none"},
    ],
)
def test_a_scheme_reads_what_it_writes(scheme: dict[str, Any]) -> None:
    read = SCHEMES.validate_python(scheme)
    assert SCHEMES.validate_python(SCHEMES.dump_python(read, mode="json")) == read


@pytest.mark.parametrize(
    ("scheme", "told"),
    [
        ({}, "discriminator"),
        ({"type": "hmacs"}, "does not match any"),
        ({"type": "github"}, "Field required"),
        ({"type": "github", "secrets": []}, "at least 1"),
        ({"type": "github", "secrets": SECRETS * 11}, "at most 10"),
        ({"type": "github", "secrets": ["hunter2"]}, "env://NAME"),
        ({"type": "github", "secrets": SECRETS, "window": "5min"}, "not permitted"),
        ({"type": "stripe", "secrets": SECRETS, "window": "2d"}, "less than or equal"),
        ({"type": "stripe", "secrets": SECRETS, "window": "1ms"}, "greater than or equal"),
        ({"type": "none", "secrets": SECRETS}, "not permitted"),
        ({"type": "basic", "user": "a:b", "secrets": SECRETS}, "no `:`"),
        ({**HMAC, "header": "X Sign"}, "no name of a header"),
        ({**HMAC, "algorithm": "md5"}, "sha256"),
        ({**HMAC, "signed": ""}, "`{body}` stands"),
        ({**HMAC, "signed": "{method}"}, "`{body}` stands"),
        ({**HMAC, "signed": "{body}{body}"}, "`{body}` stands"),
        ({**HMAC, "signed": "{timestamp}.{body}"}, "needs `timestamp`"),
        ({**HMAC, "timestamp": "X-Time"}, "proves nothing"),
        ({**HMAC, "signed": "{bodies}{body}"}, "placeholders are"),
        ({**HMAC, "signed": "{header:a b}{body}"}, "placeholders are"),
        ({**HMAC, "signed": "{{body}}"}, "placeholders are"),
        ({**HMAC, "signed": "{body}\n"}, "match"),
    ],
)
def test_a_fault_of_a_scheme_is_told(scheme: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        SCHEMES.validate_python(scheme)


def test_what_is_signed_is_read_into_pieces() -> None:
    assert split_signed("v0:{timestamp}:{header:X-Id}{body}.") == (
        Piece("text", "v0:"),
        Piece("timestamp"),
        Piece("text", ":"),
        Piece("header", "x-id"),
        Piece("body"),
        Piece("text", "."),
    )


def test_a_plain_hmac_needs_only_its_header() -> None:
    scheme = SCHEMES.validate_python(HMAC)
    assert isinstance(scheme, HmacScheme)
    assert (scheme.algorithm, scheme.encoding, scheme.signed, scheme.window) == ("sha256", "hex", "{body}", 300)

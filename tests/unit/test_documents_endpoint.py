"""What the scheme of an endpoint may say."""

from typing import Any

import pytest
from pydantic import ValidationError

from nms.common.document import normal_form, parse_document, short_form
from nms.common.document.scheme import HmacScheme, Piece, split_signed
from nms.common.problem import Malformed
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


GITHUB: dict[str, Any] = {"type": "github", "secrets": SECRETS}
META = {"type": "meta", "token": "env://VERIFY_TOKEN"}
CRC = {"type": "x", "secret": "env://CONSUMER_SECRET"}
ZOOM = {"type": "zoom", "secret": "env://ZOOM_SECRET"}


def endpoint(scheme: dict[str, Any], *handshakes: object) -> dict[str, Any]:
    return {"kind": "endpoint", "name": "crm", "scheme": scheme, "handshakes": list(handshakes)}


@pytest.mark.parametrize(
    ("scheme", "handshakes"),
    [
        ("github", ["meta", "slack", "graph", "mandrill", "cloudevents"]),
        ("github", [META, CRC]),
        ("zoom", ["zoom"]),
        ("zoom", [{**ZOOM, "secret": SECRETS[0]}]),
        ("x", ["x"]),
        ("bearer", [ZOOM, "mailchimp"]),
        ("path", ["mailchimp", "graph"]),
    ],
)
def test_a_handshake_is_a_word_or_a_mapping_and_stays_as_it_was_written(scheme: str, handshakes: list[Any]) -> None:
    document = parse_document(endpoint({"type": scheme, "secrets": SECRETS}, *handshakes))
    assert normal_form(document)["handshakes"] == short_form(document)["handshakes"] == handshakes
    assert parse_document(normal_form(document)) == document


@pytest.mark.parametrize(
    ("scheme", "handshakes", "pointer", "told"),
    [
        (GITHUB, ["zoom"], "/handshakes", "secret of the scheme `zoom`"),
        (GITHUB, ["x"], "/handshakes", "{type: x, secret: env://NAME}"),
        (GITHUB, [{**CRC, "secret": SECRETS[0]}], "/handshakes", "not one of the scheme"),
        (GITHUB, ["mailchimp"], "/handshakes", "without a signature"),
        (GITHUB, [META, "meta"], "/handshakes", "twice"),
        (GITHUB, ["metta"], "/handshakes/0", "`meta`"),
        (GITHUB, [{"type": "metta"}], "/handshakes/0/type", "did you mean `meta`"),
        (GITHUB, ["slack", {"token": "env://A"}], "/handshakes/1/type", "`type` is missing"),
        (GITHUB, [{**META, "secret": "env://A"}], "/handshakes/0/secret", "unknown key"),
        (GITHUB, [{"type": "slack", "secret": "env://A"}], "/handshakes/0/secret", "unknown key"),
        (GITHUB, [{**META, "token": "hunter2"}], "/handshakes/0/token", "env://NAME"),
        ({"type": "none"}, ["meta"], "/handshakes", "no secret to compare with"),
    ],
)
def test_a_handshake_that_does_not_fit_is_refused_in_a_sentence(
    scheme: dict[str, Any], handshakes: list[Any], pointer: str, told: str
) -> None:
    with pytest.raises(Malformed) as refused:
        parse_document(endpoint(scheme, *handshakes))
    (fault,) = refused.value.pointers
    assert fault.pointer == pointer
    assert told in fault.detail

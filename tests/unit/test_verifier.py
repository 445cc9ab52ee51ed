"""Operator tokens: which are taken, which are refused, and what remembering them costs."""

import base64
import hmac
import json
import time
from contextlib import suppress
from hashlib import sha256
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nms.common.guard import TokenRefused
from nms.common.problem import Malformed
from nms.common.settings import Settings, read_settings
from nms.common.token import LONGEST_SECONDS, OperatorTokensOff, mint_token
from nms.common.verifier import LEEWAY_SECONDS, LONGEST_TOKEN, REMEMBERED_TOKENS, SHARED, Key, Verifier, own_keys

SECRET = "k8Vf3sQ0pZx7Lr2Wm9Yt4Nc6Bd1Hj5Ga"
NOW = 1_800_000_000
HEADER = {"alg": "HS256", "typ": "at+jwt"}
CLAIMS: dict[str, Any] = {
    "iss": "nms",
    "aud": "nms",
    "sub": "ann",
    "scope": "pipelines:read",
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 600,
    "jti": "one",
}


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(clock: Clock) -> Verifier:
    return Verifier({None: Key(SECRET.encode())}, issuer="nms", audience="nms", clock=clock)


def sign(header: dict[str, Any], claims: Any, secret: str = SECRET) -> str:
    """A token signed by hand, so that every form of nonsense can be made."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    body = b".".join(parts)
    signature = base64.urlsafe_b64encode(hmac.digest(secret.encode(), body, sha256)).rstrip(b"=")
    return (body + b"." + signature).decode()


def settings() -> Settings:
    return read_settings(Settings, environment="test", jwt_secret_key=SECRET)


def test_a_minted_token_is_taken(verifier: Verifier) -> None:
    caller = verifier.verify(mint_token(settings(), ["runs:write", "pipelines:read"], subject="ann", now=NOW))
    assert (caller.subject, caller.expires_at) == ("ann", NOW + 600)
    assert caller.scopes == {"pipelines:read", "runs:write"}


def test_a_token_signed_by_hand_in_our_form_is_taken(verifier: Verifier) -> None:
    assert verifier.verify(sign(HEADER, CLAIMS)).subject == "ann"
    assert verifier.verify(sign({**HEADER, "typ": "application/at+jwt"}, CLAIMS)).subject == "ann"


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "HS512"},
        {"alg": "RS256"},
        {"alg": "EdDSA"},
        {"alg": None},
        {"alg": ["HS256"]},
        {"typ": "JWT"},
        {"typ": None},
        {"typ": 7},
        {"typ": ["at+jwt"]},
        {"kid": "unknown"},
        {"kid": "../../etc/passwd"},
        {"kid": 7},
        {"kid": ["a"]},
        {"jku": "https://evil.example/keys"},
        {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["MIIB"]},
        {"x5t": "abc"},
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"zip": "DEF"},
        {"cty": "JWT"},
    ],
)
def test_a_header_that_we_never_issue_is_refused(verifier: Verifier, header: dict[str, Any]) -> None:
    with pytest.raises(TokenRefused) as refused:
        verifier.verify(sign({**HEADER, **header}, CLAIMS))
    assert refused.value.status == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "someone"},
        {"iss": None},
        {"iss": ["nms"]},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": None},
        {"aud": 7},
        {"exp": NOW - LEEWAY_SECONDS},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": NOW + 0.5},
        {"exp": 1e400},
        {"exp": -1},
        {"exp": 10**30},
        {"nbf": NOW + LEEWAY_SECONDS + 1},
        {"iat": NOW + LEEWAY_SECONDS + 1},
        {"iat": "now"},
        {"sub": None},
        {"sub": 7},
        {"sub": ["ann"]},
        {"jti": 7},
        {"scope": ["pipelines:read"]},
        {"scope": None},
    ],
)
def test_a_claim_of_the_wrong_value_or_type_is_refused(verifier: Verifier, claims: dict[str, Any]) -> None:
    with pytest.raises(TokenRefused):
        verifier.verify(sign(HEADER, {**CLAIMS, **claims}))


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_a_missing_claim_is_refused(verifier: Verifier, name: str) -> None:
    with pytest.raises(TokenRefused):
        verifier.verify(sign(HEADER, {key: value for key, value in CLAIMS.items() if key != name}))


@pytest.mark.parametrize("secret", ["", "x" * 32, SECRET + "x", SECRET[::-1]])
def test_another_key_is_refused(verifier: Verifier, secret: str) -> None:
    with pytest.raises(TokenRefused):
        verifier.verify(sign(HEADER, CLAIMS, secret))


def test_a_changed_payload_is_refused(verifier: Verifier) -> None:
    head, _, signature = sign(HEADER, CLAIMS).split(".")
    _, payload, _ = sign(HEADER, {**CLAIMS, "scope": "*"}).split(".")
    with pytest.raises(TokenRefused):
        verifier.verify(f"{head}.{payload}.{signature}")


@pytest.mark.parametrize("claims", [[], "text", 7, None, [CLAIMS]])
def test_a_payload_that_is_no_object_is_refused(verifier: Verifier, claims: Any) -> None:
    with pytest.raises(TokenRefused):
        verifier.verify(sign(HEADER, claims))


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "....", "eyJ.e30.", "=" * 40, "\x00.\x00.\x00", "[" * 4000])
def test_nonsense_is_refused(verifier: Verifier, token: str) -> None:
    with pytest.raises(TokenRefused):
        verifier.verify(token)


@given(st.text(max_size=200))
def test_any_text_is_refused_and_never_an_error(text: str) -> None:
    with pytest.raises(TokenRefused):
        Verifier({None: Key(SECRET.encode())}, issuer="nms", audience="nms").verify(text)


def test_deep_nesting_is_refused(verifier: Verifier) -> None:
    deep = base64.urlsafe_b64encode(b"[" * 2900 + b"]" * 2900).rstrip(b"=").decode()
    for token in (f"{deep}.e30.AA", f"{sign(HEADER, CLAIMS).split('.')[0]}.{deep}.AA"):
        with pytest.raises(TokenRefused):
            verifier.verify(token)


def test_a_token_over_8_kb_is_refused_unread(verifier: Verifier) -> None:
    token = sign(HEADER, {**CLAIMS, "scope": "a:b " * 3000})
    assert len(token) > LONGEST_TOKEN
    with pytest.raises(TokenRefused, match="longer"):
        verifier.verify(token)


def test_a_remembered_token_expires_all_the_same(verifier: Verifier, clock: Clock) -> None:
    token = sign(HEADER, CLAIMS)
    first = verifier.verify(token)
    clock.now = NOW + 599
    assert verifier.verify(token) is first
    clock.now = NOW + 600 + LEEWAY_SECONDS
    with pytest.raises(TokenRefused, match="expired"):
        verifier.verify(token)


def test_the_memory_for_tokens_is_bounded(verifier: Verifier) -> None:
    first = sign(HEADER, {**CLAIMS, "jti": "first"})
    remembered = verifier.verify(first)
    for number in range(REMEMBERED_TOKENS):
        verifier.verify(sign(HEADER, {**CLAIMS, "jti": str(number)}))
    assert len(verifier._known) == REMEMBERED_TOKENS
    assert verifier.verify(first) is not remembered


def test_a_remembered_token_costs_microseconds(verifier: Verifier) -> None:
    token, rounds = sign(HEADER, CLAIMS), 10_000
    verifier.verify(token)
    began = time.process_time()
    for _ in range(rounds):
        verifier.verify(token).may("pipelines:read")
    assert (time.process_time() - began) / rounds < 10e-6


@pytest.mark.parametrize("scopes", [[], ["bad"], ["a:b", "*:read"], ["a:b c:d"], ["A:b"], [""]])
def test_only_scopes_are_minted(scopes: list[str]) -> None:
    with pytest.raises(Malformed):
        mint_token(settings(), scopes, subject="ann")


@pytest.mark.parametrize("seconds", [0, -1, LONGEST_SECONDS + 1])
def test_a_minted_token_does_not_live_too_long(seconds: int) -> None:
    with pytest.raises(Malformed):
        mint_token(settings(), ["*"], subject="ann", seconds=seconds)


def test_a_minted_token_has_the_form_of_rfc_9068() -> None:
    token = mint_token(settings(), ["*"], subject="ann", now=NOW)
    assert jwt.get_unverified_header(token) == HEADER
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims.keys() == CLAIMS.keys() | {"client_id"}
    assert len(claims["jti"]) >= 16


def test_no_token_is_minted_where_operator_tokens_are_off() -> None:
    off = read_settings(Settings, environment="test", jwt_secret_key=SECRET, operator_tokens=False)
    with pytest.raises(OperatorTokensOff):
        mint_token(off, ["*"], subject="ann")


@pytest.mark.parametrize(
    ("algorithm", "operators", "names"),
    [("EdDSA", True, {None}), ("EdDSA", False, set()), ("HS256", True, {None, SHARED}), ("HS256", False, {SHARED})],
)
def test_the_settings_say_whose_tokens_of_the_shared_key_are_taken(
    clock: Clock, algorithm: str, operators: bool, names: set[str | None]
) -> None:
    own = read_settings(
        Settings, environment="test", jwt_secret_key=SECRET, jwt_algorithm=algorithm, operator_tokens=operators
    )
    verifier = Verifier(own_keys(own), issuer="nms", audience="nms", clock=clock)
    tokens = {None: sign(HEADER, CLAIMS), SHARED: sign({**HEADER, "kid": SHARED}, {**CLAIMS, "sid": "s", "rev": 1})}
    taken = set()
    for name, token in tokens.items():
        with suppress(TokenRefused):
            taken |= {name} if verifier.verify(token).key == name else set()
    assert taken == names

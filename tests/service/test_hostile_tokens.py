"""Hostile tokens: a thousand of each algorithm and more, and no door opens; a lenient verifier is caught by them."""

import json
import math
import sys
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from fastapi import FastAPI

from nms.common import strict_json, verifier, web
from nms.common.guard import Caller
from nms.common.settings import RoleSettings
from nms.common.verifier import Key, Verifier
from tests.service.hostile_tokens import FAMILIES, SECRET, Forger
from tests.service.trusting import ROLE
from tests.service.web_client import client_of, settings_in

LEAST = 1000


@pytest.fixture(params=["EdDSA", "HS256"])
def forger(request: pytest.FixtureRequest) -> Forger:
    return Forger(request.param, "ed" if request.param == "EdDSA" else "shared")


@pytest.fixture
def app(tmp_path: Path, forger: Forger) -> FastAPI:
    """A role whose key table holds all three kinds of keys."""
    app: Any = web.create_app(ROLE, settings_in(tmp_path), RoleSettings())
    public = forger.private.public_key().public_bytes_raw()
    keys = {"ed": Key(public, "EdDSA"), "shared": Key(SECRET), None: Key(SECRET)}
    app.verifier = Verifier(keys, issuer="nms", audience="nms")
    return cast(FastAPI, app)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(app) as client:
        yield client


async def knock(client: httpx2.AsyncClient, token: str, scheme: str = "Bearer") -> httpx2.Response:
    given = f"{scheme} {token}".encode("utf-8", "surrogatepass")
    return await client.get("/door", headers={b"Authorization": given})


async def answers_to(client: httpx2.AsyncClient, forger: Forger) -> dict[str, Counter[int]]:
    """How often each status was answered, by family."""
    found: dict[str, Counter[int]] = {}
    for family in FAMILIES:
        found[family.__name__] = Counter([(await knock(client, token)).status_code for token in family(forger)])
    return found


async def test_a_thousand_hostile_tokens_of_each_algorithm_are_refused(
    client: httpx2.AsyncClient, forger: Forger
) -> None:
    found = await answers_to(client, forger)
    total = sum(counter.total() for counter in found.values())
    told = ", ".join(f"{name} {counter.total()}" for name, counter in found.items())
    sys.stdout.write(f"{forger.algorithm}: {total} refused: {told}\n")
    assert {name: counter for name, counter in found.items() if counter.keys() != {401}} == {}
    assert total >= LEAST


async def test_good_ones_are_let_in(client: httpx2.AsyncClient, forger: Forger) -> None:
    spread = forger.text(extra='{"a" : [1, {"b": 2.5e3}]}', sub='"J\\u00f6rg 𝄞"').replace(b",", b" ,\n ")
    good = [forger.sign(), forger.sign(typ="AT+JWT"), forger.sign(typ="application/at+jwt"), forger.sign(claims=spread)]
    assert [(await knock(client, token)).status_code for token in good] == [200] * 4
    assert (await knock(client, good[3])).json() == {"subject": "Jörg 𝄞", "kind": "user"}
    for scheme in ("bearer", "BEARER", "Bearer "):
        assert (await knock(client, good[0], scheme)).status_code == 200


async def test_a_refusal_has_the_form_of_rfc_6750(client: httpx2.AsyncClient, forger: Forger) -> None:
    refused = await knock(client, forger.sign(typ="JWT"))
    assert refused.headers["www-authenticate"] == 'Bearer realm="nms", error="invalid_token"'
    assert refused.json()["code"] == "token-refused"


def _lax_base64(part: str) -> bytes:
    return urlsafe_b64decode(part + "==")


def _name_only(_verifier: Verifier, claims: dict[str, str], _key: str) -> Caller:
    return Caller(claims["sub"], claims["jti"], frozenset({"doors:read"}), math.inf)


# What a verifier may forget, and the family that finds it out.
FORGOTTEN: dict[str, tuple[Any, str, Any]] = {
    "flipped_bits": (verifier, "_decode", _lax_base64),
    "doubled_names": (strict_json, "_DECODER", json.JSONDecoder(parse_int=strict_json.Number)),
    "nested": (verifier, "_DEPTH", 1000),
    "too_long": (verifier, "LONGEST_TOKEN", 10**6),
    "other_types": (verifier, "_TYPES", {"jwt", "at+jwt"}),
    "other_claims": (verifier, "_LONGEST_TEXT", 1000),
    "other_parties": (Verifier, "_caller_of", _name_only),
    "changed_letters": (Key, "check", lambda *_: True),
    "times": (verifier, "LEEWAY_SECONDS", 30),
    "key_from_token": (verifier, "_HEADERS", frozenset({"alg", "typ", "kid", "jwk", "jku", "x5u", "crit"})),
}


@pytest.mark.parametrize("family", FORGOTTEN)
async def test_a_lenient_verifier_is_caught(
    client: httpx2.AsyncClient, forger: Forger, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    place, name, lenient = FORGOTTEN[family]
    monkeypatch.setattr(place, name, lenient)
    (tokens,) = [one for one in FAMILIES if one.__name__ == family]
    statuses = Counter([(await knock(client, token)).status_code for token in tokens(forger)])
    assert statuses.keys() - {401}


def test_every_family_is_there() -> None:
    assert set(FORGOTTEN) <= {family.__name__ for family in FAMILIES}

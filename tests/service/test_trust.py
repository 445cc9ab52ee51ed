"""The feed: every role knows keys and revocations of auth within a second, whatever is away."""

import time
from collections.abc import AsyncIterator

import pytest

from nms.common.settings import Settings
from tests.service.trusting import Auth, Door, Signer, auth_of, claims_of, door_of
from tests.waiting import eventually


@pytest.fixture
async def auth(auth_database: str) -> AsyncIterator[Auth]:
    async with auth_of(auth_database) as auth:
        yield auth


@pytest.fixture
async def signer(auth: Auth) -> Signer:
    signer = Signer()
    await auth.add_key(signer)
    return signer


@pytest.fixture
async def door(settings: Settings, signer: Signer) -> AsyncIterator[Door]:
    async with door_of(settings) as door:
        yield door


async def test_a_token_of_auth_is_taken_by_a_role_that_asks_nobody(door: Door, signer: Signer) -> None:
    answer = await door.answer(signer.sign(sub="6f0e"))
    assert answer.json() == {"subject": "6f0e", "kind": "user"}
    assert await door.status(signer.sign(scope="doors:write")) == 403


@pytest.mark.parametrize("kind", ["token", "session", "account", "key"])
async def test_a_revocation_is_real_within_a_second(door: Door, signer: Signer, auth: Auth, kind: str) -> None:
    claims = claims_of()
    token = signer.sign(**claims)
    assert await door.status(token) == 200
    subject = {"token": claims["jti"], "session": claims["sid"], "account": claims["sub"], "key": signer.kid}[kind]
    await auth.revoke(kind, subject, 2 if kind == "account" else None)
    began = time.monotonic()
    await eventually(door.refuses(token), seconds=1)
    assert time.monotonic() - began < 1
    assert await door.status(signer.sign(**{**claims, "rev": 2, "iat": claims["iat"] + 1})) == (
        200 if kind == "account" else 401
    )

"""Looking up service tokens: forgetting makes asked anew, never refused."""

import asyncio
import time

import pytest

from nms.common import service_token
from nms.common.guard import TokenRefused
from nms.common.service_lookup import Service, ServiceLookup

TOKEN = service_token.make()
GOOD = Service(service_token.hash_of(TOKEN), "1", "reporting", ["pipelines:read"], None)


class Auth:
    """What auth would answer, and how often it was asked."""

    def __init__(self, *answers: list[Service]) -> None:
        self.answers = list(answers)
        self.lookup = ServiceLookup(self.fetch, time.time)

    async def fetch(self, hashes: list[bytes]) -> list[Service]:
        assert hashes == [GOOD.hash]
        # It runs after the answer was kept, before the one who waits for it goes on.
        asyncio.get_running_loop().call_soon(self.lookup.forget, ["1"] if len(self.answers) > 1 else [])
        return self.answers.pop(0)


async def test_a_good_token_that_is_forgotten_just_when_the_answer_comes_is_asked_for_again() -> None:
    auth = Auth([GOOD], [GOOD])
    caller, _ = await auth.lookup.find(TOKEN)
    assert (caller.subject, auth.answers) == ("reporting", [])


async def test_one_that_was_revoked_at_that_moment_is_refused() -> None:
    auth = Auth([GOOD], [])
    with pytest.raises(TokenRefused):
        await auth.lookup.find(TOKEN)
    assert auth.answers == []

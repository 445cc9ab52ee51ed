"""Attempts to log in: counted before the password is looked at, and held up longer and longer, never for good.

An attempt counts for its network, for the network and the account together, and for the account. A network that is
held is told so; an account that is held is told nothing, since the answer would tell that guesses came near. What
others guess from elsewhere does not hold up an account where it has logged in before.
"""

import hmac
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from uuid import UUID

from nms.auth.models import Attempt
from nms.auth.problems import TooManyAttempts
from nms.auth.repository import AuthRepository
from nms.common.seal import derive_key
from nms.common.settings import get_settings

FORGIVING_SECONDS = 900.0
"""After so much quiet every attempt is forgiven, one after the other."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How attempts of one kind of key are held up: `free` ones not at all, then 1, 2, 4, ... s, at most `longest`.

    `counted` is how many attempts are told apart; one of them is forgiven every FORGIVING_SECONDS / counted.
    """

    free: int
    longest: float
    counted: int

    @property
    def step(self) -> float:
        """Seconds after which one attempt is forgiven."""
        return FORGIVING_SECONDS / self.counted

    def delays(self) -> list[float]:
        """Seconds to wait after attempt 1, 2, ..., `counted` and all later ones."""
        return [0.0 if n < self.free else min(2.0 ** (n - self.free), self.longest) for n in range(self.counted)]


NETWORK = Rule(free=50, longest=300, counted=60)
PAIR = Rule(free=5, longest=60, counted=15)
ACCOUNT = Rule(free=20, longest=60, counted=30)
"""Guesses from one network, which its pair lets through once a minute, stay below the free ones of the account."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of an attempt. Held: answer as for a wrong password, after the same work."""

    held: bool
    attempt: Attempt


async def admit(repository: AuthRepository, email_key: str, address: str) -> Admission:
    """Count an attempt, whether the account exists or not; raises TooManyAttempts when the network is held."""
    attempt = attempt_of(email_key, address)
    delays = [rule.delays() for rule in (NETWORK, PAIR, ACCOUNT)]
    admitted, seconds = await repository.count_attempt(attempt, FORGIVING_SECONDS, delays)
    if seconds > 0:
        raise TooManyAttempts(ceil(seconds))
    return Admission(held=not admitted, attempt=attempt)


async def welcome(tx: AuthRepository, admission: Admission, account_id: UUID) -> None:
    """After a good password: what was counted for the account is forgotten, and its network is known from now on.

    Call it last in the transaction: until the commit, others from this network wait.
    """
    await tx.forgive_attempts(admission.attempt, NETWORK.step)
    await tx.upsert_known_address(account_id, admission.attempt.network)


def network_of(address: str) -> str:
    """Where a client is: an IPv4 address itself, the /64 of an IPv6 address, anything else as it is."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else str(ip_network((parsed, 64), strict=False))


def attempt_of(email_key: str, address: str) -> Attempt:
    """An attempt with its keys: hashes that nobody can compute who only reads the table."""
    network = network_of(address)
    secret = _secret(get_settings().sealing_key())

    def key(*parts: str) -> bytes:
        return hmac.digest(secret, "\0".join(parts).encode(errors="surrogatepass"), sha256)

    keys = key("network", network), key("pair", network, email_key), key("account", email_key)
    return Attempt(email_key, network, keys)


@lru_cache(maxsize=1)
def _secret(sealing_key: bytes) -> bytes:
    return derive_key(sealing_key, "throttle")

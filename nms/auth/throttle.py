"""Attempts to log in: counted before the password is looked at, and held up longer and longer, never for good.

An attempt counts for its network, for the network and the account together, and for the account; one of IPv6 also for
its site, alone and with the account. What is held is let through by lot: however fast somebody guesses, one guess in
a delay gets through in the mean, and the owner's try has the share that its quiet before it gives, instead of losing
every race. A network that is held is told so; an account that is held is told nothing, since the answer would tell
that guesses came near. What others guess from elsewhere does not hold up an account where it has logged in before;
its network does, for else the answer would tell who logs in there.
"""

import hmac
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from math import ceil
from random import SystemRandom
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

    In a delay one attempt is let through in the mean, and for certain after a delay without any.
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


SITE = Rule(free=200, longest=60, counted=225)
NETWORK = Rule(free=50, longest=60, counted=60)
PAIR = Rule(free=5, longest=60, counted=15)
ACCOUNT = Rule(free=20, longest=60, counted=30)
"""Guesses from one network, of which its pair lets one a minute through, stay below the free ones of the account."""

draw_lot = SystemRandom().random
"""An even chance from 0 to below 1, that nobody outside foresees."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of an attempt. Held: answer as for a wrong password, after the same work."""

    held: bool
    attempt: Attempt


async def admit(repository: AuthRepository, email_key: str, address: str) -> Admission:
    """Count an attempt, whether the account exists or not; raises TooManyAttempts when the network is held."""
    return await _count(repository, attempt_of(email_key, address))


async def admit_network(repository: AuthRepository, address: str) -> None:
    """Count an attempt that is about no account; raises TooManyAttempts when the network is held."""
    attempt = attempt_of("", address)
    await _count(repository, replace(attempt, keys=(*attempt.keys[:2], None, None, None)))


async def _count(repository: AuthRepository, attempt: Attempt) -> Admission:
    delays = [rule.delays() for rule in (SITE, NETWORK, PAIR, ACCOUNT)]
    # A lot for each key: one for all would let more than its share through a key that stands behind another.
    lots = [draw_lot() for _ in attempt.keys]
    admitted, seconds, refused = await repository.count_attempt(attempt, FORGIVING_SECONDS, delays, lots)
    if seconds > 0:
        raise TooManyAttempts(ceil(seconds), refused)
    return Admission(held=not admitted, attempt=attempt)


async def welcome(tx: AuthRepository, admission: Admission, account_id: UUID) -> None:
    """After a good password: what was counted for the account is forgotten, and its network is known from now on.

    Call it last in the transaction: until the commit, others from this network wait.
    """
    await tx.forgive_attempts(admission.attempt, (SITE.step, NETWORK.step))
    await tx.upsert_known_address(account_id, admission.attempt.network)


async def take_back(repository: AuthRepository, admission: Admission) -> None:
    """An attempt that nobody had the time to look at is held against nobody."""
    steps = (SITE.step, NETWORK.step, PAIR.step, PAIR.step, ACCOUNT.step)
    await repository.take_back_attempt(admission.attempt, steps)


def network_of(address: str) -> str:
    """Where a client is: an IPv4 address itself, the /64 of an IPv6 address, anything else as it is."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, 64), strict=False))
    return address if parsed is None else str(parsed)


def site_of(address: str) -> str | None:
    """The /48 of an IPv6 address, which an ordinary customer may have whole; None for all else."""
    parsed = _parse(address)
    return str(ip_network((parsed, 48), strict=False)) if isinstance(parsed, IPv6Address) else None


def attempt_of(email_key: str, address: str) -> Attempt:
    """An attempt with its keys: hashes that nobody can compute who only reads the table."""
    site, network = site_of(address), network_of(address)
    secret = _secret(get_settings().sealing_key())

    def key(*parts: str) -> bytes:
        return hmac.digest(secret, "\0".join(parts).encode(errors="surrogatepass"), sha256)

    of_network = key("network", network), key("pair", network, email_key)
    of_site = (None, None) if site is None else (key("network", site), key("pair", site, email_key))
    keys = of_site[0], of_network[0], of_site[1], of_network[1], key("account", email_key)
    return Attempt(email_key, network, keys)


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


@lru_cache(maxsize=1)
def _secret(sealing_key: bytes) -> bytes:
    return derive_key(sealing_key, "throttle")

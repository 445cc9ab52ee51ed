"""What is no longer good before it expires, as one process knows it. Pure."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from nms.common.guard import Caller, Kind

MOST_KEPT = 200_000
"""More revocations than this are not kept one by one; about 50 MB."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """One thing revoked: a token by `jti`, a session, a key by `kid`, or earlier tokens of an account.

    A service token is different: a revocation only says that what is remembered of it is no longer true.

    `revision` is for accounts: tokens made under an earlier one are refused. `expires_at` is in seconds since 1970.
    """

    kind: str
    subject: str
    revision: int | None
    expires_at: float


class Revocations:
    """Keeps revocations until what they revoke has expired anyway.

    When there are more than MOST_KEPT it refuses every token of a session issued up to now instead of forgetting one:
    their holders take a new one with their session. Operators' tokens have none: theirs are always kept.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, str], Revocation] = {}
        self._refused_before = 0.0

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, revocations: Iterable[Revocation]) -> bool:
        """Keep these; tells whether one of them was not known before."""
        news = False
        for given in revocations:
            key = (given.kind, given.subject)
            known = self._kept.get(key)
            merged = given if known is None else _merge(known, given)
            if merged != known:
                self._kept[key] = merged
                news = True
        if len(self._kept) > MOST_KEPT:
            self.tidy()
        return news

    def tidy(self) -> None:
        """Let go what has expired, and all of it when there is still too much."""
        now = self._clock()
        self._kept = {key: kept for key, kept in self._kept.items() if kept.expires_at > now}
        if len(self._kept) > MOST_KEPT:
            self._kept = {key: kept for key, kept in self._kept.items() if kept.kind in ("key", "token")}
            self._refused_before = now

    def hold(self, caller: Caller) -> bool:
        """Whether the token of this caller is one of them."""
        kept = self._kept
        if ("token", caller.token_id) in kept:
            return True
        if caller.key is not None and ("key", caller.key) in kept:
            return True
        if caller.kind is not Kind.USER:
            return False
        if caller.issued_at <= self._refused_before:
            return True
        account = kept.get(("account", caller.subject))
        return ("session", caller.session) in kept or (
            account is not None and (account.revision is None or (caller.revision or 0) < account.revision)
        )


def _merge(one: Revocation, other: Revocation) -> Revocation:
    revisions = (one.revision, other.revision)
    revision = None if None in revisions else max(number for number in revisions if number is not None)
    return replace(one, revision=revision, expires_at=max(one.expires_at, other.expires_at))

"""Revocations: what is no longer good before it expires, told to every process."""

import time

from nms.auth.models import Revocations
from nms.auth.repository import AuthRepository
from nms.common.verifier import LEEWAY_SECONDS

LONGEST_ACCESS_SECONDS = 3600
"""No access token lives longer, whatever AUTH_ACCESS_SECONDS was when it was made."""

KEEP_SECONDS = LONGEST_ACCESS_SECONDS + LEEWAY_SECONDS + 60.0

PLACE = r"^[0-9]{1,19}(\.[0-9]{1,19}\.[0-9]{1,18})?$"
"""Where to go on from: the horizon of a walk, and while it is under way the transaction and id behind which it is."""


async def revoke(
    tx: AuthRepository, kind: str, subject: str, revision: int | None = None, expires_at: float = 0
) -> None:
    """Refuse, in every process within a second, what bears this name; kinds as in `models.Revocation`.

    It is kept for as long as an access token may live, or until a time (seconds since 1970) if that is later.
    """
    await tx.insert_revocation(kind, subject, revision, max(KEEP_SECONDS, expires_at - time.time() + 60))


async def list_revocations(repository: AuthRepository, since: str | None, size: int) -> Revocations:
    """Revocations since a place (of the form PLACE) that an earlier answer gave."""
    horizon, place = _place_of(since)
    # Taken before the list: what commits in between is told the next time too, and never missed.
    now = await repository.get_horizon()
    if (place[0] if horizon is None else horizon) > now:
        # A place of another life of this database, before a restore: all is told again.
        horizon, place = None, (0, 0)
    horizon = now if horizon is None else horizon
    rows = await repository.list_revocations(place, size)
    more = len(rows) == size
    following = f"{horizon}.{rows[-1][0]}.{rows[-1][1]}" if more else f"{horizon}"
    return Revocations(items=[item for _, _, item in rows], next=following, more=more)


def _place_of(since: str | None) -> tuple[int | None, tuple[int, int]]:
    """The horizon of the walk that is under way, if one is, and what to read behind."""
    horizon, *behind = (int(part) for part in (since or "0").split("."))
    return (horizon, (behind[0], behind[1])) if behind else (None, (horizon, 0))

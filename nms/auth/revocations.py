"""Revocations: what is no longer good before it expires, told to every process."""

import re

from nms.auth.models import Revocations
from nms.auth.repository import AuthRepository
from nms.common.problem import Malformed, Pointer
from nms.common.verifier import LEEWAY_SECONDS

LONGEST_ACCESS_SECONDS = 3600
"""No access token lives longer, whatever AUTH_ACCESS_SECONDS was when it was made."""

KEEP_SECONDS = LONGEST_ACCESS_SECONDS + LEEWAY_SECONDS + 60.0

_PLACE = re.compile(r"(?P<horizon>\d{1,19})(?:\.(?P<xid>\d{1,19})\.(?P<id>\d{1,18}))?")


async def revoke(tx: AuthRepository, kind: str, subject: str, revision: int | None = None) -> None:
    """Refuse, in every process within a second, what bears this name; kinds as in `models.Revocation`."""
    await tx.insert_revocation(kind, subject, revision, KEEP_SECONDS)


async def list_revocations(repository: AuthRepository, since: str | None, size: int) -> Revocations:
    """Revocations since a place that an earlier answer gave; raises Malformed for any other text."""
    horizon, place = _place_of(since)
    if horizon is None:
        # Taken before the list: what commits in between is told the next time too, and never missed.
        horizon = await repository.get_horizon()
    rows = await repository.list_revocations(place, size)
    more = len(rows) == size
    following = f"{horizon}.{rows[-1][0]}.{rows[-1][1]}" if more else f"{horizon}"
    return Revocations(items=[item for _, _, item in rows], next=following, more=more)


def _place_of(since: str | None) -> tuple[int | None, tuple[int, int]]:
    """The horizon of the walk that is under way, if one is, and what to read behind."""
    if since is None:
        return None, (0, 0)
    found = _PLACE.fullmatch(since)
    if found is None:
        pointer = Pointer("/since", "take `next` of an earlier answer", "query")
        raise Malformed("This is no place among the revocations.", pointers=[pointer])
    if found["xid"] is None:
        return None, (int(found["horizon"]), 0)
    return int(found["horizon"]), (int(found["xid"]), int(found["id"]))

"""`If-Match` and `If-None-Match` of a write, held against the record that is there (RFC 9110, section 13.1; pure)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from fastapi import Request

from nms.common.problem import Problem
from nms.warehouse.lineage import Held, sequence_of

_TAG: Final = re.compile(r'(W/)?"([^"]*)"')
ANY: Final = "*"


class PreconditionFailed(Problem):
    """The record is not the one that the request is meant for; `etag` tells the one that is there."""

    status, code, title = 412, "precondition-failed", "The record is another one by now"
    remedy = "Read the record again, and repeat the change on what it is now."


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must hold of the record before it is written; None: nothing must."""

    match: str | None = None
    none_match: str | None = None

    @classmethod
    def of(cls, request: Request) -> Self:
        """Those of a request; of a header that comes twice both parts count."""
        return cls(_joined(request, "if-match"), _joined(request, "if-none-match"))

    def check(self, held: Held | None) -> None:
        """Raise PreconditionFailed where the record that is there, or that none is there, does not fit."""
        if self.match is not None and (held is None or not _names(self.match, held, weak=False)):
            raise _failed(held)
        if self.none_match is not None and held is not None and _names(self.none_match, held, weak=True):
            raise _failed(held)


def _joined(request: Request, name: str) -> str | None:
    given: Sequence[str] = request.headers.getlist(name)
    return ",".join(given) if given else None


def _names(condition: str, held: Held, *, weak: bool) -> bool:
    # By its sequence alone: that an entity was built anew meanwhile is no change of a record that anybody would undo.
    tags, there = _TAG.findall(condition), str(held.sequence)
    return condition.strip() == ANY or any(sequence_of(tag) == there and (weak or not mark) for mark, tag in tags)


def _failed(held: Held | None) -> PreconditionFailed:
    if held is None:
        return PreconditionFailed("There is no such record.", etag=None)
    return PreconditionFailed("The record has changed, or must not be there.", etag=held.etag)

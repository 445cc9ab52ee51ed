"""The tag of a revision, and `If-Match` held against it (RFC 9110, section 13.1.1)."""

import re
from typing import Annotated, Any, Final

from fastapi import Depends, Header

from nms.cfg.models import Changeset
from nms.cfg.problems import RevisionMoved, RevisionUnmatched

_TAG: Final = re.compile(r'(W/)?"([^"]*)"')
ANY: Final = "*"
TAGGED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "headers": {
            "ETag": {
                "description": "The current revision of the whole configuration: what `If-Match` of a write takes.",
                "schema": {"type": "string", "examples": ['"42"']},
            }
        }
    }
}
"""For `responses=` of a route that tells the tag."""


def tag_of(revision: int) -> str:
    """The ETag of what is read at a revision."""
    return f'"{revision}"'


async def read_tags(
    if_match: Annotated[
        str | None, Header(description="The ETag that came with what was read; 412 when the revision moved since.")
    ] = None,
) -> frozenset[str] | None:
    """The tags that `If-Match` names; None where any will do. Weak ones never match."""
    if if_match is None or if_match.strip() == ANY:
        return None
    return frozenset(tag for weak, tag in _TAG.findall(if_match) if not weak)


Tags = Annotated[frozenset[str] | None, Depends(read_tags)]


def check_base(revision: int, changeset: Changeset) -> None:
    """Raise RevisionUnmatched or RevisionMoved for a changeset that was made for another revision than this."""
    if changeset.tags is not None and str(revision) not in changeset.tags:
        raise RevisionUnmatched(
            f"`If-Match` does not name the current revision, which is `{tag_of(revision)}`, quotes and all.",
            revision=revision,
            etag=tag_of(revision),
        )
    if changeset.base is not None and changeset.base != revision:
        raise RevisionMoved(
            f"The changeset was made for revision {changeset.base}, the current one is {revision}.",
            base=changeset.base,
            revision=revision,
        )

"""Watching over HTTP."""

from typing import Annotated, Any, Final

from fastapi import Header, Query, Request, Response

from nms.cfg.api.documents import OfKind
from nms.cfg.api.door import Router
from nms.cfg.models import Selector
from nms.cfg.problems import RevisionAhead, WatchersBusy, WatchTooOld
from nms.cfg.stream import EVENTS, Watches
from nms.common.answers import problems
from nms.common.guard import requires

router = Router(tags=["watch"], dependencies=[requires("config:read")])

_EVENTS: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {EVENTS: {"schema": {"type": "string"}}}}}
Since = Annotated[
    int | None, Query(ge=0, lt=1 << 63, description="The revision behind which to begin; without it, the newest one.")
]
LastEventId = Annotated[
    int | None, Header(ge=0, lt=1 << 63, description="The same, from who was cut off; it counts before `since`.")
]
Name = Annotated[
    str | None, Query(pattern="^[a-z][a-z0-9_-]*$", max_length=40, description="Only documents of this name.")
]


@router.get(
    "/watch", response_class=Response, responses={**_EVENTS, **problems(RevisionAhead, WatchTooOld, WatchersBusy)}
)
async def watch(
    request: Request, *, since: Since = None, last_event_id: LastEventId = None, kind: OfKind = None, name: Name = None
) -> Response:
    """Server-sent events: `changed` for each document that a revision added, changed or removed, without gaps.

    The data are JSON: `revision`, `action`, `kind`, `name` and, unless it was removed, `document`. The id is the
    revision, at its last event. `ended` says with `reason` why there is no more here and with `since` where to go on.
    """
    watches: Watches = request.app.state.watches
    start = since if last_event_id is None else last_event_id
    return await watches.open(request, start, Selector(kind, name))

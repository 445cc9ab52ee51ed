"""An app whose one answer never ends by itself: does a stop end it?"""

from collections.abc import AsyncIterator

from fastapi import Request
from fastapi.responses import StreamingResponse

from nms.common import web
from nms.common.router import Router
from nms.common.settings import RoleSettings, get_settings

router = Router(tags=["endless"])


@router.get("/endless")
async def stream(request: Request) -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        yield "data: open\n\n"
        await web.stopping(request).wait()
        yield "data: closed\n\n"

    return StreamingResponse(parts(), media_type="text/event-stream")


ROLE = web.Role(name="endless", summary="", description="", routers=[router], public=frozenset({"/endless"}))
app = web.create_app(ROLE, get_settings(), RoleSettings())

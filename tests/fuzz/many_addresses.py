"""All roles in one app whose every request comes from another network.

So no login waits for the failures of one before it, and what is fuzzed is the role, not its throttle.
"""

from itertools import count

from starlette.types import ASGIApp, Receive, Scope, Send

from nms.cli.serve import compose
from nms.common.settings import get_settings


class ManyAddresses:
    """An app behind as many clients as there are requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._numbers = count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            number = next(self._numbers)
            scope["client"] = (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 1)
        await self._app(scope, receive, send)


app = ManyAddresses(compose(get_settings()))

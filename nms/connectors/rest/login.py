"""How a client names itself: headers that may have to be renewed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol

from pydantic import SecretStr

from nms.common.document.rest import BasicLogin, ClientLogin, HeaderLogin, RefreshLogin, RestSystem
from nms.common.problem import Problem
from nms.common.secret import resolve
from nms.connectors.rest.grants import Granted, ask_token
from nms.connectors.rest.headers import basic, bearer
from nms.connectors.rest.tokens import RefreshTokens

Renew = Callable[[str | None], Awaitable[Granted]]
"""Gives an access token other than the one that was refused."""


class Login(Protocol):
    """What names us to a remote."""

    async def headers(self) -> Mapping[str, str]:
        """The headers of a request that is sent now; raises Problems."""
        ...

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """Whether there are others than those that the remote refused just now; raises Problems."""
        ...

    async def settle(self) -> None:
        """Wait until nothing is under way that must not be cut off."""
        ...


class FixedLogin:
    """Headers made of a secret, which is read anew when the remote refuses it: it may have been rotated."""

    def __init__(self, system: RestSystem) -> None:
        self._system = system
        self._headers = self._read()

    async def headers(self) -> Mapping[str, str]:
        """The headers."""
        return self._headers

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """Read the secret again; raises SecretMissing."""
        self._headers = self._read()
        return self._headers != refused

    async def settle(self) -> None:
        """Nothing is ever under way."""

    def _read(self) -> Mapping[str, str]:
        match self._system.login:
            case HeaderLogin(header=header, prefix=prefix, key=key):
                return {header: prefix + self._resolve(key).get_secret_value()}
            case BasicLogin(user=user, password=password):
                return {"authorization": basic(user, self._resolve(password).get_secret_value())}
            case _:
                return {}

    def _resolve(self, reference: str) -> SecretStr:
        return resolve(reference, *self._system.origins)


class TokenLogin:
    """An access token, kept in this process until it is over or refused; whoever needs one meanwhile gets the same."""

    def __init__(self, renew: Renew) -> None:
        self._renew = renew
        self._granted: Granted | None = None
        self._renewing: asyncio.Task[Granted] | None = None

    async def headers(self) -> Mapping[str, str]:
        """The headers; renewed where the token is over."""
        granted = self._granted
        if granted is None or granted.is_over:
            granted = await self._renewed(None)
        return {"authorization": bearer(granted.access)}

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """Get another token, unless somebody did since."""
        granted = self._granted
        if granted is not None and bearer(granted.access) == refused.get("authorization"):
            await self._renewed(granted.access)
        return True

    async def settle(self) -> None:
        """Wait for a renewal: what comes of it must be written, or a rotated token is lost."""
        if self._renewing is not None:
            with suppress(Problem):
                await asyncio.shield(self._renewing)

    async def _renewed(self, refused: str | None) -> Granted:
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._take(refused), name="renew-token")
            self._renewing.add_done_callback(self._finish)
        # Who is cancelled must not cut it off between the answer and its commit.
        return await asyncio.shield(self._renewing)

    async def _take(self, refused: str | None) -> Granted:
        self._granted = await self._renew(refused)
        return self._granted

    def _finish(self, task: "asyncio.Task[Granted]") -> None:
        self._renewing = None
        if not task.cancelled():
            # Seen here, for everybody who waited may be gone.
            task.exception()


def open_login(system: RestSystem) -> Login:
    """The login of a system; raises SecretMissing."""
    login = system.login
    match login:
        case ClientLogin():

            async def by_client(_refused: str | None) -> Granted:
                return await ask_token(system, login, {"grant_type": "client_credentials"})

            return TokenLogin(by_client)
        case RefreshLogin():

            async def by_refresh(refused: str | None) -> Granted:
                return await (await RefreshTokens.open(system, login)).renew(refused)

            return TokenLogin(by_refresh)
        case _:
            return FixedLogin(system)

"""How a client names itself: headers that may have to be renewed."""

import base64
from collections.abc import Mapping
from typing import Protocol

from nms.common.document.rest import BasicLogin, HeaderLogin, NoLogin, RestSystem
from nms.common.secret import resolve
from nms.connectors.rest.problems import RemoteLoginRefused


class Login(Protocol):
    """What names us to a remote."""

    async def headers(self) -> Mapping[str, str]:
        """The headers of a request that is sent now; raises Problems."""
        ...

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """Whether there are others than those that the remote refused just now; raises Problems."""
        ...


class FixedLogin:
    """Headers made of a secret, which is read anew when the remote refuses it: it may have been rotated."""

    def __init__(self, login: NoLogin | HeaderLogin | BasicLogin) -> None:
        self._login = login
        self._headers = self._read()

    async def headers(self) -> Mapping[str, str]:
        """The headers."""
        return self._headers

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """Read the secret again; raises SecretMissing."""
        self._headers = self._read()
        return self._headers != refused

    def _read(self) -> Mapping[str, str]:
        match self._login:
            case HeaderLogin(header=header, prefix=prefix, key=key):
                return {header: prefix + resolve(key).get_secret_value()}
            case BasicLogin(user=user, password=password):
                return {"Authorization": basic(user, resolve(password).get_secret_value())}
            case _:
                return {}


def basic(user: str, password: str) -> str:
    """The value of Authorization (RFC 7617, in UTF-8)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def open_login(system: RestSystem) -> Login:
    """The login of a system; raises SecretMissing."""
    match system.login:
        case NoLogin() | HeaderLogin() | BasicLogin():
            return FixedLogin(system.login)
        case _:
            raise RemoteLoginRefused(f"{system.name}: a login by {system.login.type} cannot be used yet.")

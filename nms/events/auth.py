"""What the room `auth` tells."""

from nms.common.event import Event


class KeysRotated(Event):
    """Another key signs access tokens; those given up are refused at once."""

    type = "auth.keys.rotated"

    kid: str
    given_up: tuple[str, ...] = ()


class SessionEnded(Event):
    """A session is over: logged out, revoked, replayed or its account closed."""

    type = "auth.session.ended"

    session: str
    account: str
    reason: str

    @property
    def key(self) -> str:
        """In order per account."""
        return self.account

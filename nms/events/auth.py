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


class UserEvent(Event):
    """Something that happened to an account; `user` is its id."""

    user: str

    @property
    def key(self) -> str:
        """In order per account."""
        return self.user


class UserCreated(UserEvent):
    """There is a new user."""

    type = "auth.user.created"

    email: str
    name: str = ""
    roles: tuple[str, ...] = ()


class UserChanged(UserEvent):
    """A user is different; `fields` names what of `name`, `roles`, `disabled` and `password` has changed."""

    type = "auth.user.changed"

    revision: int
    fields: tuple[str, ...]


class UserDisabled(UserEvent):
    """A user cannot log in any more, until enabled again."""

    type = "auth.user.disabled"

    revision: int


class UserDeleted(UserEvent):
    """A user is gone."""

    type = "auth.user.deleted"


class RoleChanged(Event):
    """A role was created, means something else or is gone; `scopes` are those it has now, none when it is gone."""

    type = "auth.role.changed"

    role: str
    scopes: tuple[str, ...] = ()
    gone: bool = False

    @property
    def key(self) -> str:
        """In order per role."""
        return self.role


class ServiceTokenEvent(Event):
    """Something that happened to a service token."""

    id: str
    name: str

    @property
    def key(self) -> str:
        """In order per service token."""
        return self.id


class ServiceTokenCreated(ServiceTokenEvent):
    """A machine may call."""

    type = "auth.service-token.created"

    scopes: tuple[str, ...]


class ServiceTokenRotated(ServiceTokenEvent):
    """It has another secret; those before are good for `overlap` seconds more."""

    type = "auth.service-token.rotated"

    overlap: int


class ServiceTokenRevoked(ServiceTokenEvent):
    """It is refused from now on."""

    type = "auth.service-token.revoked"

"""What a user is: as it is created, changed and shown."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StrictBool

from nms.auth.role import PLAIN, RoleName
from nms.common.whole import WHOLE

_NAME = Field(max_length=200, pattern=PLAIN, description="How people call it; may be empty.")
_EMAIL = Field(min_length=3, max_length=254, description="In any case and spelling; one account an address.")
_ROLES = Field(max_length=50, description="Names of roles.")
_PASSWORD = Field(
    max_length=1024, description="12 to 128 characters, any of them; none that the lists of common passwords have."
)
_ADA = {"email": "ada@example.org", "name": "Ada Lovelace"}

_USER: Any = {
    "id": "0d7c5c1e-6f0e-4a43-9a4e-3f1f0f5f8a11",
    **_ADA,
    "roles": ["operator"],
    "disabled": False,
    "revision": 3,
    "created_at": "2026-11-21T08:00:00Z",
    "updated_at": "2026-11-21T09:30:00Z",
    "password_changed_at": "2026-11-21T08:00:00Z",
    "last_login_at": "2026-11-21T09:31:00Z",
}


class NewUser(BaseModel):
    """Somebody who is to log in."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {**_ADA, "roles": ["operator"], "password": "four words by chance"}},
    )

    email: Annotated[str, _EMAIL]
    name: Annotated[str, _NAME] = ""
    roles: Annotated[list[RoleName], _ROLES] = []
    password: Annotated[SecretStr, _PASSWORD]


class UserChange(BaseModel):
    """What is to be different about a user; what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"roles": ["viewer"], "revision": 3}})

    name: Annotated[str, _NAME] | None = None
    roles: Annotated[list[RoleName], _ROLES] | None = None
    disabled: StrictBool | None = Field(None, description="Whether logins are refused and sessions are over.")
    password: Annotated[SecretStr, _PASSWORD] | None = None
    revision: Annotated[int, Field(ge=1, lt=2**63), WHOLE] | None = Field(
        None, description="Change only what has still this revision."
    )


class User(BaseModel):
    """An account of a person."""

    model_config = ConfigDict(json_schema_extra={"example": _USER})

    id: UUID
    email: str
    name: str
    roles: list[str]
    disabled: bool
    revision: int = Field(description="Goes up with every change.")
    created_at: datetime
    updated_at: datetime
    password_changed_at: datetime
    last_login_at: datetime | None


class Me(User):
    """The account that the token speaks for."""

    model_config = ConfigDict(json_schema_extra={"example": {**_USER, "scopes": ["me:read", "me:write"]}})

    scopes: list[str] = Field(description="What this token allows.")


class PasswordChange(BaseModel):
    """A new password for oneself."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"current": "four words by chance", "new": "four other words instead"}},
    )

    current: SecretStr = Field(max_length=1024)
    new: Annotated[SecretStr, _PASSWORD]

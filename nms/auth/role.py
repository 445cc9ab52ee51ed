"""What a role is, and who gives one."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from nms.auth.models import Actor
from nms.auth.problems import GrantExceeded
from nms.common.guard import Caller

PLAIN = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$"
"""Text of one line: no control characters, and none that turn the direction of what follows."""

RoleName = Annotated[str, Field(pattern="^[a-z][a-z0-9-]{0,39}$")]


@dataclass(frozen=True, slots=True)
class Giver:
    """Who changes accounts and roles: named in the audit, and able to give and take no more than he holds."""

    actor: Actor
    caller: Caller

    @classmethod
    def of(cls, caller: Caller, address: str) -> Self:
        """Whoever sent a request, named by the subject of the token."""
        return cls(Actor(caller.name, address), caller)

    def check(self, grants: Iterable[str]) -> None:
        """Raise GrantExceeded for the first grants that he does not hold."""
        missing = sorted(grant for grant in grants if not self.caller.covers([grant]))
        if missing:
            raise GrantExceeded(missing)


class RoleBody(BaseModel):
    """What a role allows."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"description": "Watches pipelines.", "scopes": ["pipelines:read", "entities:read:customers"]}
        },
    )

    description: str = Field("", max_length=500, pattern=PLAIN)
    scopes: list[Annotated[str, Field(max_length=200)]] = Field(
        max_length=200, description="`noun:verb`, `noun:verb:instance`, `noun:*` or `*`."
    )


class NewRole(RoleBody):
    """A role that is to be."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"name": "watcher", "description": "Watches pipelines.", "scopes": ["pipelines:read"]}
        }
    )

    name: RoleName


class Role(BaseModel):
    """A set of scopes that users hold together."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "watcher",
                "description": "Watches pipelines.",
                "scopes": ["pipelines:read"],
                "built_in": False,
                "created_at": "2026-11-21T08:00:00Z",
                "updated_at": "2026-11-21T08:00:00Z",
            }
        }
    )

    name: str
    description: str
    scopes: list[str]
    built_in: bool = Field(description="Such a role stays as it is.")
    created_at: datetime
    updated_at: datetime

"""What an audit answers and is asked for: the one form of it in every room that has one."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, Field

_YEARS = "of the years 2000 to 2299"
Moment = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(2300, 1, 1, tzinfo=UTC))]


class Outcome(StrEnum):
    """What became of what somebody wanted."""

    DONE = "done"
    REFUSED = "refused"


class AuditEntry(BaseModel):
    """Something that was done, or refused: who wanted it, of whom or what, from where."""

    id: Annotated[int, Field(examples=[1204])]
    at: datetime
    action: Annotated[str, Field(description="what was wanted, as `noun.verb`", examples=["user.create"])]
    outcome: Outcome
    actor: Annotated[
        str,
        Field(
            description="who wanted it: the subject of a token, or an operator of this machine",
            examples=["5f0e8f7e-0d1c-4c3b-9a58-0e6d2f1b7a90"],
        ),
    ]
    subject: Annotated[
        str,
        Field(
            description="whom or what it was done to; empty where that is the actor",
            examples=["c4b0a5ee-9f43-4be2-8d0b-3a0e7f1d2c11"],
        ),
    ]
    address: Annotated[
        str, Field(description="the address that it came from; empty for a command", examples=["192.0.2.7"])
    ]
    facts: Annotated[
        dict[str, Any],
        Field(description="more about it; never a password, token or key", examples=[{"roles": ["viewer"]}]),
    ]


class AuditFilter(BaseModel):
    """Which entries are wanted; what is left out stands for all."""

    action: Annotated[
        str | None, Field(max_length=100, description="Only this action.", examples=["login.attempt"])
    ] = None
    outcome: Annotated[Outcome | None, Field(description="Only what was done, or only what was refused.")] = None
    actor: Annotated[str | None, Field(max_length=400, description="Only what this subject of a token wanted.")] = None
    subject: Annotated[str | None, Field(max_length=400, description="Only what was done to this one.")] = None
    since: Annotated[Moment | None, Field(description=f"Not before this time; {_YEARS}.")] = None
    until: Annotated[Moment | None, Field(description=f"Before this time; {_YEARS}.")] = None

"""What the inbox shows of its events."""

import base64
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from nms.inbox.selection import Status

BIGGEST = 2**63 - 1


class EventFilter(BaseModel):
    """Which events a list shows."""

    endpoint: Annotated[str | None, Field(max_length=100, description="Only of this endpoint.")] = None
    type: Annotated[str | None, Field(max_length=200, description="Only of this type.")] = None
    since: Annotated[AwareDatetime | None, Field(description="Only what came at this time or later.")] = None
    until: Annotated[AwareDatetime | None, Field(description="Only what came before this time.")] = None
    status: Annotated[Status | None, Field(description="Only what is in this state.")] = None
    delivery: Annotated[
        str | None,
        Field(
            max_length=1_000,
            description="Only with this id, as the provider gave it, where `id` of the endpoint is what it was then. "
            "With a space between: event id and topic of Shopify, source and id of a CloudEvent.",
        ),
    ] = None


class Stored(BaseModel):
    """One event: what is known of it without its content."""

    id: UUID
    number: int = Field(description="Its place in the order in which events are passed on.")
    status: Status = Field(
        description="`waiting` to be passed on to RabbitMQ, or `sent`; `stored` where there is no RabbitMQ."
    )
    endpoint: str = Field(examples=["shop"])
    type: str = Field(description="The provider's word for its kind; empty where it has none.", examples=["push"])
    item: int = Field(description="Its place in the list with which it came; 0 where it came alone.")
    content_type: str = Field(examples=["application/json"])
    bytes: int = Field(description="The size of its body.")
    received_at: datetime


class StoredWhole(Stored):
    """One event with the headers of its request and its body; values of headers that are secrets were never kept."""

    headers: list[tuple[str, str]]
    encoding: Literal["text", "base64"] = Field(description="How `body` shows the bytes that came.")
    body: str
    request: UUID | None = Field(description="The request (`/requests`) that it came with as one of a list.")


class RequestWhole(BaseModel):
    """A request that brought a list, as it came, and whether it is believed today."""

    id: UUID
    endpoint: str = Field(examples=["shop"])
    method: str
    url: str = Field(description="As it was signed; values of the query, and secrets, are hidden.")
    received_at: datetime
    headers: list[tuple[str, str]]
    encoding: Literal["text", "base64"] = Field(description="How `body` shows the bytes that were signed.")
    body: str
    believed: bool = Field(description="By today's document and secrets, at the time when it came.")
    reason: str | None = Field(
        description="Why it is not; `credentials-away` where what proves it was hidden when it was stored.",
        examples=["signature-mismatch"],
    )


def status_of(sent: bool | None, *, relayed: bool) -> Status:
    """The status of an event that is `sent` or not; `relayed` is whether there is a RabbitMQ."""
    return "stored" if not relayed else "sent" if sent else "waiting"


def read_headers(lines: bytes) -> list[tuple[str, str]]:
    """Names and values of stored headers."""
    pairs = [line.partition(b": ") for line in lines.split(b"\n") if line]
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, _, value in pairs]


def show_body(body: bytes) -> tuple[Literal["text", "base64"], str]:
    """A body as text where it is UTF-8, else in base64."""
    try:
        return "text", body.decode()
    except UnicodeDecodeError:
        return "base64", base64.b64encode(body).decode()


class QuarantineFilter(BaseModel):
    """Which refused requests a list shows."""

    endpoint: Annotated[str | None, Field(max_length=100, description="Only of this endpoint.")] = None
    code: Annotated[str | None, Field(max_length=100, description="Only with this `code` or `reason`.")] = None
    since: Annotated[AwareDatetime | None, Field(description="Only what came at this time or later.")] = None


class Quarantined(BaseModel):
    """One refused request, without its content."""

    number: int = Field(description="Its place among all, in the order in which they were kept.")
    id: UUID
    endpoint: str = Field(examples=["shop"])
    standing: Literal["believed", "signed", "bare"] = Field(
        description="`believed`: verified, and refused for something else; `signed`: it bore the form of the scheme, "
        "however wrong; `bare`: not even that. They are bounded apart."
    )
    status: int = Field(examples=[401])
    code: str = Field(description="The problem with which it was answered.", examples=["not-believed"])
    reason: str = Field(
        description="What is wrong with a request that is not believed; else `code` again.",
        examples=["signature-mismatch"],
    )
    detail: str = Field(description="The reason as a sentence.")
    method: str = Field(examples=["POST"])
    url: str = Field(description="As it arrived here, the end of the path and the values of the query hidden.")
    bytes: int | None = Field(description="The size of its body; null where that was not kept.")
    remote: str | None = Field(description="The address that the connection came from.")
    received_at: datetime


class QuarantinedWhole(Quarantined):
    """One refused request with its headers and its body; what may be a credential is hidden."""

    headers: list[tuple[str, str]]
    encoding: Literal["text", "base64"] | None = Field(description="How `body` shows the bytes that came.")
    body: str | None


class QuarantineCount(BaseModel):
    """How many requests of one standing an endpoint refused."""

    endpoint: str
    standing: Literal["believed", "signed", "bare"]
    held: int = Field(description="How many are kept now.")
    bytes: int = Field(description="What they take, with their headers.")
    came: int = Field(description="How many were refused since they are counted.")
    lost: int = Field(description="How many of them were not kept, or gave way to newer ones.")
    last_at: datetime


class Verified(BaseModel):
    """What became of a refused request that is believed now; it is gone from the quarantine."""

    outcome: Literal["stored", "known"] = Field(description="`known`: all its events were there already.")
    ids: list[UUID] = Field(description="Its events; one, unless it brought a list.")


class Verification(BaseModel):
    """Which refused requests are verified again, the oldest first."""

    model_config = ConfigDict(extra="forbid")

    endpoint: str = Field(max_length=100, examples=["shop"])
    code: str | None = Field(None, max_length=100, description="Only with this `code` or `reason`.")
    since: AwareDatetime | None = Field(None, description="Only what came at this time or later.")
    after: int | None = Field(None, ge=0, le=BIGGEST, description="Only behind it: `last` of the answer before.")
    limit: int = Field(100, ge=1, le=1_000, description="How many at most.")
    dry_run: bool = Field(default=False, description="Only count what would become of them.")


class VerifiedMany(BaseModel):
    """What became of refused requests that were verified again, or would become of them."""

    dry_run: bool
    looked_at: int
    stored: int = Field(description="Requests that are believed now and had something new.")
    known: int = Field(description="Requests that are believed now and whose events were there already.")
    refused: dict[str, int] = Field(
        description="Requests that stay, by today's reason.", examples=[{"signature-mismatch": 2}]
    )
    last: int | None = Field(description="The number of the last one that was looked at.")
    more: bool = Field(description="Whether there are more behind it.")

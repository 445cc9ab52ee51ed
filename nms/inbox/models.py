"""What the inbox shows of its events."""

import base64
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field


class EventFilter(BaseModel):
    """Which events a list shows."""

    endpoint: Annotated[str | None, Field(max_length=100, description="Only of this endpoint.")] = None
    type: Annotated[str | None, Field(max_length=200, description="Only of this type.")] = None
    since: Annotated[AwareDatetime | None, Field(description="Only what came at this time or later.")] = None


class Stored(BaseModel):
    """One event: what is known of it without its content."""

    id: UUID
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

"""Which events are meant: by endpoint, type, time, status, ids, and by a condition on their JSON bodies (pure)."""

from typing import Annotated, Final, Literal
from uuid import UUID

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from nms.common.document.expression import check_expression
from nms.common.search import search

MOST_IDS: Final = 1_000
Status = Literal["stored", "waiting", "sent"]
"""Waiting to be passed on to RabbitMQ, or confirmed by it; `stored` where there is none, and all read it here."""


class Selection(BaseModel):
    """Events of one endpoint; all that is given must hold."""

    model_config = ConfigDict(extra="forbid")

    endpoint: Annotated[str, Field(min_length=1, max_length=100, description="Of this endpoint.", examples=["shop"])]
    type: Annotated[str | None, Field(max_length=200, description="Only of this type.", examples=["push"])] = None
    since: Annotated[AwareDatetime | None, Field(description="Only what came at this time or later.")] = None
    until: Annotated[AwareDatetime | None, Field(description="Only what came before this time.")] = None
    status: Annotated[
        Status | None, Field(description="Only what waits for RabbitMQ, or is sent to it, when you ask.")
    ] = None
    path: Annotated[
        Annotated[str, AfterValidator(check_expression)] | None,
        Field(
            description="Only events of whose JSON body this JMESPath expression is true. Texts stand in quotes, "
            "numbers in backticks: ``customer.id == '7'``, ``total > `100` ``.",
            examples=["customer.id == '7'"],
        ),
    ] = None
    ids: Annotated[
        list[UUID] | None, Field(min_length=1, max_length=MOST_IDS, description="Only events with these ids.")
    ] = None


def holds(condition: str, body: bytes) -> bool:
    """Whether a condition is true of a JSON body, as JMESPath tells truth; false of what it cannot be asked about."""
    try:
        found = search(orjson.loads(body), condition)
    except orjson.JSONDecodeError:
        return False
    return found is not None and found is not False and found not in ("", [], {})

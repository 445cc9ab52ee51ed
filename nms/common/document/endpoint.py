"""The document of an endpoint: a webhook address of the inbox, what it believes, and how it tells events apart."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from nms.common.document.expression import check_expression
from nms.common.document.handshake import Handshakes, SigningHandshake, check_handshakes
from nms.common.document.mapping import Part
from nms.common.document.rest import Rate
from nms.common.document.scheme import Scheme
from nms.common.document.system import Document
from nms.common.document.values import Duration, Size, refusal
from nms.common.document.web import Header, check_url
from nms.common.origin import ANSWERS, INBOX
from nms.common.strict_json import DEPTH_LIMIT

DAY: float = 86_400.0
KEEP: float = 30 * DAY
MOST_KEEP: float = 3_650 * DAY
LARGEST: int = 1 << 20
MOST_LARGEST: int = 8 << 20
MediaType = Annotated[str, Field(pattern=r"^[a-z0-9!#$&^_.+-]{1,60}/[a-z0-9!#$&^_.+-]{1,60}$")]


class Finder(Part):
    """Where a word of an event stands: in a header of its request, or in its JSON body."""

    header: Header | None = None
    path: Annotated[
        Annotated[str, AfterValidator(check_expression)] | None,
        Field(description="JMESPath into the body", examples=["id"]),
    ] = None

    @model_validator(mode="after")
    def _name_one_place(self) -> "Finder":
        if (self.header is None) == (self.path is None):
            raise refusal("write either `header` or `path`")
        return self


class EndpointDocument(Document):
    """A webhook address: `POST /in/NAME` of the inbox."""

    kind: Literal["endpoint"]
    scheme: Scheme
    url: Annotated[
        Annotated[str, AfterValidator(check_url)] | None,
        Field(
            description="the address as the provider has it, where the scheme signs it; else what the request says",
            examples=["https://hooks.example.com/in/shop"],
        ),
    ] = None
    handshakes: Handshakes = ()
    id: Annotated[
        Finder | None,
        Field(description="what a duplicate has in common with its event; else the provider's own id, or the body"),
    ] = None
    event: Annotated[
        Finder | None, Field(description="what kind of event it is; else the provider's own word, or nothing")
    ] = None
    items: Annotated[
        Annotated[str, AfterValidator(check_expression)] | None,
        Field(
            description="JMESPath to a list of events in the body: each is one; else as the provider sends them",
            examples=["events"],
        ),
    ] = None
    format: Annotated[
        Literal["cloudevents"] | None,
        Field(description="`cloudevents`: structured, binary or batched CloudEvents, told apart by source and id"),
    ] = None
    largest: Annotated[Size, Field(ge=1, le=MOST_LARGEST, description="bytes of a body")] = LARGEST
    content_types: Annotated[
        tuple[MediaType, ...],
        Field(strict=False, description="kinds of content that are taken; empty: any", examples=[["application/json"]]),
    ] = ()
    depth: Annotated[
        int | None, Field(ge=1, le=DEPTH_LIMIT, description="how deep arrays and objects of a body may stand")
    ] = None
    rate: Annotated[Rate | None, Field(description="believed requests that are taken, over all processes")] = None
    keep: Annotated[
        Duration,
        Field(
            ge=DAY,
            le=MOST_KEEP,
            description="how long an event is there, and a duplicate known; days go when no endpoint keeps them",
        ),
    ] = KEEP

    def origins_of(self, number: int) -> tuple[str, ...]:
        """Where a secret of its scheme goes, by its number: a handshake of the scheme's name signs with the first."""
        signs = any(isinstance(each, SigningHandshake) and each.secret is None for each in self.handshakes)
        return (INBOX, ANSWERS) if signs and number == 0 else (INBOX,)

    @field_validator("handshakes")
    @classmethod
    def _fit_the_scheme(cls, handshakes: Handshakes, info: ValidationInfo) -> Handshakes:
        if "scheme" in info.data:
            check_handshakes(handshakes, info.data["scheme"])
        return handshakes

    @model_validator(mode="after")
    def _list_once(self) -> "EndpointDocument":
        if self.items is not None and self.format is not None:
            raise refusal("CloudEvents say themselves whether they come as a list: leave `items` out")
        return self

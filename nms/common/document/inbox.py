"""The document of the inbox as a system: which records the events of its endpoints hold."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from nms.common.document.expression import check_expression
from nms.common.document.mapping import Part
from nms.common.document.system import Place, SystemDocument
from nms.common.document.values import Column, Name, refusal
from nms.common.document.web import Expression, ResourceName

FACTS: Final = "$event."
"""How the names of fields begin that are of the event itself, and not of a record in its body."""
HEADER: Final = f"{FACTS}header."
OWN: Final = tuple(f"{FACTS}{name}" for name in ("id", "type", "endpoint", "received_at", "item"))
MOST_TYPES: Final = 200
EventType = Annotated[str, Field(min_length=1, max_length=200, examples=["customer.updated"])]


def check_deleted(value: object) -> object:
    """A condition on a record, or a list of types of events."""
    if value is None:
        return None
    if isinstance(value, str):
        return check_expression(value)
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MOST_TYPES:
        raise refusal("this is a condition on a record (JMESPath) or a list of types of events")
    if not all(isinstance(one, str) and 1 <= len(one) <= 200 for one in value):
        raise refusal("a type of events is a text of 1 to 200 characters")
    return tuple(value)


Deleted = Annotated[
    str | tuple[str, ...] | None,
    BeforeValidator(check_deleted),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "minItems": 1, "maxItems": MOST_TYPES, "items": {"type": "string", "minLength": 1}},
                {"type": "null"},
            ],
            "examples": ["status == 'gone'", ["customer.deleted"]],
        }
    ),
]


class InboxResource(Part):
    """One kind of records in the events of an endpoint."""

    endpoint: Name
    types: Annotated[
        tuple[EventType, ...],
        Field(max_length=MOST_TYPES, strict=False, description="only events of these types; all when left out"),
    ] = ()
    records: Annotated[
        Expression,
        Field(
            description="where in the body a record stands, or a list of them; an event without has none of this kind"
        ),
    ] = "@"
    format: Annotated[
        Literal["nms"] | None,
        Field(
            description="`nms`: events of another NMS do what they say: delete, move keys, and empty the table; "
            "else their data are a record as any"
        ),
    ] = None
    derive: Annotated[
        dict[Column, Expression],
        Field(max_length=500, description="further fields of a record, each a JMESPath expression on it"),
    ] = Field(default_factory=dict)
    absent: Annotated[
        Literal["keep", "null"],
        Field(description="what a field that a record lacks means: keep the value the row has, or null"),
    ] = "keep"
    key: Annotated[
        tuple[Column, ...] | None,
        Field(min_length=1, max_length=8, strict=False, description="default: as the pipeline or the table has it"),
    ] = None
    deleted: Annotated[
        Deleted,
        Field(description="when a record is to be deleted: a JMESPath condition that gives true, or types of events"),
    ] = None

    @field_validator("format")
    @classmethod
    def _take_ours_whole(cls, said: str | None, info: ValidationInfo) -> str | None:
        if said is not None and info.data.get("records", "@") != "@":
            raise refusal("an event of another NMS has its record in a place of its own: leave `records` out")
        return said

    @field_validator("derive")
    @classmethod
    def _leave_facts_alone(cls, derive: Mapping[str, str]) -> Mapping[str, str]:
        for name in derive:
            if name.startswith(FACTS):
                raise refusal(f"fields that begin with `{FACTS}` are those of the event itself")
        return derive

    @field_validator("key")
    @classmethod
    def _name_a_field_once(cls, key: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if key is not None and len(set(key)) < len(key):
            raise refusal("a field stands here twice")
        return key

    @field_validator("deleted")
    @classmethod
    def _delete_by_what_comes(cls, deleted: Any, info: ValidationInfo) -> Any:
        types = info.data.get("types")
        strange = [one for one in deleted if types and one not in types] if isinstance(deleted, tuple) else []
        if strange:
            raise refusal(f"events of type `{strange[0]}` are not taken; name it in `types` too")
        return deleted


class InboxSystem(SystemDocument):
    """The inbox of this installation as a system."""

    type: Literal["inbox"]
    resources: Annotated[
        dict[ResourceName, InboxResource],
        Field(
            max_length=1_000,
            description="records by a name for datasets; one that is named as an endpoint has its whole bodies",
        ),
    ] = Field(default_factory=dict)

    @property
    def place(self) -> Place:
        """There is one inbox."""
        return ("inbox",)

    def resource(self, name: str) -> InboxResource:
        """What a dataset of this name reads: a resource, or whole bodies of the endpoint of this name."""
        found = self.resources.get(name)
        return InboxResource.model_construct(endpoint=name) if found is None else found

    def endpoints(self, names: Collection[str]) -> list[str]:
        """The endpoints that datasets of these names read, in order."""
        return sorted({self.resource(name).endpoint for name in names})


def is_fact(name: str) -> bool:
    """Whether an event has a fact of this name: `$event.id`, `$event.header.x-shop`."""
    return name in OWN or (name.startswith(HEADER) and len(name) > len(HEADER))

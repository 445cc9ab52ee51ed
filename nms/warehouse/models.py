"""What the warehouse knows of its entities."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from nms.common.document import EntityDocument, parse_document
from nms.common.run import RunState
from nms.warehouse.format import Compression, Format

State = Literal["building", "ready", "halted", "hidden"]


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity as it is registered: `document` is what is built and served, `wanted` what the configuration says."""

    name: str
    document: Mapping[str, Any] | None
    revision: int
    wanted: Mapping[str, Any]
    wanted_revision: int
    state: State
    problem: Mapping[str, Any] | None
    form: str | None
    updated_at: datetime

    @property
    def is_served(self) -> bool:
        """Whether there is a table whose records are to be seen."""
        return self.document is not None and self.state != "hidden"

    @property
    def build(self) -> str:
        """What it was built from, in short: a revision, and the beginning of its form."""
        return f"{self.revision}.{(self.form or '')[:6]}"

    @property
    def built(self) -> EntityDocument | None:
        """What can be read and written now; None while nothing can. Raises Malformed for one of a later version."""
        return read_entity(self.document) if self.document is not None and self.is_served else None


class EntityStanding(BaseModel):
    """How an entity stands."""

    name: str
    state: Annotated[
        State,
        Field(
            description="`ready`; `building`: its table is being changed; `halted`: `problem` says why it cannot be; "
            "`hidden`: its document is gone, its data are kept"
        ),
    ]
    document: Annotated[dict[str, Any] | None, Field(description="what is built and served")]
    revision: Annotated[int, Field(description="the revision of the configuration that this was built of")]
    wanted: Annotated[dict[str, Any], Field(description="what the configuration says")]
    wanted_revision: int
    problem: dict[str, Any] | None
    updated_at: datetime

    @classmethod
    def of(cls, entity: Entity) -> "EntityStanding":
        """As it is shown."""
        return cls(**{name: getattr(entity, name) for name in cls.model_fields})


def read_entity(body: Mapping[str, Any]) -> EntityDocument:
    """A stored document; raises Malformed."""
    document = parse_document(dict(body))
    assert isinstance(document, EntityDocument)
    return document


@dataclass(frozen=True, slots=True)
class Rounded:
    """A pipeline that brings a source here, and whether it works in rounds."""

    name: str
    has_rounds: bool
    wanted: str
    phase: str
    problem: dict[str, Any] | None

    @property
    def works(self) -> bool:
        """Whether a round would begin now."""
        return self.wanted == "running" and self.phase != "halted"


class Export(BaseModel):
    """An ordered export: what was asked for, how far it is, and what its file holds."""

    id: int = Field(description="The id of its run too.")
    entity: str
    format: Format
    compression: Compression
    query: list[tuple[str, str]] = Field(description="The parameters that chose the records, as they were sent.")
    author: str
    state: RunState
    progress: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None
    host: str | None = Field(None, description="The machine that has the file.")
    file: str | None = Field(None, description="Its name there.")
    rows: int | None = None
    sequence: int | None = Field(None, description="Where `/data?since=` goes on behind it.")
    sha256: str | None = Field(None, description="Of the records; the same in each format.")
    content_sha256: str | None = Field(None, description="Of what stands before the closing line, unpacked.")
    size: int | None = Field(None, description="Bytes of the file.")
    created_at: datetime
    ended_at: datetime | None = None
    expires_at: datetime

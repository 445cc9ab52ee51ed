"""What the warehouse knows of its entities."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from nms.common.document import EntityDocument, parse_document

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
    def built(self) -> EntityDocument | None:
        """What can be read and written now; None while nothing can. Raises Malformed for one of a later version."""
        return None if self.document is None or self.state == "hidden" else read_entity(self.document)


def read_entity(body: Mapping[str, Any]) -> EntityDocument:
    """A stored document; raises Malformed."""
    document = parse_document(dict(body))
    assert isinstance(document, EntityDocument)
    return document

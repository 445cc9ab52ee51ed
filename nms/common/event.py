"""Events: what one room tells the others, typed, versioned, in order per key."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class Event(BaseModel):
    """A fact that happened; a subclass sets `type` (`<room>.<noun>.<past participle>`), `version` and `key`.

    Versions are additive only: a reader ignores fields it does not know, so that old readers live on.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: ClassVar[str]
    version: ClassVar[int] = 1

    @property
    def key(self) -> str:
        """Events of one key are delivered in the order of their transactions."""
        return ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event on its way; `id` is the same in every delivery of it."""

    id: UUID
    type: str
    version: int
    key: str
    payload: dict[str, Any]
    created_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """JSON values, as they travel."""
        return {
            "id": str(self.id),
            "type": self.type,
            "version": self.version,
            "key": self.key,
            "payload": self.payload,
            "created_at": self.created_at.isoformat(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The envelope that `to_dict` gave; raises KeyError, ValueError or TypeError for anything else."""
        return cls(
            id=UUID(values["id"]),
            type=str(values["type"]),
            version=int(values["version"]),
            key=str(values["key"]),
            payload=dict(values["payload"]),
            created_at=datetime.fromisoformat(values["created_at"]),
        )


E = TypeVar("E", bound=Event)


def unpack(envelope: Envelope, kind: type[E]) -> E:
    """The typed event of an envelope; raises pydantic's ValidationError when the payload is none of its kind."""
    return kind.model_validate(envelope.payload)

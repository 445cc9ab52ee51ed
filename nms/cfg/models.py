"""What goes into and out of the document store."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from nms.cfg.text import Draft
from nms.common.document import Document, shorten
from nms.common.whole import WHOLE

KindName = Literal["system", "pipeline", "endpoint", "entity"]
Identity = tuple[str, str]
"""Kind and name of a document."""


@dataclass(frozen=True, slots=True)
class Changeset:
    """Documents to be stored together or not at all.

    `base` is the revision they were written for (None: whichever is current), `tags` are those that `If-Match` names;
    with `prune` every document that is not among them is removed, else those that `removed` names.
    """

    drafts: Sequence[Draft]
    base: int | None = None
    prune: bool = False
    message: str = ""
    author: str = "operator"
    tags: frozenset[str] | None = None
    removed: frozenset[Identity] = frozenset()


class ChangesetBody(BaseModel):
    """A changeset as it comes over HTTP."""

    model_config = ConfigDict(extra="forbid")

    documents: Annotated[list[Any], Field(max_length=10_000, description="each as `/schema` describes it")]
    base: Annotated[
        Annotated[int, Field(ge=0), WHOLE] | None,
        Field(description="the revision they were written for; 409 when it is not current any more"),
    ] = None
    prune: Annotated[StrictBool, Field(description="remove every document that is not among them")] = False
    message: str = ""

    def changeset(self, author: str, tags: frozenset[str] | None = None) -> Changeset:
        """As the store takes it."""
        drafts = [Draft(data) for data in self.documents]
        return Changeset(drafts, self.base, self.prune, self.message, author, tags)


class RollbackBody(BaseModel):
    """Which revision to go back to."""

    model_config = ConfigDict(extra="forbid")

    revision: Annotated[int, Field(ge=1, lt=1 << 63, description="whose documents are to be in force again"), WHOLE]
    base: Annotated[
        Annotated[int, Field(ge=0), WHOLE] | None,
        Field(description="the revision that the caller saw; 409 when it is not current any more"),
    ] = None
    message: str = ""

    def rollback(self, author: str, tags: frozenset[str] | None = None) -> "Rollback":
        """As the store takes it."""
        return Rollback(self.revision, self.base, self.message, author, tags)


@dataclass(frozen=True, slots=True)
class Rollback:
    """A revision whose documents are to be in force again; the rest as in a Changeset."""

    revision: int
    base: int | None = None
    message: str = ""
    author: str = "operator"
    tags: frozenset[str] | None = None


class Action(StrEnum):
    """What becomes of a document."""

    ADD = "add"
    CHANGE = "change"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field by its path (`batch.changes`, `datasets[public.a].key`) with its values; None where it is absent."""

    path: str
    before: Any
    after: Any

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"path": self.path, "before": self.before, "after": self.after}


@dataclass(frozen=True, slots=True)
class Difference:
    """What becomes of one document, field by field where it stays; `effects` are sentences on what follows."""

    action: Action
    kind: str
    name: str
    fields: tuple[FieldDifference, ...] = ()
    effects: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `effects` where a room does something because of it."""
        fields = [each.to_dict() for each in self.fields]
        told = {"effects": list(self.effects)} if self.effects else {}
        return {"action": self.action.value, "kind": self.kind, "name": self.name, "fields": fields, **told}


@dataclass(frozen=True, slots=True)
class Exposure:
    """What becomes of a secret: it is dropped, with the document and the sentence why, or its origins are recorded."""

    secret: str
    origins: frozenset[str]
    identity: Identity | None = None
    sentence: str = ""

    @property
    def is_drop(self) -> bool:
        """Whether the value goes."""
        return self.identity is not None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a changeset would do to a revision, the documents that would stand afterwards, what it means for secrets."""

    revision: int
    differences: tuple[Difference, ...]
    documents: Mapping[Identity, Document]
    exposures: tuple[Exposure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, without the documents."""
        return {"revision": self.revision, "differences": [each.to_dict() for each in self.differences]}


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan that is kept: what would change on revision `base`, as it was told, and what became of it.

    `revision` is the one that it made; none where nothing differed.
    """

    id: UUID
    base: int
    created_at: datetime
    author: str
    message: str
    changes: Sequence[Mapping[str, Any]]
    told: Mapping[str, Any]
    applied_at: datetime | None
    revision: int | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: the plan as it was told, with its id and what became of it; without the documents."""
        applied = None if self.applied_at is None else {"at": self.applied_at.isoformat(), "revision": self.revision}
        created = {"created_at": self.created_at.isoformat(), "author": self.author, "message": self.message}
        return {"id": str(self.id), **self.told, **created, "applied": applied}


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as it is stored, with the revision that changed it last; `body` is its normal form."""

    kind: str
    name: str
    revision: int
    body: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, the body under `document`."""
        return {"kind": self.kind, "name": self.name, "revision": self.revision, "document": dict(self.body)}


@dataclass(frozen=True, slots=True)
class Revision:
    """A state of all documents: who stored it, when and why."""

    id: int
    created_at: datetime
    author: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        created = self.created_at.isoformat()
        return {"id": self.id, "created_at": created, "author": self.author, "message": self.message}


class Mark(NamedTuple):
    """A revision of one database for certain: when and by which transaction it was stored, and how much it changed.

    A number comes again, for other documents, where a transaction is rolled back or a database restored; and whoever
    writes past us may add documents to a revision that is there.
    """

    id: int
    created_at: datetime
    writer: str
    size: int


class Selector(NamedTuple):
    """Which documents are watched; None is any."""

    kind: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """What a revision did to one document; `text` is it as JSON, with the short form of a document that stands."""

    revision: int
    kind: str
    name: str
    action: Action
    text: str = field(repr=False)

    @classmethod
    def of(cls, revision: int, identity: Identity, action: str, body: Mapping[str, Any] | None) -> "Notice":
        """A row of the statement `list_notices`."""
        told: dict[str, Any] = {"revision": revision, "action": action, "kind": identity[0], "name": identity[1]}
        if body is not None:
            told["document"] = shorten(body)
        return cls(revision, *identity, Action(action), json.dumps(told, ensure_ascii=False))

"""Stored secrets as they are shown, and their statements: never with a value, which no statement gives back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from nms.cfg.models import StoredDocument
from nms.common.db.queries import load
from nms.common.db.repositories import BaseNmsRepository
from nms.common.seal import Envelope
from nms.common.secret import SECRET_BYTES

_queries = load("nms.cfg")


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A secret without its value; one that was removed keeps its row, so that no version comes twice."""

    name: str
    version: int
    state: str
    origins: frozenset[str]
    changed_at: datetime
    author: str

    @property
    def is_set(self) -> bool:
        """Whether it has a value."""
        return self.state == "set"


class Secret(BaseModel):
    """A stored secret; its value is never shown."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "crm-key",
                "version": 3,
                "state": "set",
                "changed_at": "2026-11-22T08:00:00Z",
                "author": "ada@example.com",
                "origins": ["https://api.example.com"],
                "used_by": ["system crm"],
            }
        }
    )

    name: str
    version: int = Field(description="Rises with each change; `If-Match` takes it in quotes.")
    state: Literal["set", "dropped"] = Field(
        description="`dropped`: what uses it leads elsewhere than before, so its value was forgotten; set it anew."
    )
    changed_at: datetime
    author: str
    origins: list[str] = Field(description="Where it may be sent to: what used it when it was set or first named.")
    used_by: list[str] = Field(description="Kind and name of the documents that name it.")


class NewSecret(BaseModel):
    """The value of a secret."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    value: SecretStr = Field(min_length=1, max_length=SECRET_BYTES, description="Text without zero characters.")


class SecretRepository(BaseNmsRepository):
    """Stored secrets of the database `nms`."""

    async def lock_revisions(self) -> None:
        """Keep changesets out until the end of the transaction: where a secret is used must not move meanwhile."""
        await _queries.lock_revisions(self.connection)

    async def list_secrets(self) -> list[StoredSecret]:
        """All that are not removed, by name."""
        return [_stored(row) for row in await _queries.list_secrets(self.connection, after=None, size=None)]

    async def page_secrets(self, after: Sequence[Any] | None, size: int) -> list[StoredSecret]:
        """The next ones behind a name."""
        last = after[0] if after else None
        return [_stored(row) for row in await _queries.list_secrets(self.connection, after=last, size=size)]

    async def get_secret(self, name: str) -> StoredSecret | None:
        """One, removed or not."""
        row = await _queries.get_secret(self.connection, name=name)
        return None if row is None else _stored(row)

    async def list_users(self) -> list[StoredDocument]:
        """Current documents that may name a secret."""
        return [StoredDocument(**row) for row in await _queries.list_documents_with_secrets(self.connection)]

    async def upsert_secret(
        self, name: str, version: int, envelope: Envelope, origins: Sequence[str], author: str
    ) -> None:
        """Give a secret this value."""
        await _queries.upsert_secret(
            self.connection,
            name=name,
            version=version,
            wrapped=envelope.wrapped,
            sealed=envelope.sealed,
            origins=list(origins),
            author=author,
        )

    async def clear_secret(self, name: str, state: str, author: str) -> None:
        """Forget its value: it is dropped, or removed."""
        await _queries.update_cleared_secret(self.connection, name=name, state=state, author=author)

    async def lock_wrapped(self, name: str) -> tuple[int, bytes, list[str]]:
        """The version, the wrapped data key, and the origins that it is bound to; kept as they are until the end."""
        row = await _queries.lock_secret(self.connection, name=name)
        return row["version"], row["wrapped"], list(row["origins"])

    async def record_origins(self, name: str, origins: Sequence[str], wrapped: bytes) -> None:
        """Remember where it is used, with the data key bound to it."""
        await _queries.update_origins(self.connection, name=name, origins=list(origins), wrapped=wrapped)


def _stored(row: Any) -> StoredSecret:
    return StoredSecret(**{**row, "origins": frozenset(row["origins"])})

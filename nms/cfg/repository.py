"""The statements of the document store."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from nms.cfg.models import Changeset, Identity, Mark, Notice, Plan, Revision, Selector, StoredDocument, StoredPlan
from nms.common.db.queries import load
from nms.common.db.repositories import BaseNmsRepository

_queries = load("nms.cfg")

Bodies = Mapping[Identity, Mapping[str, Any] | None]
"""Documents by kind and name; None is that there is none."""


def checksum(body: Mapping[str, Any]) -> str:
    """SHA-256 over a body as JSON with sorted keys: the same for the same content."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class DocumentRepository(BaseNmsRepository):
    """Documents and revisions of the database `nms`."""

    async def lock_revisions(self) -> None:
        """Keep other writers out until the end of the transaction; readers go on."""
        await _queries.lock_revisions(self.connection)

    async def get_current_revision(self) -> int:
        """The number of the newest revision, 0 when there is none."""
        return int(await _queries.get_current_revision(self.connection))

    async def list_documents(self, kind: str | None = None, name: str | None = None) -> list[StoredDocument]:
        """All current documents, or those of one kind or name, in order."""
        return _stored(await _queries.list_current_documents(self.connection, kind=kind, name=name))

    async def page_documents(self, kind: str | None, after: Sequence[str] | None, size: int) -> list[StoredDocument]:
        """The next `size` current documents behind `after`."""
        after_kind, after_name = after or (None, None)
        records = await _queries.list_document_page(
            self.connection, kind=kind, after_kind=after_kind, after_name=after_name, size=size
        )
        return _stored(records)

    async def get_document(self, kind: str, name: str) -> tuple[StoredDocument, int] | None:
        """One current document, and the newest revision."""
        record = await _queries.get_current_document(self.connection, kind=kind, name=name)
        if record is None:
            return None
        return StoredDocument(record["kind"], record["name"], record["revision"], record["body"]), record["newest"]

    async def get_head(self) -> tuple[Mark | None, bool]:
        """The newest revision, None when there is none; and whether there are secrets."""
        record = await _queries.get_head(self.connection)
        return None if record["id"] is None else _mark(record), bool(record["has_secrets"])

    async def get_mark(self, revision: int) -> Mark | None:
        """One revision, told from any other one that had its number."""
        record = await _queries.get_mark(self.connection, id=revision)
        return None if record is None else _mark(record)

    async def insert_revision(self, author: str, message: str, changed: Bodies) -> tuple[Mark, Bodies]:
        """A new revision: new bodies, None for documents that are removed. Gives them back as they are read later."""
        bodies = list(changed.values())
        records = await _queries.insert_revision(
            self.connection,
            author=author,
            message=message,
            kinds=[kind for kind, _ in changed],
            names=[name for _, name in changed],
            bodies=bodies,
            checksums=[None if body is None else checksum(body) for body in bodies],
        )
        stored = {(each["kind"], each["name"]): each["body"] for each in records} if changed else {}
        return _mark(records[0]), stored

    async def get_revision(self, revision: int) -> Revision | None:
        """One revision."""
        record = await _queries.get_revision(self.connection, id=revision)
        return None if record is None else Revision(**record)

    async def list_revisions(self, before: int | None, size: int) -> list[Revision]:
        """Revisions from the newest on, older than `before`."""
        records = await _queries.list_revisions(self.connection, before=before, size=size)
        return [Revision(**record) for record in records]

    async def list_documents_between(
        self, low: int, high: int
    ) -> dict[Identity, tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]]:
        """The bodies at two revisions, None where it was not there, of every document touched after the first."""
        records = await _queries.list_documents_between(self.connection, low=low, high=high)
        return {(each["kind"], each["name"]): (each["body_low"], each["body_high"]) for each in records}

    async def list_notices(self, place: tuple[int, str, str], upto: int, selector: Selector, size: int) -> list[Notice]:
        """What revisions up to one did to documents, behind a place (revision, kind, name)."""
        (revision, after_kind, after_name), (kind, name) = place, selector
        records = await _queries.list_notices(
            self.connection, revision=revision, after_kind=after_kind, after_name=after_name, upto=upto, kind=kind,
            name=name, size=size,
        )  # fmt: skip
        return [Notice.of(row["revision"], (row["kind"], row["name"]), row["action"], row["body"]) for row in records]

    async def insert_plan(self, changeset: Changeset, plan: Plan, changes: Sequence[Mapping[str, Any]]) -> StoredPlan:
        """Keep a plan of a changeset; `changes` has what it would store."""
        record = await _queries.insert_plan(
            self.connection,
            base=plan.revision,
            author=changeset.author,
            message=changeset.message,
            changes=list(changes),
            told=plan.to_dict(),
        )
        return StoredPlan(**record)

    async def get_plan(self, number: UUID, days: int) -> StoredPlan | None:
        """One plan that is not older."""
        record = await _queries.get_plan(self.connection, id=number, days=days)
        return None if record is None else StoredPlan(**record)

    async def mark_plan_applied(self, number: UUID, revision: int | None) -> None:
        """Take note that a plan was carried out, and which revision it made."""
        await _queries.mark_plan_applied(self.connection, id=number, revision=revision)

    async def purge_plans(self, days: int) -> None:
        """Forget the plans that are older."""
        await _queries.purge_plans(self.connection, days=days)


def _mark(record: Mapping[str, Any]) -> Mark:
    return Mark(record["id"], record["created_at"], record["writer"], record["size"])


def _stored(records: Sequence[Mapping[str, Any]]) -> list[StoredDocument]:
    return [StoredDocument(**record) for record in records]

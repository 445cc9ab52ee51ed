"""The use cases of documents: plan and apply a changeset, read what is current."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from nms.cfg import audit
from nms.cfg.audit import Act
from nms.cfg.condition import check_base
from nms.cfg.models import Action, Changeset, Identity, Plan, Rollback, StoredDocument
from nms.cfg.plan import draw_plan
from nms.cfg.repository import DocumentRepository
from nms.cfg.secret import SecretRepository, StoredSecret
from nms.cfg.secrets import settle_exposures
from nms.common import outbox
from nms.common.document import normal_form
from nms.common.problem import Malformed, NotFound, Pointer
from nms.events.cfg import DocumentsPublished

MESSAGE_LENGTH = 500
APPLY: Final = Act("changeset.apply")


async def plan_changeset(repository: DocumentRepository, changeset: Changeset) -> Plan:
    """What a changeset would do now; raises Malformed with every fault, RevisionMoved for a stale base.

    The revision is read before the documents: when they move in between, applying on that base is refused.
    """
    revision = await repository.get_current_revision()
    return draw_plan(revision, await repository.list_documents(), changeset, await _list_secrets(repository))


async def apply_changeset(repository: DocumentRepository, changeset: Changeset) -> Plan:
    """Store a changeset as one revision, all of it or nothing; the plan that was carried out has its number.

    A changeset that changes nothing makes no revision. Raises as `plan_changeset` does.
    """
    check_words(changeset)
    # A base that has moved never comes back: who is too late need not wait for those who write.
    check_base(await repository.get_current_revision(), changeset)
    async with repository.transaction() as tx:
        await tx.lock_revisions()
        return await store_changeset(tx, changeset)


async def store_changeset(tx: DocumentRepository, changeset: Changeset, act: Act = APPLY) -> Plan:
    """The same within a transaction that has locked the revisions; `act` is what is noted of it."""
    stored, secrets = await tx.list_documents(), await _list_secrets(tx)
    plan = draw_plan(await tx.get_current_revision(), stored, changeset, secrets)
    if not plan.differences:
        return plan
    revision = await tx.insert_revision(changeset.author, changeset.message)
    await tx.insert_documents(revision, changed_bodies(plan))
    await settle_exposures(SecretRepository(tx.connection), plan.exposures, changeset.author, revision)
    await outbox.put(tx, _announce(revision, plan))
    facts = {"before": plan.revision, "documents": _name_changed(plan), **act.facts}
    await audit.note(tx, replace(act, revision=revision, reason=changeset.message, facts=facts))
    return replace(plan, revision=revision)


async def get_document(repository: DocumentRepository, kind: str, name: str) -> StoredDocument:
    """A current document; raises NotFound."""
    document = await repository.get_document(kind, name)
    if document is None:
        raise NotFound(f"There is no {kind} named {name}.", kind=kind, name=name)
    return document


async def _list_secrets(repository: DocumentRepository) -> list[StoredSecret]:
    return await SecretRepository(repository.connection).list_secrets()


def changed_bodies(plan: Plan) -> dict[Identity, Mapping[str, Any] | None]:
    """What a plan would store, by document; None for those that it removes."""
    changed: dict[Identity, Mapping[str, Any] | None] = {}
    for each in plan.differences:
        identity = (each.kind, each.name)
        changed[identity] = None if each.action is Action.REMOVE else normal_form(plan.documents[identity])
    return changed


def _name_changed(plan: Plan) -> dict[str, list[str]]:
    """By what becomes of them the documents, as `kind/name`; their fields stand in the revision."""
    named: dict[str, list[str]] = {}
    for each in plan.differences:
        named.setdefault(each.action.value, []).append(f"{each.kind}/{each.name}")
    return named


def check_words(changeset: Changeset | Rollback) -> None:
    """Raise Malformed for a message or an author that cannot be stored."""
    faults = [
        Pointer(f"/{part}", f"this is a text of at most {MESSAGE_LENGTH} characters without control characters")
        for part, text in (("message", changeset.message), ("author", changeset.author))
        if len(text) > MESSAGE_LENGTH or not text.replace("\n", " ").isprintable()
    ]
    if faults:
        raise Malformed("Message or author cannot be stored.", pointers=faults)


def _announce(revision: int, plan: Plan) -> DocumentsPublished:
    return DocumentsPublished(revision=revision, kinds=tuple(sorted({each.kind for each in plan.differences})))

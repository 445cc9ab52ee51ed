"""The use cases of documents: plan and apply a changeset, read what is current."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from unicodedata import category

from nms.cfg import audit
from nms.cfg.audit import Act
from nms.cfg.condition import check_base
from nms.cfg.models import Action, Changeset, Identity, Plan, Rollback, StoredDocument
from nms.cfg.plan import draw_plan
from nms.cfg.repository import DocumentRepository
from nms.cfg.secret import SecretRepository, StoredSecret
from nms.cfg.secrets import settle_exposures
from nms.cfg.standing import Standing, keep_standing, read_standing
from nms.cfg.turn import in_turn
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
    standing, secrets = await _read(repository, changeset)
    return draw_plan(standing, changeset, secrets)


async def apply_changeset(repository: DocumentRepository, changeset: Changeset) -> Plan:
    """Store a changeset as one revision, all of it or nothing; the plan that was carried out has its number.

    A changeset that changes nothing makes no revision. Raises as `plan_changeset` does.
    """
    check_words(changeset)
    # A base that has moved never comes back: who is too late need not wait for those who write.
    check_base(await repository.get_current_revision(), changeset)
    async with in_turn() as waited:
        if waited:
            check_base(await repository.get_current_revision(), changeset)
        async with repository.transaction() as tx:
            await tx.lock_revisions()
            return await store_changeset(tx, changeset)


async def store_changeset(tx: DocumentRepository, changeset: Changeset, act: Act = APPLY) -> Plan:
    """The same within a transaction that has locked the revisions; `act` is what is noted of it."""
    standing, secrets = await _read(tx, changeset)
    plan = draw_plan(standing, changeset, secrets)
    if not plan.differences:
        return plan
    mark, stored = await tx.insert_revision(changeset.author, changeset.message, changed_bodies(plan))
    keep_standing(mark, standing.after(mark.id, stored))
    revision = mark.id
    await settle_exposures(SecretRepository(tx.connection), plan.exposures, changeset.author, revision)
    await outbox.put(tx, _announce(revision, plan))
    facts = {"before": plan.revision, "documents": _name_changed(plan), **act.facts}
    await audit.note(tx, replace(act, revision=revision, reason=changeset.message, facts=facts))
    return replace(plan, revision=revision)


async def get_document(repository: DocumentRepository, kind: str, name: str) -> tuple[StoredDocument, int]:
    """A current document, and the newest revision; raises NotFound."""
    found = await repository.get_document(kind, name)
    if found is None:
        raise NotFound(f"There is no {kind} named {name}.", kind=kind, name=name)
    return found


async def _read(repository: DocumentRepository, changeset: Changeset) -> tuple[Standing, list[StoredSecret]]:
    """What a changeset meets; raises as `check_base` does, before any document is read."""
    newest, has_secrets = await repository.get_head()
    check_base(0 if newest is None else newest.id, changeset)
    secrets = await SecretRepository(repository.connection).list_secrets() if has_secrets else []
    return await read_standing(repository, newest), secrets


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
        if len(text) > MESSAGE_LENGTH or any(_is_control(letter) for letter in text)
    ]
    if faults:
        raise Malformed("Message or author cannot be stored.", pointers=faults)


def _is_control(letter: str) -> bool:
    """Whether a letter is none that people write: spaces of all scripts, and joiners (emoji, Persian), are."""
    return not (letter.isprintable() or letter in "\n\u200c\u200d" or category(letter) == "Zs")


def _announce(revision: int, plan: Plan) -> DocumentsPublished:
    return DocumentsPublished(revision=revision, kinds=tuple(sorted({each.kind for each in plan.differences})))

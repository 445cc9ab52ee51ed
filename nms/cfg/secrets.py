"""The use cases of stored secrets: set, listed without their values, removed, dropped by what changes around them."""

from collections.abc import Mapping, Sequence
from typing import Final

from nms.cfg import audit
from nms.cfg.audit import Act
from nms.cfg.exposure import list_users, origins_by_secret
from nms.cfg.models import Exposure, Identity, StoredDocument
from nms.cfg.problems import SecretInUse, SecretMoved
from nms.cfg.secret import Secret, SecretRepository, StoredSecret
from nms.cfg.turn import writing
from nms.common import outbox
from nms.common.document import Document, parse_document
from nms.common.document.values import check_name
from nms.common.log import remember_secrets
from nms.common.problem import Malformed, NotFound, Pointer
from nms.common.seal import SealBroken, Sealer
from nms.common.secret import SECRET_BYTES
from nms.common.settings import get_settings
from nms.common.vault import seal_name
from nms.events.cfg import SecretDropped, SecretRemoved, SecretSet

DROPPED, REMOVED = "dropped", "removed"
NEW: Final = 0
"""The base of a secret that must not be there yet."""
TAKEN: Final = frozenset({"rotation"})
"""Names of which `/secrets/NAME` is a route of its own."""


async def set_secret(
    repository: SecretRepository, name: str, value: str, author: str, base: int | None = None
) -> Secret:
    """Store a value as the next version of a secret; with `base` only on that version (NEW: only a new one).

    Raises Malformed, SecretMoved. It may be sent to where the documents of now use it, or else first use it.
    """
    _check(name, value)
    remember_secrets([value])
    async with writing(repository) as tx:
        found = await tx.get_secret(name)
        _check_base(name, found, base)
        version = 1 if found is None else found.version + 1
        documents = _parse(await tx.list_users())
        origins = sorted(origins_by_secret(documents).get(name, ()))
        envelope = _own_sealer().enclose(value.encode(), seal_name(name, version), origins)
        await tx.upsert_secret(name, version, envelope, origins, author)
        await outbox.put(tx, SecretSet(name=name, number=version))
        await audit.note(tx, Act("secret.set", name, facts={"version": version}))
        return _show(await _get(tx, name), list_users(documents))


async def remove_secret(repository: SecretRepository, name: str, author: str, base: int | None = None) -> None:
    """Forget a secret; raises NotFound, SecretMoved, and SecretInUse while a document names it."""
    async with writing(repository) as tx:
        found = await _get(tx, name)
        _check_base(name, found, base)
        users = list_users(_parse(await tx.list_users())).get(name, [])
        if users:
            told = _spell(users)
            raise SecretInUse(f"The secret {name} is used by {', '.join(told)}.", name=name, used_by=told)
        await tx.clear_secret(name, REMOVED, author)
        await outbox.put(tx, SecretRemoved(name=name))
        await audit.note(tx, Act("secret.remove", name))


async def get_secret(repository: SecretRepository, name: str) -> Secret:
    """A secret without its value; raises NotFound."""
    return _show(await _get(repository, name), list_users(_parse(await repository.list_users())))


async def list_secrets(repository: SecretRepository, after: Sequence[str] | None, size: int) -> list[Secret]:
    """The next `size` secrets by name, without their values."""
    stored = await repository.page_secrets(after, size)
    users = list_users(_parse(await repository.list_users())) if stored else {}
    return [_show(each, users) for each in stored]


async def settle_exposures(tx: SecretRepository, exposures: Sequence[Exposure], author: str, revision: int) -> None:
    """Carry out what a changeset means for secrets, in its transaction; raises SealBroken for one first used."""
    for each in exposures:
        if each.is_drop:
            await tx.clear_secret(each.secret, DROPPED, author)
            await outbox.put(tx, SecretDropped(name=each.secret, reason=each.sentence))
            await audit.note(tx, Act("secret.drop", each.secret, revision, each.sentence))
        else:
            await _record(tx, each.secret, sorted(each.origins))


async def _record(tx: SecretRepository, name: str, origins: Sequence[str]) -> None:
    """Remember where a secret is used from now on, in the row and in its seal: the row alone opens nothing."""
    version, wrapped, before = await tx.lock_wrapped(name)
    try:
        fresh = _own_sealer().rewrap(wrapped, seal_name(name, version), before, origins)
    except SealBroken as problem:
        told = f"The secret {name} cannot be given for {', '.join(origins)}: {problem.detail}"
        raise type(problem)(told, reference=f"secret://{name}") from None
    await tx.record_origins(name, origins, fresh)


def _own_sealer() -> Sealer:
    return Sealer(*get_settings().sealing_keys())


async def _get(repository: SecretRepository, name: str) -> StoredSecret:
    found = await repository.get_secret(name)
    if found is None or found.state == REMOVED:
        raise NotFound(
            f"There is no secret {name}.", name=name, remedy="`nms secrets list` shows those that are there."
        )
    return found


def _check(name: str, value: str) -> None:
    faults = []
    if name in TAKEN:
        faults.append(Pointer("/name", f"`/secrets/{name}` is a route of its own; give the secret another name"))
    try:
        check_name(name)
    except ValueError as error:
        faults.append(Pointer("/name", str(error)))
    if not value or "\0" in value or len(value.encode(errors="replace")) > SECRET_BYTES or not _is_text(value):
        told = f"a secret is a text of 1 to {SECRET_BYTES} bytes without zero bytes and half surrogates"
        faults.append(Pointer("/value", told))
    if faults:
        raise Malformed("The secret cannot be stored.", pointers=faults)


def _is_text(value: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _check_base(name: str, found: StoredSecret | None, base: int | None) -> None:
    version = NEW if found is None or found.state == REMOVED else found.version
    if base is None or base == version:
        return
    told = f"The secret {name} has version {version}." if version else f"There is no secret {name}."
    raise SecretMoved(told, name=name, version=version)


def _parse(stored: Sequence[StoredDocument]) -> dict[Identity, Document]:
    found: dict[Identity, Document] = {}
    for each in stored:
        try:
            found[each.kind, each.name] = parse_document(dict(each.body))
        except Malformed:
            # One of a later version uses nothing here.
            continue
    return found


def _show(stored: StoredSecret, users: Mapping[str, Sequence[Identity]]) -> Secret:
    return Secret.model_validate(
        {
            "name": stored.name,
            "version": stored.version,
            "state": stored.state,
            "changed_at": stored.changed_at,
            "author": stored.author,
            "origins": sorted(stored.origins),
            "used_by": _spell(users.get(stored.name, ())),
        }
    )


def _spell(users: Sequence[Identity]) -> list[str]:
    return [f"{kind} {name}" for kind, name in users]

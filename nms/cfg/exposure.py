"""Where stored secrets are used, and which of them a changeset would send elsewhere than before (pure).

Who may write documents must not read secrets that way: by a document that carries one to a host of his own. So a secret
remembers the origins at which it is used. Once it would be used at another one its value is dropped, and whoever may
set secrets sets it anew.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from nms.cfg.models import Exposure, Identity
from nms.cfg.secret import StoredSecret
from nms.common.document import AmqpSystem, Document, EndpointDocument, KafkaSystem, PostgresSystem, RestSystem
from nms.common.document.handshake import OneHandshake
from nms.common.origin import is_covered
from nms.common.problem import Pointer
from nms.common.secret import stored_name

_OF_LOGIN: Final = ("key", "password", "client_secret", "refresh_token")


Place = tuple[str, str, Callable[[], Iterable[str]]]
"""A reference, where it stands in its document, and the origins that it leads to, told when they are asked for."""


@dataclass(frozen=True, slots=True)
class Use:
    """A place in a document that names a stored secret, and the origins that it goes to from there."""

    secret: str
    pointer: str
    origins: frozenset[str]


def list_uses(document: Document) -> list[Use]:
    """Every stored secret that a document names."""
    found = ((stored_name(text), pointer, origins) for text, pointer, origins in _list_references(document))
    return [Use(name, pointer, frozenset(origins())) for name, pointer, origins in found if name is not None]


def list_users(documents: Mapping[Identity, Document]) -> dict[str, list[Identity]]:
    """Documents by the stored secrets that they name."""
    users: dict[str, list[Identity]] = {}
    for identity, document in documents.items():
        for name in dict.fromkeys(use.secret for use in list_uses(document)):
            users.setdefault(name, []).append(identity)
    return users


def find_unknown(documents: Mapping[Identity, Document], known: Iterable[str]) -> dict[Identity, list[Pointer]]:
    """Faults by the document that names a secret which is not stored."""
    names, faults = frozenset(known), {}
    for identity, document in documents.items():
        unknown = [use for use in list_uses(document) if use.secret not in names]
        if unknown:
            faults[identity] = [Pointer(use.pointer, _tell_unknown(use.secret)) for use in unknown]
    return faults


def find_exposures(
    secrets: Iterable[StoredSecret], before: Mapping[Identity, Document], after: Mapping[Identity, Document]
) -> list[Exposure]:
    """What becomes of the secrets that have a value when these documents take the place of those before."""
    used = origins_by_secret(after)
    # What came into the table past us is no first use.
    first = origins_by_secret({each: one for each, one in after.items() if before.get(each) != one})
    found = []
    for secret in (each for each in secrets if each.is_set):
        if not secret.origins:
            found += [Exposure(secret.name, first[secret.name])] if secret.name in first else []
            continue
        foreign = frozenset(one for one in used.get(secret.name, ()) if not is_covered(one, secret.origins))
        if foreign:
            identity = _find_user(secret.name, foreign, after)
            found.append(Exposure(secret.name, foreign, identity, _tell(secret, identity, before, after)))
    return found


def origins_by_secret(documents: Mapping[Identity, Document]) -> dict[str, frozenset[str]]:
    """All origins that each stored secret goes to."""
    used: dict[str, frozenset[str]] = {}
    for document in documents.values():
        for use in list_uses(document):
            used[use.secret] = used.get(use.secret, frozenset()) | use.origins
    return used


def _list_references(document: Document) -> Iterator[Place]:
    """Every place of a document that takes a secret."""
    match document:
        case PostgresSystem(dsn=dsn, password=password) | AmqpSystem(dsn=dsn, password=password):
            yield dsn, "/dsn", lambda: [dsn]
            yield password or "", "/password", lambda: document.origins
        case KafkaSystem(password=password):
            yield password or "", "/password", lambda: document.origins
        case RestSystem():
            for field in _OF_LOGIN:
                yield getattr(document.login, field, None) or "", f"/login/{field}", lambda: document.origins
        case EndpointDocument():
            yield from _list_schemes(document)


def _list_schemes(endpoint: EndpointDocument) -> Iterator[Place]:
    for number, reference in enumerate(getattr(endpoint.scheme, "secrets", ())):
        yield reference, f"/scheme/secrets/{number}", partial(endpoint.origins_of, number)
    for number, handshake in enumerate(endpoint.handshakes):
        field = "token" if handshake.type == "meta" else "secret"
        yield handshake.reference or "", f"/handshakes/{number}/{field}", partial(_origins_of_one, handshake)


def _origins_of_one(handshake: OneHandshake) -> list[str]:
    return [handshake.origin]


def _find_user(name: str, origins: frozenset[str], documents: Mapping[Identity, Document]) -> Identity:
    return next(
        identity
        for identity, document in documents.items()
        for use in list_uses(document)
        if use.secret == name and use.origins & origins
    )


def _tell(
    secret: StoredSecret, identity: Identity, before: Mapping[Identity, Document], after: Mapping[Identity, Document]
) -> str:
    who = " ".join(identity)
    there = _spell(_origins_of(secret.name, after[identity]))
    earlier = _origins_of(secret.name, before[identity]) if identity in before else frozenset()
    if earlier and identity[0] == "system":
        why = f"{who} moves from {_spell(earlier)} to {there}"
    else:
        why = f"{who} would use it at {there}, it was given for {_spell(secret.origins)}"
    return f"the secret {secret.name} is dropped: {why}; set it anew"


def _origins_of(name: str, document: Document) -> frozenset[str]:
    return frozenset(origin for use in list_uses(document) if use.secret == name for origin in use.origins)


def _spell(origins: Iterable[str]) -> str:
    return ", ".join(sorted(origins))


def _tell_unknown(name: str) -> str:
    return f"there is no secret `{name}`; `nms secrets set {name}` makes it"

"""Where stored secrets are used, and which of them a changeset would send elsewhere than before (pure).

Who may write documents must not read secrets that way: by a document that carries one to a host of his own. So a secret
remembers the origins at which it is used. Once it would be used at another one its value is dropped, and whoever may
set secrets sets it anew.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from nms.cfg.models import Exposure, Identity
from nms.cfg.secret import StoredSecret
from nms.common.document import (
    AmqpSystem,
    Document,
    EndpointDocument,
    KafkaSystem,
    PostgresSystem,
    RestSystem,
    parse_address,
)
from nms.common.document.broker import parse_broker
from nms.common.document.handshake import SigningHandshake
from nms.common.egress.address import parse_url
from nms.common.problem import Pointer
from nms.common.secret import is_reference, stored_name

INBOX: Final = "the inbox"
ANSWERS: Final = "answers to handshakes"
"""Of its own: who may ask for signatures with a secret that verifies webhooks could forge them."""
STRICT: Final = ("require", "verify-ca", "verify-full")
"""Modes of TLS that a server must keep; with the others a password may go out in the clear."""
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
    found = []
    for secret in secrets:
        origins = used.get(secret.name, frozenset())
        if not secret.is_set or not origins:
            continue
        if not secret.origins:
            found.append(Exposure(secret.name, origins))
            continue
        foreign = frozenset(one for one in origins if not _is_covered(one, secret.origins))
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
        case PostgresSystem(dsn=dsn, password=password):
            yield dsn, "/dsn", lambda: [dsn]
            yield password or "", "/password", lambda: [dsn if is_reference(dsn) else _origin_of_database(dsn)]
        case AmqpSystem(dsn=dsn, password=password):
            yield dsn, "/dsn", lambda: [dsn]
            yield password or "", "/password", lambda: [dsn if is_reference(dsn) else _origin_of_broker(dsn)]
        case KafkaSystem(servers=servers, password=password):
            scheme = "kafka+tls" if document.tls else "kafka+clear" if document.mechanism == "PLAIN" else "kafka"
            yield password or "", "/password", lambda: [f"{scheme}://{server}" for server in servers]
        case RestSystem():
            yield from _list_logins(document)
        case EndpointDocument():
            yield from _list_schemes(document)


def _list_logins(system: RestSystem) -> Iterator[Place]:
    # What a token endpoint gives is as good as the secret, and goes to the API.
    urls = (system.url, getattr(system.login, "token_url", system.url))
    for field in _OF_LOGIN:
        yield (
            getattr(system.login, field, None) or "",
            f"/login/{field}",
            lambda: [parse_url(url).origin for url in urls],
        )


def _list_schemes(endpoint: EndpointDocument) -> Iterator[Place]:
    # A handshake of the scheme's own name signs with the first one.
    first = [INBOX, ANSWERS] if _is_signed_for_strangers(endpoint) else [INBOX]
    for number, reference in enumerate(getattr(endpoint.scheme, "secrets", ())):
        yield reference, f"/scheme/secrets/{number}", (lambda: [INBOX]) if number else (lambda: first)
    for number, handshake in enumerate(endpoint.handshakes):
        if handshake.type == "meta":
            yield handshake.reference or "", f"/handshakes/{number}/token", lambda: [INBOX]
        else:
            yield handshake.reference or "", f"/handshakes/{number}/secret", lambda: [ANSWERS]


def _is_signed_for_strangers(endpoint: EndpointDocument) -> bool:
    return any(isinstance(each, SigningHandshake) and each.secret is None for each in endpoint.handshakes)


def _origin_of_database(dsn: str) -> str:
    address = parse_address(dsn)
    scheme = f"postgresql+{address.sslmode}" if address.sslmode in STRICT else "postgresql"
    return f"{scheme}://{_host(address.host)}:{address.port}"


def _origin_of_broker(dsn: str) -> str:
    broker = parse_broker(dsn)
    return f"{broker.scheme}://{_host(broker.host)}:{broker.port}"


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()


def _is_covered(origin: str, recorded: frozenset[str]) -> bool:
    """Whether a secret may go there: to an origin that it went to, or to the same place better hidden on its way."""
    scheme, _, place = origin.partition("://")
    if scheme == "kafka":
        # SCRAM (RFC 5802) shows no password; PLAIN (RFC 4616) without TLS does.
        return origin in recorded or f"kafka+clear://{place}" in recorded
    name, _, mode = scheme.partition("+")
    if name != "postgresql" or mode not in STRICT:
        return origin in recorded
    weaker = ["postgresql", *(f"postgresql+{each}" for each in STRICT[: STRICT.index(mode) + 1])]
    return any(f"{each}://{place}" in recorded for each in weaker)


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

"""An endpoint ready to receive: its verifier, and where the id and the kind of its events stand."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from nms.common.document import EndpointDocument, Finder
from nms.common.document.handshake import OneHandshake, SigningHandshake
from nms.common.search import search
from nms.common.secret import resolve
from nms.inbox.arrival import Arrival, key_of, new_event_id, storable
from nms.inbox.check import Request
from nms.inbox.cloudevent import STRUCTURED, identify, media_type
from nms.inbox.handshake import HANDSHAKES, Terms
from nms.inbox.header import lines_of
from nms.inbox.item import Body, bodies_of, check_repeated
from nms.inbox.key import plain_secrets
from nms.inbox.problems import IdMissing, SecretUnfit
from nms.inbox.verifier import Verifier, make_verifier

LONGEST_WORD: Final = 200
IDS: Final[Mapping[str, Sequence[str]]] = {
    "standard": ("webhook-id",),
    "standard-svix": ("svix-id",),
    "github": ("x-github-delivery",),
    # The id is that of what somebody did in the shop, which may be told under several topics.
    "shopify": ("x-shopify-event-id", "x-shopify-topic"),
}
"""The header with the id of an event, and one that belongs to it, by scheme; the others tell duplicates by the body."""
PLACES: Final[Mapping[str, str]] = {scheme: f"header:{','.join(names)}" for scheme, names in IDS.items()}
CLOUD_EVENT: Final = "cloudevent"
TYPES: Final[Mapping[str, Finder]] = {
    "github": Finder(header="x-github-event"),
    "shopify": Finder(header="x-shopify-topic"),
    "hubspot": Finder(path="subscriptionType"),
    "mandrill": Finder(path="event"),
}
"""Where the kind of an event stands, by scheme."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of the current revision."""

    document: EndpointDocument
    verifier: Verifier
    handshakes: Sequence[tuple[str, Terms]] = ()
    methods: Set[str] = frozenset({"POST"})

    @classmethod
    def of(cls, document: EndpointDocument, *, dev: bool) -> "Endpoint":
        """Resolve its secrets; raises SecretMissing, SecretUnfit, SchemeForbidden."""
        references: Sequence[str] = getattr(document.scheme, "secrets", ())
        secrets = [resolve(reference).get_secret_value() for reference in references]
        verifier = make_verifier(document.scheme, secrets, dev=dev)
        terms = [(handshake.type, _terms_of(handshake, document, secrets)) for handshake in document.handshakes]
        asked = (HANDSHAKES[handshake.type].methods for handshake in document.handshakes)
        return cls(document, verifier, terms, frozenset({"POST"}).union(*asked))

    def read(self, request: Request, raw: bytes) -> tuple[list[Arrival], bool]:
        """The events of a request, and whether it brings them as a list.

        Raises WebhookUnreadable, IdMissing, BatchTooLarge.
        """
        bodies, is_list = bodies_of(self.document, request, raw)
        lines = lines_of(request.headers, self.verifier.hidden)
        check_repeated(len(bodies), len(lines))
        told = _read_header(request, b"content-type")
        arrivals = []
        for item, body in enumerate(bodies):
            key, kind = self._tell(request, body, item if is_list else None)
            arrivals.append(
                Arrival(
                    id=new_event_id(),
                    endpoint=self.document.name,
                    key=key,
                    digest=body.digest,
                    type=kind,
                    content_type=storable(body.content_type or told, LONGEST_WORD),
                    headers=lines,
                    body=body.raw,
                    item=item,
                )
            )
        return arrivals, is_list

    def _tell(self, request: Request, body: Body, item: int | None) -> tuple[bytes, str]:
        """What a duplicate has in common with its event, as 32 bytes, and the provider's word for the kind of event."""
        place = identity = kind = ""
        if self.document.format == "cloudevents":
            in_body = item is not None or media_type(request) == STRUCTURED
            identity, kind = identify(request, body.parse() if in_body else None)
            place = CLOUD_EVENT
        if self.document.id is not None or not identity:
            place, identity = self._find_identity(request, body, item)
        named = self.document.event or (None if kind else TYPES.get(self._scheme))
        if named is not None:
            kind = _find(named, request, body)
        key = key_of(place, identity) if identity else body.digest
        return key, storable(kind, LONGEST_WORD)

    def _find_identity(self, request: Request, body: Body, item: int | None) -> tuple[str, str]:
        """Where the id of an event stands, and the id; both are empty where only its body tells it apart."""
        finder, names = self.document.id, IDS.get(self._scheme, ())
        if finder is None and not names:
            return "", ""
        found = finder or _header(names[0])
        identity = _find(found, request, body)
        if not identity:
            raise IdMissing(f"The event has no id: {_place(found)} is missing or empty.", place=_place(found))
        for name in names[1:] if finder is None else ():
            identity = f"{identity}\0{_read_header(request, name.encode())}"
        if item is not None and found.header is not None:
            # One header for all of them; a list that comes again has them in the same order.
            identity = f"{identity}\0{item}"
        return place_of(finder) if finder is not None else PLACES[self._scheme], identity

    @property
    def _scheme(self) -> str:
        scheme = self.document.scheme
        return "standard-svix" if getattr(scheme, "headers", "webhook") == "svix" else scheme.type


def _terms_of(handshake: OneHandshake, document: EndpointDocument, secrets: Sequence[str]) -> Terms:
    """What the endpoint has for one of its handshakes: secrets of its own, else those of the scheme."""
    rate = None if document.rate is None else max(1, int(document.rate.limit * 60 / document.rate.per))
    if handshake.reference is None:
        return Terms(secrets, rate)
    own = resolve(handshake.reference).get_secret_value()
    plain_secrets([own])
    if isinstance(handshake, SigningHandshake) and own in secrets and handshake.type != document.scheme.type:
        raise SecretUnfit(f"The secret of `{handshake.type}` is one of the scheme: who asks would get events signed.")
    return Terms([own], rate)


def place_of(finder: Finder) -> str:
    """Where an id stands, as the keys of events have it."""
    return f"path:{finder.path}" if finder.header is None else f"header:{finder.header.lower()}"


def keys_of(delivery: str, documents: Iterable[EndpointDocument]) -> list[bytes]:
    """All keys that an event with this id may have at any of these endpoints, or by the words of the providers."""
    places = {CLOUD_EVENT, *PLACES.values(), *(place_of(one.id) for one in documents if one.id is not None)}
    spellings = {delivery, delivery.replace(" ", "\0", 1)}
    return [key_of(place, identity) for place in places for identity in spellings]


@lru_cache(maxsize=100)
def _header(name: str) -> Finder:
    return Finder(header=name)


def _read_header(request: Request, wanted: bytes) -> str:
    found = [value for name, value in request.headers if name == wanted]
    return found[0].decode("latin-1") if len(found) == 1 else ""


def _find(finder: Finder, request: Request, body: Body) -> str:
    """A word of an event; empty where it is not there or is no single value."""
    if finder.header is not None:
        return _read_header(request, finder.header.lower().encode())
    assert finder.path is not None
    return _as_text(search(body.parse(), finder.path))


def _as_text(value: Any) -> str:
    # strict_json tells numbers as texts of their own type.
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else ""


def _place(finder: Finder) -> str:
    return f"header `{finder.header}`" if finder.header is not None else f"`{finder.path}` of the body"

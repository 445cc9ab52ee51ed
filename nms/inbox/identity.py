"""What tells an event apart from others, and the provider's word for its kind."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from nms.common.document import EndpointDocument, Finder
from nms.common.search import search
from nms.inbox.arrival import storable
from nms.inbox.check import Request
from nms.inbox.cloudevent import STRUCTURED, identify, media_type
from nms.inbox.item import Body
from nms.inbox.problems import IdMissing

LONGEST_WORD: Final = 200
CLOUD_EVENT: Final = "cloudevent"
IDS: Final[Mapping[str, Sequence[str]]] = {
    "standard": ("webhook-id",),
    "standard-svix": ("svix-id",),
    "github": ("x-github-delivery",),
    # The id is that of what somebody did in the shop, which may be told under several topics.
    "shopify": ("x-shopify-event-id", "x-shopify-topic"),
}
"""The header with the id of an event, and one that belongs to it, by scheme; the others tell duplicates by the body."""
PLACES: Final[Mapping[str, str]] = {scheme: f"header:{','.join(names)}" for scheme, names in IDS.items()}
TYPES: Final[Mapping[str, Finder]] = {
    "github": Finder(header="x-github-event"),
    "shopify": Finder(header="x-shopify-topic"),
    "hubspot": Finder(path="subscriptionType"),
    "mandrill": Finder(path="event"),
}
"""Where the kind of an event stands, by scheme."""


class Place:
    """Where a word of an event stands: in a header of its request, or in its body."""

    def __init__(self, finder: Finder) -> None:
        self.header = None if finder.header is None else finder.header.lower().encode()
        self._path = finder.path or ""

    def find(self, request: Request, body: Body) -> str:
        """The word; empty where it is not there or is no single value."""
        if self.header is not None:
            return request.one(self.header).decode("latin-1")
        return _as_text(search(body.parse(), self._path))

    def __str__(self) -> str:
        return f"`{self._path}` of the body" if self.header is None else f"header `{self.header.decode()}`"


class Identity:
    """How the events of one endpoint are told apart, and where their kind stands."""

    def __init__(self, document: EndpointDocument) -> None:
        scheme = _scheme_of(document)
        names = () if document.id is not None else IDS.get(scheme, ())
        self._is_cloud = document.format == "cloudevents"
        self._is_named = document.id is not None
        finder = document.id or (Finder(header=names[0]) if names else None)
        self._place = None if finder is None else Place(finder)
        self._more = tuple(name.encode() for name in names[1:])
        self._text = PLACES.get(scheme, "") if document.id is None else place_of(document.id)
        event, usual = document.event, TYPES.get(scheme)
        self._event = None if event is None else Place(event)
        self._usual = None if usual is None else Place(usual)

    def tell(self, request: Request, body: Body, item: int | None) -> tuple[bytes, str]:
        """What a duplicate has in common with its event, as 32 bytes, and the provider's word for the kind of event.

        Raises IdMissing, WebhookUnreadable.
        """
        place = identity = kind = ""
        if self._is_cloud:
            in_body = item is not None or media_type(request) == STRUCTURED
            identity, kind = identify(request, body.parse() if in_body else None)
            place = CLOUD_EVENT
        if self._is_named or not identity:
            place, identity = self._text, self._find(request, body, item)
        named = self._event or (None if kind else self._usual)
        if named is not None:
            kind = named.find(request, body)
        key = key_of(place, identity) if identity else body.digest
        return key, storable(kind, LONGEST_WORD) if kind else ""

    def _find(self, request: Request, body: Body, item: int | None) -> str:
        """The id of an event; empty where only its body tells it apart."""
        place = self._place
        if place is None:
            return ""
        identity = place.find(request, body)
        if not identity:
            raise IdMissing(f"The event has no id: {place} is missing or empty.", place=str(place))
        for name in self._more:
            identity = f"{identity}\0{request.one(name).decode('latin-1')}"
        if item is not None and place.header is not None:
            # One header for all of them; a list that comes again has them in the same order.
            identity = f"{identity}\0{item}"
        return identity


def place_of(finder: Finder) -> str:
    """Where an id stands, as the keys of events have it."""
    return f"path:{finder.path}" if finder.header is None else f"header:{finder.header.lower()}"


def key_of(place: str, identity: str) -> bytes:
    """What a duplicate has in common with its event, of where its id stands and the id that the provider gave it.

    The place, so that an `id` of the endpoint that was mended meets no ids of the place where it stood before.
    """
    return sha256(f"{place}\0{identity}".encode("utf-8", "surrogatepass")).digest()


def keys_of(delivery: str, documents: Iterable[EndpointDocument]) -> list[bytes]:
    """All keys that an event with this id may have at any of these endpoints, or by the words of the providers."""
    places = {CLOUD_EVENT, *PLACES.values(), *(place_of(one.id) for one in documents if one.id is not None)}
    spellings = {delivery, delivery.replace(" ", "\0", 1)}
    return [key_of(place, identity) for place in places for identity in spellings]


def _scheme_of(document: EndpointDocument) -> str:
    scheme = document.scheme
    return "standard-svix" if getattr(scheme, "headers", "webhook") == "svix" else scheme.type


def _as_text(value: Any) -> str:
    # strict_json tells numbers as texts of their own type.
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else ""

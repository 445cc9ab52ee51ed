"""An endpoint ready to receive: its verifier, and where the id and the kind of its events stand."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from nms.common.document import EndpointDocument
from nms.common.document.handshake import OneHandshake, SigningHandshake
from nms.common.secret import resolve
from nms.inbox.address import whole_url
from nms.inbox.arrival import Arrival, ListRequest, new_event_id, storable
from nms.inbox.check import Request
from nms.inbox.credential import shown_query
from nms.inbox.handshake import HANDSHAKES, Terms
from nms.inbox.header import HIDDEN, lines_of
from nms.inbox.identity import LONGEST_WORD, Identity
from nms.inbox.item import LISTED, Body, bodies_of
from nms.inbox.key import plain_secrets
from nms.inbox.problems import SecretUnfit
from nms.inbox.signed import SignedVerifier
from nms.inbox.verifier import Verifier, make_verifier

CLOSER: Final = frozenset({b"content-encoding", b"x-request-id"})
"""Headers that ask for more than to be stored."""


@dataclass(slots=True)
class Endpoint:
    """One endpoint of the current revision."""

    document: EndpointDocument
    verifier: Verifier
    handshakes: Sequence[tuple[str, Terms]] = ()
    methods: Set[str] = frozenset({"POST"})
    name: str = field(init=False)
    is_straight: bool = field(init=False)
    """Whether a request that comes whole needs nothing but the check of its scheme: no list, limit or handshake."""
    _is_single: bool = field(init=False)
    _largest: int = field(init=False)
    _identity: Identity = field(init=False)

    def __post_init__(self) -> None:
        document = self.document
        self.name, self._largest, self._identity = document.name, document.largest, Identity(document)
        self._is_single = document.items is None and document.format is None and document.scheme.type not in LISTED
        is_free = document.rate is None and document.depth is None and not document.content_types
        is_signed = isinstance(self.verifier, SignedVerifier) and not self.verifier.asks_url
        self.is_straight = self._is_single and is_free and is_signed and not self.handshakes

    @classmethod
    def of(cls, document: EndpointDocument, *, dev: bool) -> "Endpoint":
        """Resolve its secrets; raises SecretMissing, SecretElsewhere, SecretUnfit, SchemeForbidden."""
        references: Sequence[str] = getattr(document.scheme, "secrets", ())
        secrets = [
            resolve(reference, *document.origins_of(number)).get_secret_value()
            for number, reference in enumerate(references)
        ]
        verifier = make_verifier(document.scheme, secrets, dev=dev)
        terms = [(handshake.type, _terms_of(handshake, document, secrets)) for handshake in document.handshakes]
        asked = (HANDSHAKES[handshake.type].methods for handshake in document.handshakes)
        return cls(document, verifier, terms, frozenset({"POST"}).union(*asked))

    def believe(self, headers: Sequence[tuple[bytes, bytes]], body: bytes, arrived: float) -> list[Arrival] | None:
        """The event of a genuine request that came whole to a straight endpoint; None for one to look at closer.

        Raises WebhookUnreadable, IdMissing.
        """
        request = Request("POST", "", headers, arrived)
        if not request.is_plain or len(body) > self._largest or not CLOSER.isdisjoint(request.named):
            return None
        check = self.verifier.check(request)
        check.update(body)
        return self.read(request, body)[0] if check.finish(body) is None else None

    def read(self, request: Request, raw: bytes) -> tuple[list[Arrival], bool]:
        """The events of a request, and whether it brings them as a list.

        Raises WebhookUnreadable, IdMissing, BatchTooLarge.
        """
        if self._is_single:
            return [self._make(request, Body(raw), lines_of(request.headers, self.verifier.hidden))], False
        bodies, is_list = bodies_of(self.document, request, raw)
        lines = lines_of(request.headers, self.verifier.hidden)
        if not is_list:
            return [self._make(request, bodies[0], lines)], False
        url = self._shown_url(request)
        whole = ListRequest(new_event_id(), self.name, request.method, url, lines, raw, request.arrived)
        arrivals = [self._make(request, body, whole.mark, item, is_list=True) for item, body in enumerate(bodies)]
        for one in arrivals:
            one.request = whole
        return arrivals, True

    def _shown_url(self, request: Request) -> str:
        address, _, query = request.url.partition("?")
        for secret in self.verifier.hidden:
            address = address.replace(secret.decode("latin-1"), HIDDEN.decode())
        return storable(whole_url(address, shown_query(query)))

    def _make(self, request: Request, body: Body, lines: bytes, item: int = 0, *, is_list: bool = False) -> Arrival:
        key, kind = self._identity.tell(request, body, item if is_list else None)
        content_type = body.content_type or request.one(b"content-type").decode("latin-1")
        return Arrival(
            new_event_id(),
            self.name,
            key,
            body.digest,
            kind,
            storable(content_type, LONGEST_WORD),
            lines,
            body.raw,
            item,
        )


def _terms_of(handshake: OneHandshake, document: EndpointDocument, secrets: Sequence[str]) -> Terms:
    """What the endpoint has for one of its handshakes: secrets of its own, else those of the scheme."""
    rate = None if document.rate is None else max(1, int(document.rate.limit * 60 / document.rate.per))
    if handshake.reference is None:
        return Terms(secrets, rate)
    own = resolve(handshake.reference, handshake.origin).get_secret_value()
    plain_secrets([own])
    if isinstance(handshake, SigningHandshake) and own in secrets and handshake.type != document.scheme.type:
        raise SecretUnfit(f"The secret of `{handshake.type}` is one of the scheme: who asks would get events signed.")
    return Terms([own], rate)

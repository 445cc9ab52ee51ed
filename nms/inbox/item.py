"""The events of one request: the request itself, or the items of the list that it brings."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from nms.common import strict_json
from nms.common.document import EndpointDocument
from nms.common.search import search
from nms.inbox.check import Refusal, Request
from nms.inbox.cloudevent import BATCH, STRUCTURED, media_type
from nms.inbox.form import read_form
from nms.inbox.problems import BatchTooLarge, WebhookUnreadable

MOST_ITEMS: Final = 1_000
"""Items of one request; HubSpot sends 100 at most, Mandrill 1,000."""
LISTED: Final = frozenset({"hubspot", "mandrill"})
"""Schemes of which a list is a list of events, without a word of the document."""
FORMS: Final[Mapping[str, bytes]] = {"mandrill": b"mandrill_events"}
"""The parameter of a form that has the JSON, by scheme."""
ATTEMPTS: Final[Mapping[str, str]] = {"hubspot": "attemptNumber"}
"""The member of an item that says which try this is, and so differs where the event is the same, by scheme."""


class Body:
    """The bytes of an event, parsed at most once and only when something is looked for in them.

    `content_type` is empty for that of the request.
    """

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.digest = sha256(raw).digest()
        self.content_type = ""
        self._parsed: Any = None
        self._is_parsed = False

    @classmethod
    def of_item(cls, value: Any, attempt: str | None, content_type: str) -> "Body":
        """An item of a list; its digest leaves out which try it is."""
        made = cls(_encode(value))
        made.content_type, made._parsed, made._is_parsed = content_type, value, True
        if attempt is not None and isinstance(value, dict) and attempt in value:
            made.digest = sha256(_encode({name: one for name, one in value.items() if name != attempt})).digest()
        return made

    def parse(self) -> Any:
        """The JSON value of the event; raises WebhookUnreadable."""
        if not self._is_parsed:
            self._parsed = _parse(self.raw)
            self._is_parsed = True
        return self._parsed


def bodies_of(document: EndpointDocument, request: Request, raw: bytes) -> tuple[Sequence[Body], bool]:
    """The events of a request, and whether it brings them as a list; raises WebhookUnreadable, BatchTooLarge."""
    scheme = document.scheme.type
    whole = Body(raw)
    expression, content_type = document.items, "application/json"
    if document.format == "cloudevents":
        if media_type(request) != BATCH:
            return (whole,), False
        expression, content_type = "@", STRUCTURED
    elif expression is None and scheme not in LISTED:
        return (whole,), False
    value = _parse(_json_of(scheme, raw)) if scheme in FORMS else whole.parse()
    found = value if expression is None else search(value, expression)
    if not isinstance(found, list):
        if expression is None:
            return (whole,), False
        raise WebhookUnreadable(f"There is no list at `{expression}` of the body.")
    if len(found) > MOST_ITEMS:
        raise BatchTooLarge(f"At most {MOST_ITEMS} events are taken at once; {len(found)} came.", limit=MOST_ITEMS)
    return [Body.of_item(one, ATTEMPTS.get(scheme), content_type) for one in found], True


def _json_of(scheme: str, raw: bytes) -> bytes:
    wanted = FORMS[scheme]
    try:
        found = [value for name, value in read_form(raw) if name == wanted]
    except Refusal as refusal:
        raise WebhookUnreadable(str(refusal)) from None
    if len(found) != 1:
        raise WebhookUnreadable(f"The form has no parameter `{wanted.decode()}`, or has it more than once.")
    return found[0]


def _parse(raw: bytes) -> Any:
    try:
        return strict_json.parse(raw)
    except ValueError as error:
        raise WebhookUnreadable(f"The body is not JSON that can be read: {error}.") from None


def _encode(value: Any) -> bytes:
    try:
        return strict_json.write(value).encode()
    except UnicodeEncodeError:
        raise WebhookUnreadable("A text of the body has half a character (a lone surrogate).") from None

"""An endpoint ready to receive: its verifier, and where the id and the kind of its events stand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import jmespath

from nms.common import strict_json
from nms.common.document import EndpointDocument, Finder
from nms.common.secret import resolve
from nms.inbox.check import Request
from nms.inbox.problems import IdMissing, WebhookUnreadable
from nms.inbox.verifier import Verifier, make_verifier

LONGEST_TYPE: Final = 200
IDS: Final[Mapping[str, str]] = {
    "standard": "webhook-id",
    "github": "x-github-delivery",
    "shopify": "x-shopify-event-id",
}
"""The header with the id of an event, by scheme; the others tell duplicates by the body."""
TYPES: Final[Mapping[str, str]] = {"github": "x-github-event", "shopify": "x-shopify-topic"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of the current revision."""

    document: EndpointDocument
    verifier: Verifier
    secrets: Sequence[str]

    @classmethod
    def of(cls, document: EndpointDocument, *, dev: bool) -> "Endpoint":
        """Resolve its secrets; raises SecretMissing, SecretUnfit, SchemeForbidden."""
        references: Sequence[str] = getattr(document.scheme, "secrets", ())
        secrets = [resolve(reference).get_secret_value() for reference in references]
        return cls(document, make_verifier(document.scheme, secrets, dev=dev), secrets)

    def key_of(self, request: Request, body: "Body") -> bytes:
        """What a duplicate has in common with its event, as 32 bytes; raises WebhookUnreadable, IdMissing."""
        finder = self.document.id or _header(IDS.get(self._scheme))
        if finder is None:
            return body.digest
        found = body.find(finder, request)
        if not found:
            raise IdMissing(f"The event has no id: {_place(finder)} is missing or empty.", place=_place(finder))
        return sha256(found.encode("utf-8", "surrogatepass")).digest()

    def type_of(self, request: Request, body: "Body") -> str:
        """The provider's word for the kind of event, or nothing; raises WebhookUnreadable."""
        finder = self.document.event or _header(TYPES.get(self._scheme))
        return "" if finder is None else body.find(finder, request)[:LONGEST_TYPE]

    @property
    def _scheme(self) -> str:
        scheme = self.document.scheme
        return "" if getattr(scheme, "headers", "webhook") == "svix" else scheme.type


class Body:
    """The bytes of a request, parsed at most once and only when something is looked for in them."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.digest = sha256(raw).digest()
        self._parsed: Any = None
        self._is_parsed = False

    def find(self, finder: Finder, request: Request) -> str:
        """A word of the event; empty where it is not there or is no single value."""
        if finder.header is not None:
            return _read_header(request, finder.header.lower().encode())
        assert finder.path is not None
        return _as_text(_compiled(finder.path).search(self._parse()))

    def _parse(self) -> Any:
        if not self._is_parsed:
            try:
                self._parsed = strict_json.parse(self.raw)
            except ValueError as error:
                raise WebhookUnreadable(f"The body is not JSON that can be read: {error}.") from None
            self._is_parsed = True
        return self._parsed


@lru_cache(maxsize=1_000)
def _compiled(path: str) -> Any:
    return jmespath.compile(path)


@lru_cache(maxsize=100)
def _header(name: str | None) -> Finder | None:
    return None if name is None else Finder(header=name)


def _read_header(request: Request, wanted: bytes) -> str:
    found = [value for name, value in request.headers if name.lower() == wanted]
    return found[0].decode("latin-1") if len(found) == 1 else ""


def _as_text(value: Any) -> str:
    # strict_json tells numbers as texts of their own type.
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else ""


def _place(finder: Finder) -> str:
    return f"header `{finder.header}`" if finder.header is not None else f"`{finder.path}` of the body"

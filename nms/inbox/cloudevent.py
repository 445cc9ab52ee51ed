"""CloudEvents 1.0 over HTTP: structured, binary and batched; source and id tell an event apart (pure).

Source: github.com/cloudevents/spec, HTTP protocol binding 1.0.2 section 3 and the core specification section 3.1.1.
"""

from typing import Any, Final
from urllib.parse import unquote

from nms.inbox.check import Request
from nms.inbox.problems import WebhookUnreadable

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
_NEEDED: Final = ("specversion", "id", "source", "type")


def media_type(request: Request) -> str:
    """The Content-Type of a request without its parameters, in lower case; empty where there is none."""
    return request.named.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")


def identify(request: Request, value: Any) -> tuple[str, str]:
    """What tells a CloudEvent apart, and its type; raises WebhookUnreadable for what is none.

    `value` is the event as JSON, or None for binary mode, in which headers have the attributes.
    """
    found = _from_headers(request) if value is None else value
    if not isinstance(found, dict):
        raise WebhookUnreadable("A CloudEvent is a JSON object.")
    for name in _NEEDED:
        told = found.get(name)
        # Numbers are texts of a type of their own; every one of these attributes is a text.
        if type(told) is not str or not told:
            raise WebhookUnreadable(f"The CloudEvent has no `{name}`.")
    if found["specversion"] != "1.0":
        raise WebhookUnreadable("Only CloudEvents of version 1.0 are taken.")
    return f"{found['source']}\0{found['id']}", found["type"]


def _from_headers(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.headers:
        low = name.lower()
        if low.startswith(b"ce-"):
            attribute = low[3:].decode("latin-1")
            if attribute in found:
                raise WebhookUnreadable(f"The header `ce-{attribute}` stands there more than once.")
            found[attribute] = unquote(value.decode("latin-1"), errors="replace")
    return found

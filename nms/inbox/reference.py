"""What the OpenAPI document says of the addresses that the receiver answers in front of the framework."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from nms.common.answers import problems
from nms.common.db.problems import DatabaseUnavailable
from nms.common.document.endpoint import EndpointDocument
from nms.common.problem import Problem
from nms.common.rendering import MethodNotAllowed
from nms.inbox.identity import IDS, TYPES
from nms.inbox.limit import CODINGS
from nms.inbox.problems import (
    BatchTooLarge,
    BodyTooLarge,
    CodingRefused,
    ContentTypeRefused,
    EndpointUnknown,
    EndpointUnready,
    IdMissing,
    IdReused,
    InboxBusy,
    NotBelieved,
    TooManyEvents,
    WebhookUnreadable,
)
from nms.inbox.scheme import Signed
from nms.inbox.schemes import KNOWN, STANDARDS

Part = dict[str, Any]
TAG: Final = "webhooks"
READ: Final[tuple[type[Problem], ...]] = (
    WebhookUnreadable, EndpointUnknown, BodyTooLarge, CodingRefused, EndpointUnready,
)  # fmt: skip
"""Problems of any request, whatever its method."""
RECEIVED: Final[tuple[type[Problem], ...]] = (
    *READ, IdMissing, NotBelieved, IdReused, BatchTooLarge, ContentTypeRefused, TooManyEvents, InboxBusy,
    DatabaseUnavailable,
)  # fmt: skip
_CODINGS: Final = tuple(CODINGS.split(", "))
_NAME: Final = EndpointDocument.model_json_schema()["properties"]["name"]
_ID: Final = {"type": "string", "format": "uuid", "examples": ["0199c0de-5a3c-7d10-8f00-6b1f2c3d4e5f"]}
_ONE: Final = {"type": "object", "required": ["id"], "properties": {"id": _ID}}
_MANY: Final = {"type": "object", "required": ["ids"], "properties": {"ids": {"type": "array", "items": _ID}}}
_STORED: Final = {"schema": {"anyOf": [_ONE, _MANY]}}
_TEXT: Final = {"text/plain": {"schema": {"type": "string", "examples": ["1158201444"]}}}
_CLOUD_EVENT: Final = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        **{name: {"type": "string", "minLength": 1} for name in ("id", "source", "type")},
    },
    "examples": [{"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.paid", "data": {"total": 1.5}}],
}
_FORM: Final = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "examples": [{"mandrill_events": '[{"event": "open", "ts": 1}]'}],
}
_BODIES: Final[Mapping[str, Part]] = {
    "application/json": {"schema": {}, "examples": {"one event": {"value": {"customer": {"id": 1, "name": "Ann"}}}}},
    "application/x-www-form-urlencoded": {"schema": _FORM},
    "application/cloudevents+json": {"schema": _CLOUD_EVENT},
    "application/cloudevents-batch+json": {"schema": {"type": "array", "items": _CLOUD_EVENT}},
    "*/*": {"schema": {}},
}


def describe() -> dict[str, Any]:
    """The paths of the receiver as OpenAPI has them, with every answer they may give."""
    return {
        path: {
            method: {
                "tags": [TAG],
                "operationId": f"{make.__name__.strip('_')}_{suffix}",
                "parameters": [*parameters, *make_parameters()],
                **make(),
            }
            for method, make, make_parameters in _METHODS
        }
        for path, suffix, parameters in _PATHS
    }


def _receive() -> Part:
    return {
        "summary": "Receive webhooks",
        "description": (
            "Verified by the scheme of the endpoint while the body comes in, and answered when it is committed: 202 "
            "with the id of what is new, 200 with the first id of what was there already.\n\n"
            "A list is answered with all ids in its order, and stored as a whole or not at all. `/webhook` is the "
            "endpoint named `webhook`; a part of the path behind the name is the secret of the scheme `path`. A "
            "handshake of the endpoint that comes by POST is answered with 200."
        ),
        "requestBody": {"content": dict(_BODIES), "description": "Any bytes; JSON where something is looked for."},
        "responses": {
            "200": {"description": "It was there already; or a handshake", "content": _known()},
            "202": {"description": "Stored", "content": {"application/json": _STORED}},
            **_refused(RECEIVED),
        },
    }


def _shake() -> Part:
    signed = {
        "type": "object",
        "required": ["response_token"],
        "properties": {"response_token": {"type": "string", "examples": ["sha256=IW6H5MoMbTTDQ0nTDyZnQQqa"]}},
    }
    return {
        "summary": "Answer a handshake",
        "description": (
            "Whether the address is ours; anything else is answered with 405, as events come by POST.\n\nMeta asks "
            "with `hub.mode`, `hub.verify_token` and `hub.challenge`, X with `crc_token`, Mailchimp with nothing."
        ),
        "responses": {
            "200": {
                "description": "The challenge (Meta), its signature (X), or nothing (Mailchimp)",
                "content": {**_TEXT, "application/json": {"schema": signed}},
            },
            **_refused((*READ, MethodNotAllowed)),
        },
    }


def _greet() -> Part:
    return {
        "summary": "Answer a handshake without a body",
        "description": "Mandrill and Mailchimp look whether the address is there.",
        "responses": {"200": {"description": "It is there"}, **_refused((*READ, MethodNotAllowed))},
    }


def _allow() -> Part:
    names = {
        "WebHook-Allowed-Origin": "The origin that asked.",
        "WebHook-Allowed-Rate": "Requests a minute that the endpoint takes, or `*`.",
    }
    headers = {name: {"description": told, "schema": {"type": "string"}} for name, told in names.items()}
    return {
        "summary": "Answer the handshake of CloudEvents",
        "description": "Who sends CloudEvents asks whether it may (CloudEvents HTTP Webhook 1.0.2, section 4).",
        "responses": {"200": {"description": "It may", "headers": headers}, **_refused((*READ, MethodNotAllowed))},
    }


def _known() -> Part:
    signed = {
        "type": "object",
        "required": ["plainToken", "encryptedToken"],
        "properties": {name: {"type": "string", "examples": ["qgg8vl"]} for name in ("plainToken", "encryptedToken")},
    }
    return {"application/json": {"schema": {"anyOf": [_ONE, _MANY, signed]}}, **_TEXT}


def _refused(kinds: tuple[type[Problem], ...]) -> Part:
    return {str(status): answer for status, answer in sorted(problems(*kinds).items(), key=lambda one: int(one[0]))}


def _signatures() -> Iterator[Part]:
    """The headers of all schemes that have headers of their own, each with what it is to whom."""
    told: dict[str, list[str]] = {}
    for name, rule in (*KNOWN.items(), *STANDARDS.items()):
        told.setdefault(rule.header, []).append(f"the signature of `{name}`")
        if isinstance(rule, Signed):
            if rule.time is not None and rule.time.header:
                told.setdefault(rule.time.header, []).append(f"the time of `{name}`")
            for header, value in rule.demands.items():
                told.setdefault(header, []).append(f"`{value}` for `{name}`")
    for name, (header, *_) in IDS.items():
        told.setdefault(header, []).append(f"what tells events of `{name}` apart")
    for name, finder in TYPES.items():
        if finder.header is not None:
            told.setdefault(finder.header, []).append(f"the type of events of `{name}`")
    for attribute in ("specversion", "id", "source", "type"):
        told[f"ce-{attribute}"] = [f"`{attribute}` of a CloudEvent in binary mode"]
    yield {**_parameter("content-encoding", "header", "How the body is packed."), "schema": {"enum": [*_CODINGS]}}
    for header, meanings in told.items():
        text = ", ".join(meanings)
        yield _parameter(header, "header", f"{text[0].upper()}{text[1:]}.")


def _questions() -> Iterator[Part]:
    for name in ("hub.mode", "hub.verify_token", "hub.challenge"):
        yield _parameter(name, "query", "Meta's handshake.")
    yield _parameter("crc_token", "query", "X's handshake.")


def _origins() -> Iterator[Part]:
    yield _parameter("WebHook-Request-Origin", "header", "Who would send.")
    yield _parameter("WebHook-Request-Rate", "header", "Requests a minute that it would send.")


def _nothing() -> Iterator[Part]:
    return iter(())


def _parameter(name: str, place: str, told: str, **schema: Any) -> Part:
    required = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, **required, "description": told, "schema": {"type": "string", **schema}}


_METHODS: Final = (
    ("post", _receive, _signatures),
    ("get", _shake, _questions),
    ("head", _greet, _nothing),
    ("options", _allow, _origins),
)
_ENDPOINT: Final = {**_parameter("endpoint", "path", "The name of the endpoint."), "schema": _NAME}
_SECRET: Final = _parameter("secret", "path", "The secret of the scheme `path`.", pattern="^[A-Za-z0-9._~-]+$")
_PATHS: Final = (
    ("/in/{endpoint}", "endpoint", (_ENDPOINT,)),
    ("/in/{endpoint}/{secret}", "endpoint_by_path", (_ENDPOINT, _SECRET)),
    ("/webhook", "webhook", ()),
    ("/webhook/{secret}", "webhook_by_path", (_SECRET,)),
)

"""Fields that no request may bring: what a thing has that its maker does not choose, planted into every write."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI

from tests.docs.openapi import NoExample, example_of

MARK = "planted-5f0e8f7e"
NUMBER = 918_273_645
FOREIGN: dict[str, Any] = {
    "id": NUMBER,
    "revision": NUMBER,
    "author": f"{MARK}-author",
    "created_at": "1987-06-05T04:03:02Z",
    "role": "admin",
    "roles": ["admin"],
    "scopes": ["*"],
    "is_admin": True,
    "password_hash": f"{MARK}-hash",
    "owner": f"{MARK}-owner",
    "state": f"{MARK}-state",
    "version": NUMBER,
    "deleted": True,
    "subject": f"{MARK}-subject",
    "tenant": f"{MARK}-tenant",
    "sequence": NUMBER,
}
"""Each route has some of these for its own; at least 12 are foreign to it."""
TRACES = (MARK, str(NUMBER), "1987-06-05")
"""What is to be found nowhere afterwards."""
WRITES = ("post", "put", "patch", "delete")
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Write:
    """A route that writes, by its OpenAPI document."""

    method: str
    path: str
    document: Mapping[str, Any]

    @property
    def label(self) -> str:
        return f"{self.method.upper()} {self.path}"

    @property
    def operation(self) -> Mapping[str, Any]:
        operation: Mapping[str, Any] = self.document["paths"][self.path][self.method]
        return operation

    @property
    def media(self) -> Mapping[str, Any]:
        """Schemas of the body by content type; empty where the route reads none."""
        content = self.operation.get("requestBody", {}).get("content", {})
        return {kind: each["schema"] for kind, each in content.items() if each.get("schema")}

    def foreign(self) -> dict[str, Any]:
        """The fields that this route knows nothing of."""
        own = {one["name"] for one in self.operation.get("parameters", ())}
        for schema in self.media.values():
            own |= properties_of(schema, self.document).keys()
        return {name: value for name, value in FOREIGN.items() if name not in own}


def writes_of(app: FastAPI) -> Iterator[Write]:
    """Every route of a role that writes, as its own document lists them."""
    document = app.openapi()
    for path, operations in document["paths"].items():
        for method in WRITES:
            if method in operations:
                yield Write(method, path, document)


def properties_of(schema: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """The members of an object, through references and alternatives."""
    if "$ref" in schema:
        return properties_of(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    found = dict(schema.get("properties", {}))
    for part in (*schema.get("anyOf", ()), *schema.get("allOf", ()), *schema.get("oneOf", ())):
        found |= properties_of(part, document)
    return found


def objects_of(schema: Any, document: Mapping[str, Any], seen: set[str]) -> Iterator[Mapping[str, Any]]:
    """Every object with named members that a schema holds at any depth, each once."""
    if isinstance(schema, list):
        for part in schema:
            yield from objects_of(part, document, seen)
    if not isinstance(schema, Mapping):
        return
    if "$ref" in schema and schema["$ref"] not in seen:
        seen.add(schema["$ref"])
        yield from objects_of(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document, seen)
    if "properties" in schema:
        # A condition on members of the object that it stands in has no type.
        if schema.get("type") == "object":
            yield schema
        yield from objects_of(list(schema["properties"].values()), document, seen)
    for name in ("items", "anyOf", "allOf", "oneOf", "additionalProperties"):
        yield from objects_of(schema.get(name), document, seen)


def body_of(write: Write, kind: str, given: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """A request with a body that the route takes, and these fields beside its own."""
    shown = write.operation["requestBody"]["content"][kind].get("examples", {})
    example = given.get(write.label) or next((one["value"] for one in shown.values()), None)
    if example is None:
        # Where no example follows from the schema, every member may be left out.
        with suppress(NoExample):
            example = example_of(write.media[kind], write.document)
    body = {**(example or {}), **extra}
    if kind == FORM:
        return {"content": urlencode(body), "headers": {"Content-Type": FORM}}
    return {"json": body}

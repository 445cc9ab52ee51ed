"""The problems that a route may answer with, as the OpenAPI document tells them.

A route names those of its own in `responses=problems(NotFound, ...)`; `with_problems` adds what follows from its form:
who brings no good token, a path that names nothing, a body or parameter that cannot be read, a database that is away.
"""

from collections.abc import Collection, Iterator
from typing import Any

from nms.common.guard import Forbidden, TokenRefused, Unauthenticated
from nms.common.middleware import ContentTooLarge
from nms.common.paging import CursorRefused
from nms.common.problem import Malformed, NotFound, Problem, Retry, Unavailable
from nms.common.rendering import MEDIA_TYPE, BadRequest

_REFERENCE = {"$ref": "#/components/schemas/Problem"}
_ANY = {"description": "A problem", "content": {MEDIA_TYPE: {"schema": _REFERENCE}}}
_RETRY_AFTER = {"description": "Seconds until the next try.", "schema": {"type": "integer"}}
_ALWAYS_THERE = "process"
"""The tag of what a process answers about itself, whatever is away."""
_OAUTH_FORM = "application/x-www-form-urlencoded"
"""Where nothing but this is taken, the route itself names the problem of one that cannot be read (RFC 6749)."""


def problems(*kinds: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that may answer with these problems; those of one status are told together."""
    answers: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        add_problem(answers, kind.status, kind)
    return answers


def add_problem(answers: dict[Any, Any], status: int | str, kind: type[Problem]) -> None:
    """Tell one more problem among the answers of an operation, under its status."""
    answer = answers.setdefault(status, {"description": "", "content": {}})
    examples = answer["content"].setdefault(MEDIA_TYPE, {"schema": _REFERENCE}).setdefault("examples", {})
    examples[kind.code] = {"summary": kind.title, "value": _example_of(kind)}
    answer["description"] = "; ".join(f"{one['summary']} (`{code}`)" for code, one in examples.items())
    if kind.retry is Retry.LATER:
        answer["headers"] = {"Retry-After": _RETRY_AFTER}


def with_problems(document: dict[str, Any], schema: dict[str, Any], spared: Collection[str] = ()) -> dict[str, Any]:
    """The OpenAPI document with Problem, which has this schema, as the one form of every error.

    Paths that are `spared` tell all of their problems themselves.
    """
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = schema
    for path, operations in document.get("paths", {}).items():
        for operation in operations.values():
            answers = operation.setdefault("responses", {})
            if "HTTPValidationError" in str(answers.get("422", "")):
                del answers["422"]
            for parameter in operation.get("parameters", ()):
                _leave_out_null(parameter)
            for kind in () if path in spared else _problems_of(operation):
                add_problem(answers, str(kind.status), kind)
            answers["default"] = _ANY
    return document


def _leave_out_null(parameter: dict[str, Any]) -> None:
    """A header that may be left out is never null: who reads that would send the word (OpenAPI 3.1, section 4.8.12)."""
    if parameter["in"] != "header" or "anyOf" not in parameter["schema"]:
        return
    schema = parameter["schema"]
    kinds = [kind for kind in schema.pop("anyOf") if kind != {"type": "null"}]
    schema |= kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


def _problems_of(operation: dict[str, Any]) -> Iterator[type[Problem]]:
    """What follows from the form of an operation."""
    if operation.get("security"):
        yield from (Unauthenticated, TokenRefused, Forbidden)
    bodies = operation.get("requestBody", {}).get("content", {}).keys() - {_OAUTH_FORM}
    if bodies:
        yield BadRequest
    if "requestBody" in operation:
        yield ContentTooLarge
    parameters = {parameter["name"]: parameter["in"] for parameter in operation.get("parameters", ())}
    if "path" in parameters.values():
        yield NotFound
    if bodies or parameters:
        yield Malformed
    if "cursor" in parameters:
        yield CursorRefused
    if _ALWAYS_THERE not in operation.get("tags", ()):
        yield Unavailable


def _example_of(kind: type[Problem]) -> dict[str, Any]:
    return {
        "type": f"urn:nms:problem:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": f"{kind.title}.",
        "code": kind.code,
        "retry": kind.retry.value,
        "remedy": kind.remedy,
    }

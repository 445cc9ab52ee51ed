"""How errors leave: every one as `application/problem+json` (RFC 9457), without a stack, SQL, path or secret."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from nms.common import log
from nms.common.problem import NOTHING_HERE, Malformed, NotFound, Pointer, Problem, Retry

MEDIA_TYPE = "application/problem+json"
_LATER: Final[Mapping[int, Mapping[str, str]]] = MappingProxyType({503: {"Retry-After": "1"}})
"""What an answer of a status says where its problem does not know better."""
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_log = logging.getLogger(__name__)


class MethodNotAllowed(Problem):
    """This path exists, but not for this method."""

    status, code, title = 405, "method-not-allowed", "Method not allowed"
    remedy = "Use one of the methods in the Allow header."


class BadRequest(Problem):
    """A body that cannot be read at all: a broken form, text that is not UTF-8."""

    status, code, title = 400, "bad-request", "The body cannot be read"
    remedy = "Send the body in the form that its Content-Type names, in UTF-8."


def render_problem(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The HTTP answer of a problem; `request_id` finds its lines in the log."""
    if problem.status >= 500:
        _log.warning("%s: %s", problem.code, problem.detail, extra={"code": problem.code})
    body = {**problem.to_dict(), "request_id": log.fact("request_id")}
    text = log.redact_values(json.dumps(body, default=str, ensure_ascii=False))
    sent = {**_LATER.get(problem.status, {}), **(headers or {}), **problem.headers}
    if problem.retry is Retry.LATER and "retry_after" in problem.facts:
        sent["Retry-After"] = str(problem.facts["retry_after"])
    return Response(text, problem.status, sent, MEDIA_TYPE)


def render_unforeseen(_request: Request, _error: Exception) -> Response:
    """The answer of an error nobody thought of; what it was stands in the log only."""
    return render_problem(Problem("An error that nobody thought of; it was logged with this request id."))


class Failed:
    """An ASGI app that answers with what went wrong, or raises what nobody foresaw; `headers` are those of a status."""

    def __init__(self, error: Exception, headers: Mapping[int, Mapping[str, str]] = MappingProxyType({})) -> None:
        self._error, self._headers = error, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if not isinstance(self._error, Problem):
            raise self._error
        await render_problem(self._error, self._headers.get(self._error.status))(scope, receive, send)


async def _handle_unforeseen(request: Request, error: Exception) -> Response:
    return render_unforeseen(request, error)


async def _handle_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return render_problem(error)


async def _handle_malformed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    pointers = [_pointer_of(item) for item in error.errors()]
    return render_problem(Malformed("The request does not have the right form.", pointers=pointers))


async def _handle_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, Problem):
        return render_problem(error.__cause__)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return render_problem(MethodNotAllowed("This path has no such method."), {"Allow": _allowed_methods(request)})
    if error.status_code == HTTPStatus.NOT_FOUND:
        return render_problem(NotFound(NOTHING_HERE))
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return render_problem(BadRequest("The body of the request cannot be read."), error.headers)
    return render_problem(_problem_of(error), error.headers)


def _problem_of(error: HTTPException) -> Problem:
    """The problem of an error that a library raised, named by its status."""
    phrase = HTTPStatus(error.status_code).phrase
    problem = type("HttpProblem", (Problem,), {"status": error.status_code, "title": phrase})(f"{phrase}.")
    problem.code = phrase.lower().replace(" ", "-")
    problem.remedy = "Correct the request and send it again."
    assert isinstance(problem, Problem)
    return problem


def _allowed_methods(request: Request) -> str:
    """Every method that some route has for this path; the router itself names only those of the first."""
    routes = request.app.router.routes

    def is_served(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in routes)

    return ", ".join(method for method in _METHODS if is_served(method))


def _pointer_of(item: Mapping[str, Any]) -> Pointer:
    """Where one error of pydantic stands; the input itself is never shown."""
    place, *steps = item["loc"] or ("body",)
    if item["type"] == "json_invalid":
        return Pointer("", "This is not JSON.")
    path = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return Pointer(path, item["msg"], str(place))


HANDLERS: dict[Any, Any] = {
    Problem: _handle_problem,
    HTTPException: _handle_http,
    RequestValidationError: _handle_malformed,
    Exception: _handle_unforeseen,
}

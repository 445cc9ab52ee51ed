"""Routers whose routes ask their guard before anything of a request is read.

FastAPI solves a security dependency like any other one, after it has read and parsed the body, and that costs ten
times what the guard does itself. Here the guard stands before the route's handler (`APIRoute.get_route_handler`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from functools import wraps
from inspect import Parameter, signature
from typing import Any, get_args

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.params import Depends
from fastapi.routing import APIRoute, iter_route_contexts

from nms.common.guard import BEARER, PASSWORD, Caller, Guard
from nms.common.problem import Problem

PUBLIC_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/{asset}"})
"""What every role answers without a token; a role may add its own (`Role.public`)."""

_caller: ContextVar[Caller] = ContextVar("caller")


class UnguardedRoute(Problem):
    """A route asks for no scope and is not on the public list; the role does not start."""

    code, title = "unguarded-route", "A route has no scope"
    remedy = "Give the route `requires(...)`, or put its path on the public list of its role."


class GuardedRoute(APIRoute):
    """A route that asks for at most one scope: in `dependencies=`, or by a parameter that takes the caller."""

    guard: Guard | None

    def __init__(
        self, path: str, endpoint: Callable[..., Any], *, dependencies: Sequence[Depends] | None = None, **options: Any
    ) -> None:
        takers = {parameter.name: guard for parameter, guard in _guarded_parameters(endpoint)}
        others = [one for one in dependencies or () if not isinstance(one.dependency, Guard)]
        guards = [one.dependency for one in dependencies or () if isinstance(one.dependency, Guard)]
        asked = {guard.scope: guard for guard in (*guards, *takers.values())}
        if len(asked) > 1:
            raise ValueError(f"{path} asks for several scopes: {', '.join(sorted(asked))}")
        self.guard = next(iter(asked.values()), None)
        if self.guard is not None:
            ways = [{way: [scope]} for scope in self.guard.scopes for way in (PASSWORD, BEARER)]
            options["openapi_extra"] = {"security": ways, **(options.get("openapi_extra") or {})}
        super().__init__(path, _with_caller(endpoint, tuple(takers)), dependencies=others, **options)

    def get_route_handler(self) -> Any:
        """FastAPI's handler behind the guard."""
        handler, guard = super().get_route_handler(), self.guard
        if guard is None:
            return handler

        async def handle(request: Request) -> Response:
            _caller.set(guard.recall(request.scope) or await guard(request))
            return await handler(request)

        return handle


class Router(APIRouter):
    """An APIRouter of guarded routes; every router of a role is one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"route_class": GuardedRoute, **options})


def _guarded_parameters(endpoint: Callable[..., Any]) -> Iterator[tuple[Parameter, Guard]]:
    for parameter in signature(endpoint).parameters.values():
        for given in (parameter.default, *get_args(parameter.annotation)[1:]):
            if isinstance(given, Depends) and isinstance(given.dependency, Guard):
                yield parameter, given.dependency


def _with_caller(endpoint: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    """The endpoint without the parameters that take the caller, as FastAPI sees it."""
    if not names:
        return endpoint
    seen = signature(endpoint)

    @wraps(endpoint)
    def answer(**values: Any) -> Any:
        for name in names:
            values[name] = _caller.get()
        return endpoint(**values)

    left = [parameter for name, parameter in seen.parameters.items() if name not in names]
    vars(answer)["__signature__"] = seen.replace(parameters=left)
    return answer


def list_scopes(app: FastAPI) -> dict[str, str | None]:
    """Every route of an app as `METHODS path`, with the scope it asks for; `a or b` where either is enough."""
    scopes: dict[str, str | None] = {}
    for context in iter_route_contexts(app.routes):
        path = context.path or repr(context.original_route)
        guard = getattr(context.original_route, "guard", None) or _find_guard(getattr(context, "dependant", None))
        scopes[f"{','.join(sorted(context.methods or ())) or 'ANY'} {path}"] = (
            " or ".join(guard.scopes) if guard else None
        )
    return scopes


def list_unguarded(app: FastAPI, public: Iterable[str] = ()) -> list[str]:
    """Every route of an app, as `METHODS path`, that neither asks for a scope nor stands on the public list."""
    allowed = PUBLIC_PATHS | frozenset(public)
    scopes = list_scopes(app)
    return [route for route, scope in scopes.items() if scope is None and route.partition(" ")[2] not in allowed]


def _find_guard(dependant: Any) -> Guard | None:
    """The guard among dependencies that FastAPI solves: in a plain APIRouter, or deeper down."""
    if dependant is None:
        return None
    if isinstance(dependant.call, Guard):
        return dependant.call
    return next((guard for child in dependant.dependencies if (guard := _find_guard(child))), None)

"""The factory of every role's app: problems, health, readiness, metrics, documentation, guard, lifespan."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel, Field
from starlette.types import ASGIApp

from nms.common import log, metrics, reference, rendering, trust
from nms.common.answers import problems, with_problems
from nms.common.guard import Caller
from nms.common.health import Dependency, NotReady, Readiness
from nms.common.lifecycle import Life, Resource, Work
from nms.common.middleware import Requests
from nms.common.router import Router, UnguardedRoute, list_unguarded
from nms.common.settings import RoleSettings, Settings
from nms.common.shortcut import Shortcut
from nms.common.verifier import Verifier, own_keys

LARGEST_BODY = 8 * 1024 * 1024
DOCUMENTS = 32
"""OpenAPI documents that a role keeps, of as many sets of what callers see."""
NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What one role is made of; its `main.py` writes one of these and nothing else.

    `routers` are included as they are, so each carries its whole prefix. `resources` are entered in order when the
    role starts and left in reverse. `work` is the background work, off with `<ROLE>_WORKER=false`. `public` lists
    paths that need no token beside `router.PUBLIC_PATHS`. `front` puts something before all of this, which answers
    the hottest paths itself; `front_paths` describes them as OpenAPI does, `front_schemas` what they refer to, both
    of the names that `front_seen` gives for a caller; nobody's are none.
    """

    name: str
    summary: str
    description: str
    routers: Sequence[APIRouter] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    dependencies: Mapping[str, Dependency] = field(default_factory=dict)
    resources: Sequence[Resource] = ()
    work: Work | None = None
    public: frozenset[str] = frozenset()
    largest_body: int = LARGEST_BODY
    front: Callable[[FastAPI, Requests], ASGIApp] | None = None
    front_paths: Callable[[FastAPI, frozenset[str]], dict[str, Any]] = lambda *_: {}
    front_schemas: Callable[[FastAPI, frozenset[str]], dict[str, Any]] = lambda *_: {}
    front_seen: Callable[[FastAPI, Caller], frozenset[str]] = lambda *_: NOTHING


class RoleApp(FastAPI):
    """A FastAPI app with our outermost layer and our form of the OpenAPI document."""

    role: Role
    verifier: Verifier
    documents: dict[frozenset[str], dict[str, Any]]

    def build_middleware_stack(self) -> ASGIApp:
        """FastAPI's own stack inside ours, so that an error in any part of it is rendered and counted."""
        inner = super().build_middleware_stack()
        requests = Requests(
            inner, role=self.role.name, largest_body=self.role.largest_body, render=rendering.render_unforeseen
        )
        return requests if self.role.front is None else self.role.front(self, requests)

    @property
    def shortcut(self) -> Shortcut | None:
        """What stands in front, where it may be asked without a call; the app must have begun its life."""
        front: object = self.middleware_stack
        return front if isinstance(front, Shortcut) else None

    def describe(self, caller: Caller | None) -> dict[str, Any]:
        """The document as somebody sees it; None: whoever it is."""
        return self.openapi(NOTHING if caller is None else self.role.front_seen(self, caller))

    def openapi(self, seen: frozenset[str] = NOTHING) -> dict[str, Any]:
        """The document, with problems as the one form of an error and with the ways to log in."""
        found = self.documents.pop(seen, None) or self._describe(seen)
        if len(self.documents) >= DOCUMENTS:
            del self.documents[next(iter(self.documents))]
        self.documents[seen] = found
        return found

    def _describe(self, seen: frozenset[str]) -> dict[str, Any]:
        document, paths = deepcopy(super().openapi()), self.role.front_paths(self, seen)
        document["paths"] = {**paths, **document["paths"]}
        document.setdefault("components", {}).setdefault("schemas", {}).update(self.role.front_schemas(self, seen))
        document = reference.with_logins(document, self._find_login())
        return with_problems(document, reference.PROBLEM, spared=paths.keys())

    def _find_login(self) -> str:
        """Where `/token` of auth is, from the page of this role's reference; as `nms up` mounts them by default."""
        if self.role.name == "auth":
            return "token"
        settings: Settings = self.state.settings
        return f"{settings.auth_url or '../auth'}/token"


def create_app(role: Role, settings: Settings, role_settings: RoleSettings) -> FastAPI:
    """The app of a role. A mounted app gets no lifespan: enter `app.router.lifespan_context(app)` yourself.

    Raises UnguardedRoute when a route asks for no scope and is not public.
    """
    key = settings.signing_key()
    log.configure(debug=settings.debug)
    log.remember_secrets([*settings.secret_values(), key.decode(errors="replace")])
    app = RoleApp(
        title=f"NMS {role.name}",
        summary=role.summary,
        description=role.description,
        version=version("nms"),
        openapi_tags=[{"name": name, "description": text} for name, text in {**role.tags, **_TAGS}.items()],
        generate_unique_id_function=lambda route: route.name,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        exception_handlers=rendering.HANDLERS,
        # To ask at each request whether somebody listens costs 5 us, and exceptions would leave without redaction.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    app.role, app.documents = role, {}
    app.state.settings = settings
    app.state.cursor_secret = key
    app.verifier = Verifier(own_keys(settings), issuer=settings.jwt_issuer, audience=settings.jwt_audience)
    app.state.life = Life((trust.live, *role.resources), role.work if role_settings.worker else None)
    app.state.readiness = Readiness({**role.dependencies, **_own_dependencies(app, settings)})
    for router in (*role.routers, process_router, reference.router):
        app.include_router(router)
    _refuse_unguarded(app)
    return app


def _own_dependencies(app: RoleApp, settings: Settings) -> dict[str, Dependency]:
    own = {}
    if app.state.life.work:
        own["worker"] = Dependency(app.state.life.probe)
    if settings.db_auth_dsn is not None:
        own["trust"] = Dependency(partial(trust.probe, app.verifier), required=False)
    return own


def _refuse_unguarded(app: RoleApp) -> None:
    unguarded = list_unguarded(app, app.role.public)
    if unguarded:
        raise UnguardedRoute(f"No scope is asked for by {'; '.join(unguarded)}.", routes=unguarded)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    life: Life = app.state.life
    async with life.lived(app):
        yield


def stopping(request: Request) -> asyncio.Event:
    """Set as soon as the process is told to stop; an endless answer (SSE) ends then."""
    life: Life = request.app.state.life
    return life.stop


async def address_of(request: Request) -> str:
    """Where a request comes from; behind a proxy the server that runs the app knows (`--forwarded-allow-ips`)."""
    return request.client.host if request.client else ""


class Health(BaseModel):
    """The process answers."""

    status: str = "alive"
    role: str = Field(examples=["auth"])
    version: str = Field(examples=["1.0.0"])


class Ready(BaseModel):
    """The role can do its work; `dependencies` says how each thing it needs looks from here."""

    status: str = "ready"
    role: str = Field(examples=["auth"])
    dependencies: dict[str, Any] = Field({}, examples=[{"database": {"state": "up", "required": True}}])


_TAGS = {"process": "This process: is it alive, is it ready, what has it counted."}
process_router = Router(tags=["process"])


@process_router.get("/healthz", summary="Is the process alive")
async def read_health(request: Request) -> Health:
    """Answers as long as the event loop turns; asks no dependency."""
    return Health(role=request.app.role.name, version=request.app.version)


@process_router.get("/readyz", summary="Is the role ready", responses=problems(NotReady))
async def read_readiness(request: Request) -> Ready:
    """Asks every dependency and answers within 2 seconds; 503 `not-ready` with the same states when one is away."""
    readiness: Readiness = request.app.state.readiness
    return Ready(role=request.app.role.name, dependencies=await readiness.report())


@process_router.get("/metrics", summary="What this role has counted", response_class=Response)
async def read_metrics() -> Response:
    """Prometheus text; with several processes behind one port set PROMETHEUS_MULTIPROC_DIR."""
    return Response(metrics.render(), media_type=metrics.CONTENT_TYPE_LATEST)

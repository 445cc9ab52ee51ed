"""Who is let in where: the scope of every route of every role, and the built-in roles that hold it.

A new route stands here before it is whole: which scope it asks for, and so whom it lets in, is a decision to be seen.
"""

from collections.abc import Iterator

PUBLIC = "public"
"""For these routes no token is asked."""

SCOPES: dict[str, str] = {
    "audit:read": "admin",
    "config:read": "admin operator viewer",
    "config:write": "admin operator",
    "entities:read": "admin operator viewer",
    "entities:write": "admin operator",
    "events:read": "admin operator viewer",
    "events:write": "admin operator",
    "me:read": "admin operator viewer",
    "me:write": "admin operator viewer",
    "pipelines:read": "admin operator viewer",
    "pipelines:write": "admin operator",
    "quarantine:read": "admin operator viewer",
    "quarantine:write": "admin operator",
    "revocations:read": "admin",
    "roles:read": "admin",
    "roles:write": "admin",
    "secrets:write": "admin operator",
    "service-tokens:read": "admin",
    "service-tokens:write": "admin",
    "systems:probe": "admin operator",
    "tasks:read": "admin operator viewer",
    "tasks:write": "admin operator",
    "tokens:introspect": "admin",
    "users:read": "admin",
    "users:write": "admin",
}
"""Every scope that any route asks for, and the built-in roles that allow it."""

_PROCESS = {
    "GET /healthz": PUBLIC,
    "GET /readyz": PUBLIC,
    "GET /metrics": PUBLIC,
    "GET /openapi.json": PUBLIC,
    "GET /docs": PUBLIC,
    "GET /docs/{asset}": PUBLIC,
}
_AUTH = {
    "POST /token": PUBLIC,
    "POST /token/refresh": PUBLIC,
    "POST /token/revoke": PUBLIC,
    "GET /.well-known/jwks.json": PUBLIC,
    "POST /introspect": "tokens:introspect",
    "GET /revocations": "revocations:read",
    "GET /sessions": "me:read",
    "DELETE /sessions/{session}": "me:write",
    "GET /me": "me:read",
    "PUT /me/password": "me:write",
    "GET /users": "users:read",
    "POST /users": "users:write",
    "GET /users/{id}": "users:read",
    "PATCH /users/{id}": "users:write",
    "DELETE /users/{id}": "users:write",
    "GET /roles": "roles:read",
    "POST /roles": "roles:write",
    "GET /roles/{name}": "roles:read",
    "PUT /roles/{name}": "roles:write",
    "DELETE /roles/{name}": "roles:write",
    "GET /service-tokens": "service-tokens:read",
    "POST /service-tokens": "service-tokens:write",
    "GET /service-tokens/{id}": "service-tokens:read",
    "POST /service-tokens/{id}/rotate": "service-tokens:write",
    "DELETE /service-tokens/{id}": "service-tokens:write",
    "GET /audit": "audit:read",
    "GET /claim": PUBLIC,
    "POST /claim": PUBLIC,
}
_CFG = {
    "GET /documents": "config:read",
    "GET /documents/{kind}/{name}": "config:read",
    "PUT /changesets": "config:write",
    "POST /plan": "config:read",
    "POST /plans": "config:write",
    "GET /plans/{plan}": "config:read",
    "POST /plans/{plan}/apply": "config:write",
    "GET /schema": "config:read",
    "GET /schema/{kind}": "config:read",
    "GET /revisions": "config:read",
    "GET /revisions/{revision}": "config:read",
    "GET /audit": "audit:read",
    "GET /revisions/{revision}/diff": "config:read",
    "POST /rollback": "config:write",
    "POST /rollback/plan": "config:read",
    "GET /secrets": "config:read",
    "GET /secrets/{name}": "config:read",
    "PUT /secrets/{name}": "secrets:write",
    "DELETE /secrets/{name}": "secrets:write",
    "GET /watch": "config:read",
    "POST /systems/{name}/probe": "systems:probe",
    "GET /rollouts": "config:read",
    "POST /secrets/rotation": "secrets:write",
}
_SYNC = {
    "GET /pipelines": "pipelines:read",
    "GET /pipelines/{name}": "pipelines:read",
    "POST /pipelines/{name}/pause": "pipelines:write",
    "POST /pipelines/{name}/resume": "pipelines:write",
    "POST /pipelines/{name}/resync": "pipelines:write",
    "POST /pipelines/{name}/run": "pipelines:write",
    "GET /pipelines/{name}/changes": "pipelines:read",
    "GET /pipelines/{name}/changes/{change}": "pipelines:read",
    "GET /pipelines/{name}/quarantine": "quarantine:read",
    "POST /pipelines/{name}/quarantine/replay": "quarantine:write",
    "POST /pipelines/{name}/quarantine/drop": "quarantine:write",
    "GET /conflicts": "pipelines:read",
    "GET /conflicts/{number}": "pipelines:read",
    "POST /conflicts/{number}/resolve": "pipelines:write",
    "GET /tasks": "tasks:read",
    "GET /tasks/{run_id}": "tasks:read",
    "GET /tasks/{run_id}/progress": "tasks:read",
    "POST /tasks/{run_id}/cancel": "tasks:write",
    "POST /tasks/cancel": "tasks:write",
    "POST /tasks/{run_id}/retry": "tasks:write",
}
_INBOX = {
    "GET /events": "events:read",
    "GET /events/{event}": "events:read",
    "GET /requests/{id}": "events:read",
    "GET /quarantine": "events:read",
    "GET /quarantine/counts": "events:read",
    "POST /quarantine/verify": "events:write",
    "GET /quarantine/{id}": "events:read",
    "POST /quarantine/{id}/verify": "events:write",
    "DELETE /quarantine/{id}": "events:write",
    "POST /replays": "events:write",
    "GET /replays": "events:read",
    "GET /tasks": "tasks:read",
    "GET /tasks/{run_id}": "tasks:read",
    "GET /tasks/{run_id}/progress": "tasks:read",
    "POST /tasks/{run_id}/cancel": "tasks:write",
    "POST /tasks/cancel": "tasks:write",
    "POST /tasks/{run_id}/retry": "tasks:write",
}
OWN_RUNS = "tasks:read or entities:read"
"""Who may read an entity follows its exports, and sees no other runs."""
_WAREHOUSE = {
    "GET /entities": "config:read",
    "GET /entities/{name}": "config:read",
    "GET /data": "entities:read",
    "GET /{entity:entity}": "entities:read:{entity}",
    "GET /{entity:entity}/{key:path}": "entities:read:{entity}",
    "POST /sync/{source}": "pipelines:write",
    "GET /sync/{source}": "pipelines:read",
    "GET /tasks": OWN_RUNS,
    "GET /tasks/{run_id}": OWN_RUNS,
    "GET /tasks/{run_id}/progress": OWN_RUNS,
    "POST /tasks/{run_id}/cancel": "tasks:write",
    "POST /tasks/cancel": "tasks:write",
    "POST /tasks/{run_id}/retry": "tasks:write",
    "GET /{entity}/export": "entities:read:{entity}",
    "POST /{entity}/exports": "entities:read:{entity}",
    "GET /exports": "entities:read",
    "GET /exports/{id}": "entities:read",
    "GET /exports/{id}/file": "entities:read",
    "DELETE /exports/{id}": "entities:read",
    "POST /{entity:entity}": "entities:write:{entity}",
    "POST /{entity:entity}/": "entities:write:{entity}",
    "PUT /{entity:entity}/{key:path}": "entities:write:{entity}",
    "PATCH /{entity:entity}/{key:path}": "entities:write:{entity}",
    "DELETE /{entity:entity}/{key:path}": "entities:write:{entity}",
}
HIDDEN = "entities:read:{entity}"
"""Who lacks this scope is told that nothing is there, as everybody is of what the matrix asks for."""
ROUTES: dict[str, dict[str, str]] = {
    "auth": _AUTH | _PROCESS,
    "cfg": _CFG | _PROCESS,
    "inbox": _INBOX | _PROCESS,
    "sync": _SYNC | _PROCESS,
    "warehouse": _WAREHOUSE | _PROCESS,
    "console": _PROCESS,
}
"""The scope that each route of each role asks for."""

_ID = "3f2f0d9e-6a0b-4f6c-8a0e-0c8c9d6f7a10"
MADE_UP = {"session": _ID, "id": _ID, "plan": _ID, "revision": "9", "run_id": "9"}
"""What stands in a path for a thing that nobody has; `nobody` where no form is asked."""

ROLES = ("viewer", "operator", "admin")
STRANGERS = ("nobody", "expired", "logged out", "disabled", "another key")
"""Callers that no route knows, though each but the first brings a token that had been an administrator's."""
SERVICE, OTHER_SERVICE = "service token of the scope", "service token of every other scope"


def scopes_of(role: str) -> set[str]:
    """What a built-in role allows."""
    return {"*"} if role == "admin" else {scope for scope, roles in SCOPES.items() if role in roles.split()}


def plain(scope: str) -> str:
    """The scope that stands for those of all instances, and the first where another one is enough too."""
    return scope.partition(" or ")[0].partition(":{")[0]


def answers_of(scope: str) -> Iterator[tuple[str, int | None]]:
    """Every kind of caller, and how it is refused by a route that asks for this scope; None: it is let in."""
    for caller in STRANGERS:
        yield caller, None if scope == PUBLIC else 401
    for role in ROLES:
        yield role, None if scope == PUBLIC or role in SCOPES[plain(scope)].split() else 403
    if scope != PUBLIC:
        yield SERVICE, None
        yield OTHER_SERVICE, None if scope in (HIDDEN, OWN_RUNS) else 403

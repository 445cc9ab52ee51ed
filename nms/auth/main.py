"""The auth role, composed: `uvicorn nms.auth.main:app --log-config loggers.json`."""

from dataclasses import replace
from functools import partial

from fastapi import FastAPI

from nms.auth.api import audit, claims, passwords, roles, service_tokens, sessions, tokens, users
from nms.auth.password import provide_passwords
from nms.auth.settings import AuthSettings
from nms.auth.tokens import enter_issuer
from nms.auth.worker import run_worker
from nms.common import health, web
from nms.common.db.dsn import DSNType
from nms.common.settings import Settings, get_settings, read_settings
from nms.common.web import Role

LARGEST_BODY = 64 * 1024
"""Strangers may send forms here: none of them needs more."""

ROLE = Role(
    name="auth",
    summary="Users, roles and tokens",
    description="Knows who calls: users, roles and tokens.",
    routers=(
        tokens.router,
        sessions.router,
        passwords.router,
        users.router,
        roles.router,
        service_tokens.router,
        audit.router,
        claims.router,
    ),
    tags={
        "tokens": "Log in, refresh, log out; what a token is worth, and the keys that verify it.",
        "sessions": "Your own logins.",
        "me": "Who you are, and your password.",
        "users": "The people who log in.",
        "roles": "Sets of scopes that users hold together.",
        "service-tokens": "What machines call with.",
        "audit": "What was done and refused, by whom, from where; it is only added to.",
        "claim": "The first start: the form that makes the first administrator, once.",
    },
    dependencies={"database": health.database(DSNType.AUTH)},
    resources=(provide_passwords, enter_issuer),
    public=tokens.PUBLIC | claims.PUBLIC,
    largest_body=LARGEST_BODY,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app of this role; without settings those of the process. `AUTH_WORKER=false` makes it API only."""
    settings = settings or get_settings()
    role = replace(ROLE, work=partial(run_worker, settings))
    return web.create_app(role, settings, read_settings(AuthSettings))


app = create_app()

"""The cfg role, composed: `uvicorn nms.cfg.main:app --log-config loggers.json`."""

from fastapi import FastAPI

from nms.cfg.api import audit, documents, plans, probes, revisions, rollouts, secrets, watch
from nms.cfg.api.door import Attempts
from nms.cfg.settings import CfgSettings
from nms.cfg.stream import enter_watching
from nms.common import health, web
from nms.common.db.dsn import DSNType
from nms.common.settings import Settings, get_settings, read_settings
from nms.common.web import Role

ROLE = Role(
    name="cfg",
    summary="Systems, pipelines, endpoints, entities and secrets: declared, versioned",
    description="Keeps what is declared: systems, pipelines, endpoints, entities and secrets, each change a revision.",
    routers=(
        documents.router,
        plans.router,
        revisions.router,
        secrets.router,
        watch.router,
        rollouts.router,
        probes.router,
        audit.router,
    ),
    tags={
        "documents": "What is declared, as validated documents.",
        "plans": "What a changeset would do, kept until it is carried out.",
        "revisions": "What was stored when, and by whom.",
        "secrets": "What systems and endpoints log in with: it goes in and never comes out.",
        "watch": "What becomes of documents, as it happens.",
        "systems": "Whether what is declared answers.",
        "rollouts": "Which process runs which revision.",
        "audit": "Who did or tried what, why and from where; it is only added to.",
    },
    dependencies={"database": health.database(DSNType.NMS)},
    resources=(enter_watching,),
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app of this role; without settings those of the process."""
    app = web.create_app(ROLE, settings or get_settings(), read_settings(CfgSettings))
    app.state.attempts = Attempts()
    return app


app = create_app()

"""Documents over HTTP: read them, plan and apply changesets."""

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Response

from nms.cfg.api.door import Router
from nms.cfg.condition import TAGGED, Tags, tag_of
from nms.cfg.documents import apply_changeset, get_document, plan_changeset
from nms.cfg.models import ChangesetBody, KindName
from nms.cfg.probe import list_subjects, probe_guarded
from nms.cfg.problems import ProbesSpent, RevisionMoved, RevisionUnmatched
from nms.cfg.repository import DocumentRepository
from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.document import KINDS, json_schema
from nms.common.guard import Caller, Forbidden, requires
from nms.common.paging import Page, Paging
from nms.common.problem import NotFound

router = Router(tags=["documents"])

Repository = Annotated[DocumentRepository, Depends(get_db_repository(DocumentRepository))]
OfKind = Annotated[KindName | None, Query(description="Only documents of this kind.")]
Kind = Annotated[str, Path(pattern="^[a-z]+$", max_length=40)]
Name = Annotated[str, Path(pattern="^[a-z][a-z0-9_-]*$", max_length=40)]
READ, WRITE = "config:read", "config:write"
PROBE = "look at the systems that it touches, too, as they would stand; needs `config:write` and `systems:probe`"


@router.get("/documents", dependencies=[requires(READ)], responses=TAGGED)
async def list_documents(
    response: Response,
    repository: Repository,
    paging: Paging,
    kind: OfKind = None,
) -> Page[Any]:
    """The current documents by kind and name."""
    # Read before the documents: a tag that is older than they are is refused, a newer one would not be.
    response.headers["ETag"] = tag_of(await repository.get_current_revision())
    rows = await repository.page_documents(kind, paging.after, paging.size)
    return paging.page(rows, key=lambda row: (row.kind, row.name), show=lambda row: row.to_dict())


@router.get("/documents/{kind}/{name}", dependencies=[requires(READ)], responses=TAGGED)
async def read_document(response: Response, repository: Repository, kind: Kind, name: Name) -> dict[str, Any]:
    """One current document with the revision that changed it last."""
    document, newest = await get_document(repository, kind, name)
    response.headers["ETag"] = tag_of(newest)
    return document.to_dict()


@router.put("/changesets", responses=TAGGED | problems(RevisionMoved, RevisionUnmatched))
async def apply(
    body: ChangesetBody,
    response: Response,
    repository: Repository,
    tags: Tags,
    caller: Annotated[Caller, requires(WRITE)],
) -> Any:
    """Store many documents as one revision, all or nothing; the same ones again change nothing."""
    done = await apply_changeset(repository, body.changeset(caller.subject, tags))
    response.headers["ETag"] = tag_of(done.revision)
    return done.to_dict()


@router.post("/plan", responses=TAGGED | problems(RevisionMoved, RevisionUnmatched, ProbesSpent))
async def plan(
    body: ChangesetBody,
    response: Response,
    repository: Repository,
    tags: Tags,
    caller: Annotated[Caller, requires(READ)],
    *,
    probe: Annotated[bool, Query(description=PROBE)] = False,
) -> dict[str, Any]:
    """What a changeset would add, change and remove; nothing is stored."""
    for scope in (WRITE, "systems:probe") if probe else ():
        if not caller.may(scope):
            # Logins are sent to where these documents say, as if they were applied.
            raise Forbidden(scope)
    drawn = await plan_changeset(repository, body.changeset("plan", tags))
    response.headers["ETag"] = tag_of(drawn.revision)
    if not probe:
        return drawn.to_dict()
    probes = await probe_guarded(repository, list_subjects(drawn), caller.name)
    return {**drawn.to_dict(), "probes": [each.to_dict() for each in probes]}


@router.get("/schema", dependencies=[requires(READ)])
async def read_schema() -> dict[str, Any]:
    """JSON Schema of one document."""
    return json_schema()


@router.get("/schema/{kind}", dependencies=[requires(READ)])
async def read_kind(kind: Kind) -> dict[str, Any]:
    """JSON Schema of the documents of one kind."""
    if kind not in KINDS:
        raise NotFound(f"There is no kind {kind} of documents; there are {', '.join(KINDS)}.", kind=kind)
    return json_schema(kind)

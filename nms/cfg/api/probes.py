"""Probes over HTTP."""

from typing import Annotated, Any

from fastapi import Depends, Path

from nms.cfg.api.door import Router
from nms.cfg.probe import probe_system
from nms.cfg.problems import ProbesSpent
from nms.cfg.repository import DocumentRepository
from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.guard import Caller, requires

router = Router(tags=["systems"])

Repository = Annotated[DocumentRepository, Depends(get_db_repository(DocumentRepository))]
Name = Annotated[str, Path(pattern="^[a-z][a-z0-9_-]*$", max_length=40)]


@router.post("/systems/{name}/probe", responses=problems(ProbesSpent))
async def probe(
    repository: Repository, name: Name, caller: Annotated[Caller, requires("systems:probe")]
) -> dict[str, Any]:
    """Whether a stored system answers, lets us in, and has what its pipelines need, in the words of `nms doctor`.

    Nothing is changed there. It takes at most CFG_PROBE_SECONDS, stays within EGRESS_ALLOW, and is noted in the audit.
    """
    return (await probe_system(repository, name, caller.name)).to_dict()

"""Records over HTTP, written: create, replace, patch, delete.

The key of a record stands in the path as it was sent, so that a text may hold whatever a path may not.
"""

from typing import Annotated, Final, Literal

from fastapi import Depends, Query, Request
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.responses import Response

from nms.common.db.repositories import get_db_repository
from nms.common.document import EntityDocument
from nms.common.document.entity import OWN_PATHS
from nms.common.guard import Caller, requires
from nms.common.idempotency import Once
from nms.common.middleware import ContentTooLarge
from nms.common.problem import NOTHING_HERE, Malformed, NotFound, Pointer
from nms.common.rendering import MethodNotAllowed
from nms.common.router import Router
from nms.warehouse.condition import Conditions
from nms.warehouse.entities import Served
from nms.warehouse.problems import MediaTypeRefused
from nms.warehouse.record import Key, read_body
from nms.warehouse.records import Order, create_record, delete_record, patch_record, replace_record
from nms.warehouse.repository import RecordRepository
from nms.warehouse.value import read_key

router = Router(include_in_schema=False)

LARGEST_RECORD: Final = 1 << 20
"""Bytes of a record as a caller sends it."""
Repository = Annotated[RecordRepository, Depends(get_db_repository(RecordRepository))]
READ = requires("entities:read:{entity}", seen_by="entities:read:{entity}")
WRITE = requires("entities:write:{entity}", seen_by="entities:read:{entity}")
_JSON: Final = frozenset({"", "application/json"})
_PATCH: Final = _JSON | {"application/merge-patch+json"}
_READING: Final = "GET, HEAD"


class _EntityName(StringConvertor):
    """The first part of a path that may be an entity: none of the warehouse's own."""

    regex = rf"(?!(?:{'|'.join(sorted(OWN_PATHS))}|openapi\.json)(?:/|$))[^/]+"


register_url_convertor("entity", _EntityName())


class Sent:
    """A write as it was sent: to which entity, by whom, with what."""

    def __init__(self, request: Request, entity: Served, *, lineage: bool) -> None:
        self.request, self.document = request, entity.document
        self._build, self._lineage = entity.build, lineage

    def key(self) -> Key:
        """The key in the path; raises NotFound, Malformed, MethodNotAllowed."""
        path = self.request.scope["raw_path"].decode("latin-1").partition("?")[0]
        parts = path.removeprefix(self.request.scope.get("root_path", "")).removesuffix("/").split("/")
        if len(parts) == 4 and parts[3] in self.document.children:
            raise _read_only(self.document)
        if len(parts) != 3:
            raise NotFound(NOTHING_HERE)
        key = tuple(read_key(self.document, parts[2]))
        if not all(key):
            told = Pointer("/key", "a key is not empty", "path")
            raise Malformed("The path names no record.", pointers=[told])
        return key

    async def body(self, kinds: frozenset[str] = _JSON) -> bytes:
        """The bytes of the record; raises MediaTypeRefused, ContentTooLarge."""
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in kinds:
            raise MediaTypeRefused("This Content-Type is no record's.", taken=sorted(kinds - {""}))
        body = await self.request.body()
        if len(body) > LARGEST_RECORD:
            raise ContentTooLarge(f"A record has at most {LARGEST_RECORD} bytes.", limit=LARGEST_RECORD)
        return body

    def order(self, caller: Caller, body: bytes = b"") -> Order:
        """What is asked for; raises Malformed."""
        state, root = self.request.app.state, self.request.scope.get("root_path", "")
        writing = state.writings.of(self.document, self._build)
        is_reader = caller.may(f"entities:read:{self.document.name}")
        once = Once.of(self.request, caller, body)
        return Order(self.document, writing, Conditions.of(self.request), once, is_reader, self._lineage, root)


async def read_sent(request: Request, entity: str, lineage: Annotated[Literal["0", "1"], Query()] = "0") -> Sent:
    """The dependency behind `Write`; raises NotFound, MethodNotAllowed."""
    found = request.app.state.entities.get(entity)
    if found is None:
        raise NotFound(NOTHING_HERE)
    if not found.document.writable:
        raise _read_only(found.document)
    return Sent(request, found, lineage=lineage == "1")


Write = Annotated[Sent, Depends(read_sent)]


@router.post("/{entity:entity}", summary="Create a record")
@router.post("/{entity:entity}/", summary="Create a record")
async def create(sent: Write, repository: Repository, caller: Caller = WRITE) -> Response:
    """A record that was not there; where its key can be made it may be left out."""
    body = await sent.body()
    return (await create_record(repository, sent.order(caller, body), read_body(body))).response()


@router.put("/{entity:entity}/{key:path}", summary="Replace a record")
async def replace(sent: Write, repository: Repository, caller: Caller = WRITE) -> Response:
    """The record under this key is this one from now on, whether or not there was one."""
    body, key = await sent.body(), sent.key()
    return (await replace_record(repository, sent.order(caller, body), key, read_body(body))).response()


@router.patch("/{entity:entity}/{key:path}", summary="Change a record")
async def patch(sent: Write, repository: Repository, caller: Caller = WRITE) -> Response:
    """A merge patch (RFC 7396): what it names changes, null takes away, everything else stays."""
    body, key = await sent.body(_PATCH), sent.key()
    return (await patch_record(repository, sent.order(caller, body), key, read_body(body))).response()


@router.delete("/{entity:entity}/{key:path}", summary="Delete a record")
async def delete(sent: Write, repository: Repository, caller: Caller = WRITE) -> Response:
    """The record goes; the feed tells it."""
    return (await delete_record(repository, sent.order(caller), sent.key())).response()


@router.get("/{entity:entity}", dependencies=[READ])
@router.head("/{entity:entity}", dependencies=[READ])
@router.get("/{entity:entity}/{key:path}", dependencies=[READ])
@router.head("/{entity:entity}/{key:path}", dependencies=[READ])
async def read_in_front() -> None:
    """Nobody comes here: `front` answers before. It stands here for whoever asks which methods a path has."""
    raise NotFound(NOTHING_HERE)


def _read_only(document: EntityDocument) -> MethodNotAllowed:
    problem = MethodNotAllowed(f"Records of {document.name} are not written over REST.")
    problem.headers = {"Allow": _READING}
    return problem

"""Exports over HTTP: streamed as they are read, or ordered and fetched."""

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request, Response, status
from starlette.responses import FileResponse

from nms.common.answers import problems
from nms.common.db.repositories import get_db_repository
from nms.common.document.entity import ENTITY_NAME
from nms.common.guard import Caller, requires
from nms.common.paging import Page, Paging
from nms.common.problem import NOTHING_HERE, NotFound
from nms.common.router import Router
from nms.common.run import RunExists
from nms.common.web import stopping
from nms.warehouse.entities import Entities, Served
from nms.warehouse.export import find_export, find_file, forget_export, list_exports, order_export
from nms.warehouse.extract import Asked, read_extract
from nms.warehouse.feed import find_place
from nms.warehouse.format import Compression, Format
from nms.warehouse.models import Export
from nms.warehouse.page import split_query
from nms.warehouse.problems import ExportBudgetSpent, ExportElsewhere, ExportNotReady, ExportsBusy
from nms.warehouse.repository import ExportRepository, FeedRepository
from nms.warehouse.stream import ExportStream, media_type

router = Router(tags=["exports"])
"""Stands in front of the routes of records: `export` is no key there."""

Repository = Annotated[ExportRepository, Depends(get_db_repository(ExportRepository))]
Feed = Annotated[FeedRepository, Depends(get_db_repository(FeedRepository))]
EntityName = Annotated[str, Path(pattern=f"^{ENTITY_NAME}$", description="The name of the entity.")]
Identity = Annotated[int, Path(alias="id", ge=1, le=2**63 - 1, description="The id of the export.")]
OF = requires("entities:read:{entity}", seen_by="entities:read:{entity}")
ANY = requires("entities:read", of_any=True)
OWN = frozenset({"format", "compression"})
FormatWanted = Annotated[Format, Query(alias="format", description="What the records are written as.")]
CompressionWanted = Annotated[
    Compression | None,
    Query(description="What the file is packed with: `none` when left out, and `zstd` inside of a Parquet file."),
]
_FILE: Any = {
    200: {
        "description": "The file; its closing record tells rows and hash, and a file without one was cut.",
        "content": {name: {} for name in ("application/x-ndjson", "text/csv", "application/vnd.apache.parquet")},
    }
}


def find_built(request: Request, name: str) -> Served:
    """An entity that is built; raises NotFound."""
    entities: Entities = request.app.state.entities
    found = entities.get(name)
    if found is None:
        raise NotFound(NOTHING_HERE)
    return found


async def read_asked(
    request: Request,
    entity: EntityName,
    format_: FormatWanted = Format.NDJSON,
    compression: CompressionWanted = None,
) -> Asked:
    """What a request asks for; the rest of its parameters chooses records, as those of a list do."""
    given = split_query(request.scope["query_string"])
    items = tuple(one for one in given.items if one[0] not in OWN)
    if given.cursor is not None:
        items = (*items, ("cursor", given.cursor))
    usual = Compression.ZSTD if format_ is Format.PARQUET else Compression.NONE
    return Asked(entity, items, format_, usual if compression is None else compression)


Wanted = Annotated[Asked, Depends(read_asked)]


@router.get(
    "/{entity}/export",
    dependencies=[OF],
    summary="Export records",
    response_class=Response,
    responses={**_FILE, **problems(ExportsBusy, NotFound)},
)
async def stream_export(request: Request, repository: Feed, wanted: Wanted) -> Response:
    """All records that match, of one snapshot, in the order of `sort`, else of the key; `fields` says which of theirs.

    Takes `filter`, `sort`, `fields`, `q` and conditions as the list does, and no page. Only as much is read as the
    caller takes.
    """
    extract = read_extract(find_built(request, wanted.entity), wanted)
    sequence = await find_place(repository, request.app.state.entities)
    return ExportStream(extract, sequence, request.app.state.streams, stopping(request))


@router.post(
    "/{entity}/exports",
    dependencies=[OF],
    status_code=status.HTTP_202_ACCEPTED,
    summary="Order an export",
    responses=problems(RunExists, ExportBudgetSpent, NotFound),
)
async def start_export(
    request: Request, response: Response, repository: Repository, wanted: Wanted, caller: Caller = OF
) -> Export:
    """The same as a run that writes a file: `Location` is the run, `/exports/{id}/file` the file, kept some days."""
    read_extract(find_built(request, wanted.entity), wanted)
    store, keep = request.app.state.exporting
    store.check_room()
    export = await order_export(repository, wanted, caller, keep)
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/tasks/{export.id}"
    return export


@router.get("/exports", summary="List ordered exports, newest first")
async def list_ordered(
    repository: Repository,
    paging: Paging,
    entity: Annotated[str | None, Query(max_length=100, description="Only of this entity.")] = None,
    caller: Caller = ANY,
) -> Page[Export]:
    """Exports of the entities that the caller may read."""
    before = paging.after[0] if paging.after else None
    rows = await list_exports(repository, caller, entity, (before, paging.size))
    return paging.page(rows, key=lambda one: [one.id])


@router.get("/exports/{id}", summary="Read one ordered export", responses=problems(NotFound))
async def read_export(repository: Repository, id_: Identity, caller: Caller = ANY) -> Export:
    """How far it is; rows, hash and size of its file, and until when it is kept."""
    return await find_export(repository, id_, caller)


@router.get(
    "/exports/{id}/file",
    summary="Fetch the file of an export",
    response_class=FileResponse,
    responses={**_FILE, **problems(NotFound, ExportNotReady, ExportElsewhere)},
)
async def read_file(request: Request, repository: Repository, id_: Identity, caller: Caller = ANY) -> FileResponse:
    """The file, or the part of it that `Range` asks for."""
    export = await find_export(repository, id_, caller)
    store, _ = request.app.state.exporting
    path = find_file(store, export)
    return FileResponse(path, media_type=media_type(export.format, export.compression), filename=export.file)


@router.delete(
    "/exports/{id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Delete an ordered export",
    responses=problems(NotFound),
)
async def delete_export(request: Request, repository: Repository, id_: Identity, caller: Caller = ANY) -> None:
    """Its run is cancelled where it has not ended, and its file goes."""
    store, _ = request.app.state.exporting
    await forget_export(repository, store, await find_export(repository, id_, caller), caller)

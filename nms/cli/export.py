"""`nms export`: the stored documents as YAML."""

import sys
from typing import Annotated, Any

import typer

from nms.cfg.documents import get_document
from nms.cfg.models import StoredDocument
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import write_text
from nms.cli import output
from nms.cli.command import command
from nms.common.document import parse_document, short_form
from nms.common.problem import Malformed


@command
async def export(
    *,
    kind: Annotated[str | None, typer.Option(help="Only documents of this kind: system or pipeline.")] = None,
    name: Annotated[str | None, typer.Option(help="Only the documents of this name.")] = None,
) -> None:
    """Print the current documents as YAML, or as JSON; applying what is printed changes nothing."""
    repository = await DocumentRepository.open()
    if kind is not None and name is not None:
        stored = [await get_document(repository, kind, name)]
    else:
        stored = await repository.list_documents(kind, name)
    bodies = [_shorten(each) for each in sorted(stored, key=lambda each: each.kind != "system")]
    if output.is_json():
        output.print_json(bodies)
        return
    sys.stdout.write(write_text(bodies))
    sys.stdout.flush()


def _shorten(stored: StoredDocument) -> dict[str, Any]:
    """What this version cannot read is printed as it is stored."""
    try:
        return short_form(parse_document(dict(stored.body)))
    except Malformed:
        return dict(stored.body)

"""`nms revisions`, `nms diff`, `nms rollback`: what was stored when, how it differs, and the way back."""

from typing import Annotated

import typer

from nms.cfg.models import Rollback
from nms.cfg.repository import DocumentRepository
from nms.cfg.revisions import get_difference, plan_rollback, roll_back
from nms.cli import output
from nms.cli.apply import show_applied
from nms.cli.command import command
from nms.cli.plan import Message, show_differences
from nms.common.operator import login_name
from nms.sync.pipeline import adopt

LARGEST = (1 << 63) - 1
COLUMNS = ("id", "created_at", "author", "message")


@command
async def revisions(
    *,
    limit: Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=10_000)] = 20,
    before: Annotated[int | None, typer.Option(help="Only those older than this one.", min=1, max=LARGEST)] = None,
) -> None:
    """List the revisions, the newest first: when, by whom, why."""
    found = await (await DocumentRepository.open()).list_revisions(before, limit + 1)
    rows = [each.to_dict() for each in found[:limit]]
    output.show_rows(rows, COLUMNS, empty="Nothing has been stored yet.")
    if len(found) > limit:
        output.tell(f"There are more; `--before {found[limit - 1].id}` shows the next ones.")


@command
async def diff(
    revision: Annotated[int, typer.Argument(metavar="REVISION", help="0 is before the first.", min=0, max=LARGEST)],
    to: Annotated[
        int | None, typer.Argument(metavar="[TO]", help="The current one when left out.", min=0, max=LARGEST)
    ] = None,
) -> None:
    """Show what makes one revision of another, document by document and field by field."""
    after, differences = await get_difference(await DocumentRepository.open(), revision, to)
    if output.is_json():
        told = [each.to_dict() for each in differences]
        output.print_json({"revision": revision, "to": after, "differences": told})
        return
    show_differences(differences)
    if not differences:
        output.say(f"Revisions {revision} and {after} have the same documents.")


@command
async def rollback(
    revision: Annotated[
        int, typer.Argument(metavar="REVISION", help="Whose documents are to hold again.", min=1, max=LARGEST)
    ],
    *,
    base: Annotated[
        int | None, typer.Option(help="Refuse when the current revision is another one than this.", min=0)
    ] = None,
    message: Message = "",
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done, and store nothing.")] = False,
) -> None:
    """Store a new revision whose documents are those of an old one, all or nothing; history stays as it is."""
    repository = await DocumentRepository.open()
    wanted = Rollback(revision, base, message, login_name())
    if not plan:
        show_applied(await roll_back(repository, wanted), await adopt(repository))
        return
    drawn = await plan_rollback(repository, wanted)
    if output.is_json():
        output.print_json(drawn.to_dict())
        return
    show_differences(drawn.differences)
    if not drawn.differences:
        output.say(f"Nothing would change; revision {drawn.revision} has the same documents.")

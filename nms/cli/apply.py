"""`nms apply`: store documents as a new revision and let the pipelines follow it."""

import getpass
from typing import Annotated

import typer

from nms.cfg.documents import apply_changeset
from nms.cfg.models import Changeset, Plan
from nms.cfg.repository import DocumentRepository
from nms.cli import output
from nms.cli.command import command
from nms.cli.plan import Files, Prune, read_files, show_differences
from nms.sync.pipeline import adopt


@command
async def apply(
    file: Files,
    *,
    base: Annotated[
        int | None, typer.Option(help="Refuse when the current revision is another one than this.", min=0)
    ] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="Why; kept with the revision.")] = "",
    prune: Prune = False,
) -> None:
    """Store documents as one revision, all or nothing, and start, change or end the pipelines they speak of.

    Applying the same documents again changes nothing, and starts what an interrupted apply left behind.
    """
    drafts = read_files(file)
    repository = await DocumentRepository.open()
    changeset = Changeset(drafts, base=base, prune=prune, message=message, author=name_operator())
    plan = await apply_changeset(repository, changeset)
    show_applied(plan, await adopt(repository))


def show_applied(plan: Plan, moved: list[str]) -> None:
    """Print what was stored, and the pipelines that follow it."""
    if output.is_json():
        output.print_json({**plan.to_dict(), "pipelines": moved})
        return
    show_differences(plan.differences)
    output.say(f"Revision {plan.revision} {'is stored' if plan.differences else 'has it all already'}.")
    if moved:
        output.say(f"On their way: {', '.join(moved)}; `nms pipelines` shows how far they are.")


def name_operator() -> str:
    """Who stands behind a revision that is stored from here."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"

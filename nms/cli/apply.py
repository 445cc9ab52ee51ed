"""`nms apply`: store documents as a new revision and let the pipelines follow it."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from nms.cfg.documents import apply_changeset
from nms.cfg.models import Changeset, Plan
from nms.cfg.plans import apply_plan
from nms.cfg.repository import DocumentRepository
from nms.cli import output
from nms.cli.command import command
from nms.cli.plan import FILES, Message, Prune, read_files, show_differences
from nms.common.operator import login_name
from nms.sync.pipeline import adopt


@command
async def apply(
    file: Annotated[list[Path] | None, FILES] = None,
    *,
    plan: Annotated[
        UUID | None, typer.Option("--plan", help="Carry out a plan that `nms plan --keep` kept, as it was told, once.")
    ] = None,
    base: Annotated[
        int | None, typer.Option(help="Refuse when the current revision is another one than this.", min=0)
    ] = None,
    message: Message = "",
    prune: Prune = False,
) -> None:
    """Store documents as one revision, all or nothing, and start, change or end the pipelines they speak of.

    Applying the same documents again changes nothing, and starts what an interrupted apply left behind.
    """
    if (plan is None) == (not file):
        raise typer.BadParameter("Name what to apply, either by `--file` or by `--plan`.")
    if plan is not None and (prune or message or base is not None):
        raise typer.BadParameter("A plan has its base, its message and what it removes: leave those options out.")
    repository = await DocumentRepository.open()
    if plan is not None:
        done = await apply_plan(repository, plan, login_name())
    else:
        changeset = Changeset(read_files(file or ()), base, prune, message, login_name())
        done = await apply_changeset(repository, changeset)
    show_applied(done, await adopt(repository))


def show_applied(plan: Plan, moved: list[str]) -> None:
    """Print what was stored, and the pipelines that follow it."""
    if output.is_json():
        output.print_json({**plan.to_dict(), "pipelines": moved})
        return
    show_differences(plan.differences)
    output.say(f"Revision {plan.revision} {'is stored' if plan.differences else 'has it all already'}.")
    if moved:
        output.say(f"On their way: {', '.join(moved)}; `nms pipelines` shows how far they are.")

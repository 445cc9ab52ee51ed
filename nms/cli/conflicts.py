"""`nms conflicts`: records that both sides of a pipeline changed, to list, to show, to decide."""

from typing import Annotated, Any, Literal

import typer

from nms.cli import output
from nms.cli.command import command
from nms.cli.main import new_app
from nms.sync.conflict import get_conflict, list_conflicts
from nms.sync.conflict import resolve as resolve_conflict
from nms.sync.models import Conflicted, ConflictState, Resolution
from nms.sync.repository import SyncRepository

app = new_app(help="List, show and decide conflicts of two-way pipelines.")
COLUMNS = ("id", "pipeline", "dataset", "key", "kind", "state", "outcome", "fields", "updated_at")

Number = Annotated[int, typer.Argument(metavar="CONFLICT", help="The number of a conflict.", min=1)]


@app.command("list")
@command
async def list_(
    pipeline: Annotated[str | None, typer.Argument(metavar="[PIPELINE]", help="Only those of this pipeline.")] = None,
    *,
    state: Annotated[ConflictState | None, typer.Option(help="Only conflicts in this state.")] = None,
    limit: Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=10_000)] = 100,
    before: Annotated[int | None, typer.Option(help="Only those older than the one of this number.", min=1)] = None,
) -> None:
    """List conflicts, the newest first: those that wait for somebody, and the log."""
    repository = await SyncRepository.open()
    found = await list_conflicts(repository, (pipeline, state), before, limit + 1)
    shown = found[:limit]
    if output.is_json():
        output.print_json([one.model_dump(mode="json") for one in shown])
        return
    output.show_rows([_row(one) for one in shown], COLUMNS, empty="There is no such conflict.")
    if len(found) > limit:
        output.tell(f"There are more; `--before {shown[-1].id}` shows the next ones.")


@app.command("show")
@command
async def show(conflict: Number) -> None:
    """Show what both sides had, and what came of it."""
    found = await get_conflict(await SyncRepository.open(), conflict)
    if output.is_json():
        output.print_json(found.model_dump(mode="json"))
    else:
        output.show_record(_row(found))


@app.command("resolve")
@command
async def resolve(
    conflict: Number,
    *,
    take: Annotated[
        Literal["source", "target"] | None, typer.Option(help="The side whose record both shall have.")
    ] = None,
    field: Annotated[
        list[str] | None, typer.Option(help="One field's side, as `name=target`; the others come from the source.")
    ] = None,
) -> None:
    """Decide about a record that waits; the worker that has its pipeline makes both sides so within a second."""
    if (take is None) == (not field):
        raise typer.BadParameter("give --take, or --field once or more", param_hint="--take")
    pairs = [one.partition("=")[::2] for one in field or ()]
    if any(side not in ("source", "target") for _, side in pairs):
        raise typer.BadParameter("write NAME=source or NAME=target", param_hint="--field")
    told = {"take": take} if take is not None else {"fields": dict(pairs)}
    found = await resolve_conflict(await SyncRepository.open(), conflict, Resolution.model_validate(told))
    output.say(f"Conflict {found.id} of {found.pipeline} is decided.", **found.model_dump(mode="json"))


def _row(one: Conflicted) -> dict[str, Any]:
    return {**one.model_dump(mode="json"), "key": ",".join(one.key), "fields": ", ".join(one.fields)}

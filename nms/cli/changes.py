"""`nms changes`: what was sent to REST APIs and what they answered."""

from datetime import datetime
from typing import Annotated, Any

import typer

from nms.cli import output
from nms.cli.command import command
from nms.cli.main import new_app
from nms.sync.models import ChangeFilter, ChangeState, SentChange
from nms.sync.pipeline import get_change, list_changes
from nms.sync.repository import SyncRepository

app = new_app(help="See what was sent to REST APIs, and what they answered.")
COLUMNS = ("id", "dataset", "key", "op", "state", "request", "status", "why", "captured_at")

Pipeline = Annotated[str, typer.Argument(metavar="PIPELINE", help="The name of a pipeline.")]
Limit = Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=10_000)]
Before = Annotated[int | None, typer.Option(help="Only those older than the one of this number.", min=1)]


@app.command("list")
@command
async def list_(
    pipeline: Pipeline,
    *,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Of this table of the source.")] = None,
    key: Annotated[str | None, typer.Option("--key", "-k", help="Of this key, as the list shows it.")] = None,
    state: Annotated[ChangeState | None, typer.Option("--state", "-s", help="In this state.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Captured at this time or later.")] = None,
    q: Annotated[str | None, typer.Option("--q", help="With this text in the key or in what was sent.")] = None,
    limit: Limit = 100,
    before: Before = None,
) -> None:
    """List changes with their request and the answer, the newest first; those folded away say why."""
    repository = await SyncRepository.open()
    began = None if since is None else since.astimezone()
    wanted = ChangeFilter(dataset=dataset, key=key, state=state, since=began, text=q)
    found = await list_changes(repository, pipeline, wanted, (before, limit + 1))
    shown = found[:limit]
    if output.is_json():
        output.print_json([one.model_dump(mode="json") for one in shown])
        return
    output.show_rows([_row(one) for one in shown], COLUMNS, empty=f"Nothing of {pipeline} is kept that fits.")
    if len(found) > limit:
        output.tell(f"There are more; `--before {shown[-1].id}` shows the next ones.")


@app.command("show")
@command
async def show(
    pipeline: Pipeline, change: Annotated[int, typer.Argument(metavar="ID", help="The number of a change.", min=1)]
) -> None:
    """Show one change: the request, the answer, and what became of it."""
    repository = await SyncRepository.open()
    output.show_record((await get_change(repository, pipeline, change)).model_dump(mode="json"))


def _row(one: SentChange) -> dict[str, Any]:
    request = None if one.method is None else f"{one.method} {one.path}"
    return {**one.model_dump(), "request": request, "why": one.detail or (one.folded_into and "folded")}

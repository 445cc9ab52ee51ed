"""`nms quarantine`: what targets refused, to list, to replay, to drop."""

from typing import Annotated, Any

import typer

from nms.cli import output
from nms.cli.command import command
from nms.cli.main import new_app
from nms.cli.standing import plural
from nms.sync.models import Asked, Quarantined, Selection
from nms.sync.pipeline import ask_drop, ask_replay, get_pipeline, list_quarantine
from nms.sync.repository import SyncRepository

app = new_app(help="List, replay and drop the changes that a target refused.")
COLUMNS = ("id", "dataset", "key", "op", "state", "why", "created_at")

Pipeline = Annotated[str, typer.Argument(metavar="PIPELINE", help="The name of a pipeline.")]
Key = Annotated[str | None, typer.Option("--key", "-k", help="The changes of this key, as the list shows it.")]
Dataset = Annotated[str | None, typer.Option("--dataset", "-d", help="The changes of this table of the source.")]
All = Annotated[bool, typer.Option("--all", help="Every held change of the pipeline.")]


@app.command("list")
@command
async def list_(
    pipeline: Pipeline,
    *,
    history: Annotated[bool, typer.Option("--history", help="Replayed and dropped ones too.")] = False,
    limit: Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=10_000)] = 100,
    before: Annotated[int | None, typer.Option(help="Only those older than the one of this number.", min=1)] = None,
) -> None:
    """List held changes with the reason, the newest first."""
    repository = await SyncRepository.open()
    found = await list_quarantine(repository, pipeline, (None if history else "held", before, limit + 1))
    shown = found[:limit]
    if output.is_json():
        output.print_json([one.model_dump(mode="json") for one in shown])
        return
    output.show_rows([_row(one) for one in shown], COLUMNS, empty=f"Nothing is held of {pipeline}.")
    if len(found) > limit:
        output.tell(f"There are more; `--before {shown[-1].id}` shows the next ones.")


@app.command("replay")
@command
async def replay(pipeline: Pipeline, *, key: Key = None, dataset: Dataset = None, all_: All = False) -> None:
    """Try held changes again, a key's in their order; what is refused again stays held with the new reason."""
    repository = await SyncRepository.open()
    selection = _select(key, dataset, everything=all_)
    await _tell(repository, pipeline, await ask_replay(repository, pipeline, selection), "tried again")


@app.command("drop")
@command
async def drop(pipeline: Pipeline, *, key: Key = None, dataset: Dataset = None, all_: All = False) -> None:
    """Give held changes up: the target keeps what it has, and later changes of the key apply again."""
    repository = await SyncRepository.open()
    selection = _select(key, dataset, everything=all_)
    await _tell(repository, pipeline, await ask_drop(repository, pipeline, selection), "dropped")


def _select(key: str | None, dataset: str | None, *, everything: bool) -> Selection:
    if everything == (key is not None or dataset is not None):
        raise typer.BadParameter("give --key, --dataset or both, or else --all", param_hint="--key")
    return Selection(key=key, dataset=dataset, all=everything)


async def _tell(repository: SyncRepository, name: str, asked: Asked, done: str) -> None:
    pipeline = await get_pipeline(repository, name)
    when = "at once" if pipeline.wanted == "running" else f"when {name} goes on (`nms resume {name}`)"
    verb = "is" if asked.count == 1 else "are"
    told = f"{plural(asked.count, 'change')} of {name} {verb} {done} {when}."
    output.say(told if asked.count else f"Nothing is held of {name}.", **asked.model_dump())


def _row(one: Quarantined) -> dict[str, Any]:
    return {**one.model_dump(mode="json"), "why": one.problem.get("detail")}

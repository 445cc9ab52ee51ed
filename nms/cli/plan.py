"""`nms plan`: what applying documents would change."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from nms.cfg.documents import plan_changeset
from nms.cfg.models import Action, Changeset, Difference, KindName
from nms.cfg.plans import KEEP_DAYS, keep_plan
from nms.cfg.probe import list_subjects, probe_openly
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import TEXT_BYTES, Draft, read_drafts
from nms.cli import output
from nms.cli.command import command
from nms.cli.doctor import show_findings
from nms.cli.output import Exit
from nms.common.operator import login_name
from nms.common.problem import Malformed, NotFound

FILES = typer.Option("--file", "-f", help="A YAML file, a folder with them, or - for standard input; may be repeated.")
Prune = Annotated[bool, typer.Option("--prune", help="Remove every document that is not in the files.")]
Message = Annotated[str, typer.Option("--message", "-m", help="Why; kept with the revision.")]
OneKind = Annotated[KindName | None, typer.Option(help="Only documents of this kind.")]
READABLE = "Name files and folders that are there and that you may read."
MARKS = {Action.ADD: ("+", "green"), Action.CHANGE: ("~", "yellow"), Action.REMOVE: ("-", "red")}


@command
async def plan(
    file: Annotated[list[Path], FILES],
    *,
    prune: Prune = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Look at the systems that it touches, too, as they would stand.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep it, so that `nms apply --plan ID` carries out exactly this.")
    ] = False,
    message: Message = "",
) -> Exit:
    """Show what applying documents would add, change and remove; nothing of it is stored.

    With --probe it exits 3 when a system does not answer, refuses the login or lacks what its pipelines need.
    """
    drafts, repository = read_files(file), await DocumentRepository.open()
    changeset = Changeset(drafts, prune=prune, message=message, author=login_name())
    drawn = await plan_changeset(repository, changeset)
    probes = await probe_openly(repository, list_subjects(drawn)) if probe else []
    kept = await keep_plan(repository, replace(changeset, base=drawn.revision)) if keep else None
    if output.is_json():
        told = {"probes": [each.to_dict() for each in probes]} if probe else {}
        output.print_json({**(drawn.to_dict() if kept is None else kept.to_dict()), **told})
    else:
        show_differences(drawn.differences)
        if not drawn.differences:
            output.say(f"Nothing would change; revision {drawn.revision} has it all already.")
        for each in probes:
            show_findings(f"system {each.system}", [finding for _, finding in each.findings])
        if kept is not None:
            output.say(f"`nms apply --plan {kept.id}` does exactly this on revision {kept.base}, for {KEEP_DAYS} days.")
    return Exit.OK if all(each.fit for each in probes) else Exit.UNHEALTHY


def read_files(paths: Sequence[Path]) -> list[Draft]:
    """The documents of all files, in order; raises NotFound and Malformed."""
    drafts: list[Draft] = []
    for path in paths:
        for file in _list_files(path):
            drafts.extend(read_drafts(_read(file), str(file) if str(file) != "-" else "standard input"))
    if not drafts:
        raise Malformed("The files hold no document.", remedy="`nms export` shows what documents look like.")
    return drafts


def show_differences(differences: Sequence[Difference]) -> None:
    """Print every document that is added (+), changed (~) or removed (-), with its fields."""
    screen = output.console()
    for each in differences:
        mark, colour = MARKS[each.action]
        screen.print(Text(f"{mark} {each.kind} {each.name}", style=colour))
        _show_fields(each)


def _show_fields(difference: Difference) -> None:
    screen = output.console()
    for each in difference.fields:
        after = _render(each.after)
        told = after if difference.action is Action.ADD else f"{_render(each.before)} -> {after}"
        screen.print(Text(f"    {each.path}: {told}"))
    for effect in difference.effects:
        screen.print(Text(f"    -> {effect}", style="bold" if "needs a plan" in effect else ""))


def _render(value: Any) -> str:
    if value is None:
        return "(none)"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _list_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    try:
        found = sorted(_walk(path, set()))
    except OSError as error:
        raise NotFound(f"{error.filename} cannot be read: {error.strerror}.", remedy=READABLE) from None
    if not found:
        raise NotFound(f"The folder {path} has no .yaml file.", remedy="Name a file or a folder that has some.")
    return found


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """What an export writes through a link is read through it, too; each folder is read once."""
    here = folder.resolve()
    if here in seen:
        return
    seen.add(here)
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, seen)
        elif path.suffix in (".yaml", ".yml"):
            yield path


def _read(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read(TEXT_BYTES + 1)
    try:
        with path.open("rb") as file:
            return file.read(TEXT_BYTES + 1)
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}.", remedy=READABLE) from None

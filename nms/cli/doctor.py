"""`nms doctor`: what stands in the way of pipelines, of the inbox and of entities, with the SQL that mends it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from nms.cli import output
from nms.cli.command import command
from nms.cli.output import Exit
from nms.cli.standing import plural
from nms.common.configuration import current_documents
from nms.common.document import InboxSystem
from nms.common.finding import Finding
from nms.common.settings import Settings, get_settings
from nms.inbox.diagnosis import Feed
from nms.inbox.diagnosis import diagnose as diagnose_inbox
from nms.sync.preflight import Diagnosis, diagnose, list_names
from nms.sync.preflight import unprepare as remove
from nms.sync.repository import SyncRepository
from nms.warehouse.diagnosis import diagnose as diagnose_entities

Pipeline = Annotated[
    str | None, typer.Argument(help="Only this pipeline; otherwise all of them, the inbox and entities.")
]
Prepare = Annotated[
    bool,
    typer.Option(
        "--prepare",
        help="Make the schema nms at each target, and change logs that polls ask for, where the logins may; "
        "then let pipelines go on that waited for it.",
    ),
]
Unprepare = Annotated[
    bool, typer.Option("--unprepare", help="Remove the triggers that note changes for polls at their sources.")
]


@command
async def doctor(
    pipeline: Pipeline = None,
    *,
    prepare: Prepare = False,
    unprepare: Unprepare = False,
    sql: Annotated[bool, typer.Option("--sql", help="Print only the SQL that mends, and who runs it.")] = False,
) -> Exit:
    """Check the systems of pipelines, the inbox and entities, and print the SQL that mends what is missing.

    Checks settings, rights, slots, schema nms, tables, columns, keys, types and, of a pipeline at work, its slot and
    position; of the inbox the secrets of its endpoints (those of this machine), and whether its events go on and its
    days are kept; of the warehouse whether entities follow their documents. Changes nothing without --prepare or
    --unprepare. Exits 3 when a pipeline cannot start or go on, an endpoint cannot receive, events stand still, or an
    entity needs a plan.
    """
    repository = await SyncRepository.open()
    names = [pipeline] if pipeline is not None else await list_names(repository)
    settings = get_settings()
    if unprepare:
        for name in names:
            _show_removed(await remove(repository, name, settings))
        return Exit.OK
    found = [await diagnose(repository, name, settings, prepare=prepare) for name in names]
    rooms = {} if pipeline is not None else await _diagnose_rooms(repository, settings)
    findings = [finding for some in (*(one.findings for one in found), *rooms.values()) for finding in some]
    if output.is_json():
        output.print_json([_describe(one) for one in found] + [_describe_room(*each) for each in rooms.items()])
    elif sql:
        _print_sql(findings)
    else:
        _show_all(found, rooms)
    return Exit.UNHEALTHY if any(one.fatal for one in findings) else Exit.OK


async def _diagnose_rooms(repository: SyncRepository, settings: Settings) -> dict[str, Sequence[Finding]]:
    found = {
        "inbox": await diagnose_inbox(settings, await _list_feeds(repository)),
        "warehouse": None if settings.db_dwh_dsn is None else await diagnose_entities(),
    }
    return {room: findings for room, findings in found.items() if findings is not None}


async def _list_feeds(repository: SyncRepository) -> list[Feed]:
    """Pipelines that are to read the inbox, and how far they did."""
    configuration = await current_documents(repository)
    feeds = []
    for name, document in configuration.pipelines.items():
        source, standing = configuration.systems.get(document.source), await repository.get_pipeline(name)
        if isinstance(source, InboxSystem) and standing is not None and standing.wanted == "running":
            number = (standing.position or {}).get("number")
            if number is not None:
                feeds.append(Feed(name, source.endpoints([one.source for one in document.datasets]), int(number)))
    return feeds


def _show_removed(diagnosis: Diagnosis) -> None:
    if output.is_json():
        output.print_json({"pipeline": diagnosis.pipeline, "removed": diagnosis.removed})
        return
    for removed in diagnosis.removed or ("nothing",):
        output.say(f"{diagnosis.pipeline}: removed {removed}")


def _describe(diagnosis: Diagnosis) -> dict[str, object]:
    return {
        "pipeline": diagnosis.pipeline,
        "fit": not diagnosis.fatal,
        "prepared": diagnosis.prepared,
        "resumed": diagnosis.resumed,
        "findings": [asdict(finding) for finding in diagnosis.findings],
    }


def _describe_room(room: str, findings: Sequence[Finding]) -> dict[str, object]:
    fit = not any(finding.fatal for finding in findings)
    return {"pipeline": None, "room": room, "fit": fit, "findings": [asdict(finding) for finding in findings]}


def _show_all(found: Sequence[Diagnosis], rooms: Mapping[str, Sequence[Finding]]) -> None:
    if not found:
        output.say("There is no pipeline; `nms apply -f FILE` adds one.")
    for one in found:
        _show(one)
    for room, findings in rooms.items():
        show_findings(room, findings)


def _show(diagnosis: Diagnosis) -> None:
    screen = output.console()
    for made in diagnosis.prepared:
        screen.print(Text.assemble((f"{diagnosis.pipeline}: ", "bold"), (f"made {made}", "green")))
    if diagnosis.resumed:
        screen.print(Text.assemble((f"{diagnosis.pipeline}: ", "bold"), ("resumed", "green")))
    show_findings(diagnosis.pipeline, diagnosis.findings)
    if diagnosis.findings:
        fatal = sum(1 for finding in diagnosis.findings if finding.fatal)
        told = f"{plural(fatal, 'finding')} to mend before it can start" if fatal else "it can start"
        screen.print(Text.assemble((f"{diagnosis.pipeline}: ", "bold"), told))


def show_findings(name: str, findings: Sequence[Finding]) -> None:
    """Print what was found of a pipeline, a room or a system, with what mends it."""
    screen = output.console()
    if not findings:
        screen.print(Text.assemble((f"{name}: ", "bold"), ("nothing stands in its way", "green")))
    for finding in sorted(findings, key=lambda one: not one.fatal):
        word, colour = ("refused", "bold red") if finding.fatal else ("note", "yellow")
        screen.print(Text.assemble((f"{name}: ", "bold"), (f"{word} ", colour), finding.sentence))
        for line in _lines(finding):
            screen.print(Text(f"    {line}"))


def _lines(finding: Finding) -> list[str]:
    lines = [f"at {finding.pointer} of the document"] if finding.pointer else []
    if finding.sql:
        lines.append(f"SQL for {finding.system}, run by {finding.run_as}:")
        lines += [f"  {line}" for line in finding.sql.splitlines()]
    if finding.remedy:
        lines.append(f"remedy: {finding.remedy}")
    return [*lines, f"code: {finding.code}"]


def _print_sql(findings: Sequence[Finding]) -> None:
    """SQL as psql takes it, grouped by system and by who runs it; notes are left commented out."""
    parts: dict[tuple[str, str], dict[str, str]] = {}
    for finding in findings:
        if finding.sql:
            text = finding.sql if finding.fatal else "\n".join(f"-- {line}" for line in finding.sql.splitlines())
            parts.setdefault((finding.system, finding.run_as), {})[text] = finding.sentence
    for (system, who), statements in sorted(parts.items()):
        sys.stdout.write(f"-- system {system}, run by {who}\n")
        for text, sentence in statements.items():
            sys.stdout.write(f"-- {sentence}\n{text}\n")
    sys.stdout.flush()

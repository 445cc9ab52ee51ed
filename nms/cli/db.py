"""`nms db`: move the databases between revisions, and see where they stand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nms.cli import output
from nms.cli.command import command
from nms.cli.main import new_app
from nms.cli.output import Exit
from nms.common.db import migrations
from nms.common.db.dsn import DSNType, dsn_of
from nms.common.db.migrations import RevisionStatus, State, Step
from nms.common.db.revisions import create_revision, folder_of
from nms.common.db.schema import SchemaDiffers, compare_schema, dump_schema, schema_file
from nms.common.settings import get_settings

app = new_app(help="Move the databases between revisions.")

Databases = Annotated[
    list[DSNType] | None,
    typer.Option("--database", "-d", help="Only this database; may be given more than once. Default: all three."),
]
One = Annotated[DSNType, typer.Option("--database", "-d", help="The database.")]
Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="The folder that holds <database>/migrations. Default: the one of this version."),
]


def _choose(databases: Sequence[DSNType] | None) -> list[DSNType]:
    return list(databases or DSNType)


def _migrations_of(database: DSNType, folder: Path | None) -> Path:
    return (folder / database.value if folder else folder_of(database)) / "migrations"


def _row(database: DSNType, item: Step | RevisionStatus) -> dict[str, Any]:
    return {"database": database.value, **{name: getattr(item, name) for name in item.__dataclass_fields__}}


@app.command("up")
@command
async def up(database: Databases = None, folder: Folder = None) -> None:
    """Apply every revision that is pending, each in its own transaction; runners started together take turns."""
    steps = []
    for kind in _choose(database):
        done = await migrations.upgrade(dsn_of(kind, get_settings()), _migrations_of(kind, folder))
        steps += [_row(kind, step) for step in done]
    output.show_rows(steps, ("database", "version", "name", "late"), empty="Everything is up to date.")


@app.command("down")
@command
async def down(
    database: One,
    steps: Annotated[int, typer.Option("--steps", min=1, help="How many revisions to take back.")] = 1,
    folder: Folder = None,
) -> None:
    """Take back the newest revision of one database, or several with --steps; data in dropped tables is gone."""
    done = await migrations.downgrade(dsn_of(database, get_settings()), _migrations_of(database, folder), steps=steps)
    rows = [_row(database, step) for step in done]
    output.show_rows(rows, ("database", "version", "name"), empty="Nothing is applied.")


@app.command("status")
@command
async def status(database: Databases = None, folder: Folder = None) -> None:
    """Show every revision: applied, pending, late (older than an applied one), changed or missing its file."""
    rows = []
    for kind in _choose(database):
        found = await migrations.status(dsn_of(kind, get_settings()), _migrations_of(kind, folder))
        rows += [_row(kind, revision) for revision in found]
    output.show_rows(rows, ("database", "version", "name", "state", "applied_at"), empty="There are no revisions.")


@app.command("create")
@command
def create(
    name: Annotated[str, typer.Argument(help="What it does, in a few words; it becomes part of the file's name.")],
    database: One,
    folder: Folder = None,
) -> None:
    """Write an empty revision file that is newer than every other."""
    path = create_revision(_migrations_of(database, folder), name)
    output.say(f"Created {path}.", path=str(path))


@app.command("check")
@command
async def check(database: Databases = None, folder: Folder = None) -> Exit:
    """Tell what keeps a database from this version's schema: exit code 3 when something does.

    Pending, changed and missing revisions are found, and objects that differ from schema.sql.
    """
    findings: list[dict[str, Any]] = []
    for kind in _choose(database):
        dsn, place = dsn_of(kind, get_settings()), _migrations_of(kind, folder)
        revisions = await migrations.status(dsn, place)
        odd = [revision for revision in revisions if revision.state is not State.APPLIED]
        findings += [{"database": kind.value, "what": item.state, "where": item.name or item.version} for item in odd]
        if odd:
            continue
        try:
            await compare_schema(dsn, schema_file(place))
        except SchemaDiffers as problem:
            where = str(schema_file(place))
            findings.append(
                {"database": kind.value, "what": problem.code, "where": where, "difference": problem.difference}
            )
    output.show_rows(findings, ("database", "what", "where"), empty="Every database is what this version expects.")
    if not output.is_json():
        for finding in findings:
            typer.echo(finding.get("difference", ""))
    return Exit.UNHEALTHY if findings else Exit.OK


@app.command("dump")
@command
async def dump(database: Databases = None, folder: Folder = None) -> None:
    """Write schema.sql of each database from the database as it is; run it after `nms db up`."""
    paths = []
    for kind in _choose(database):
        path = schema_file(_migrations_of(kind, folder))
        path.write_text(await dump_schema(dsn_of(kind, get_settings())), encoding="utf-8")
        paths.append({"database": kind.value, "path": str(path)})
    output.show_rows(paths, ("database", "path"))

"""The command `nms`: the list of its commands, each imported only when it is called.

A line of COMMANDS reads `name: (module:attribute, short help)`. The attribute is a function made by
`nms.cli.command.command`, or a `typer.Typer` with sub-commands.
"""

import gc
import sys
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from nms.cli.output import Exit, show_problem
from nms.common.problem import Problem

COMMANDS = {
    "demo": ("nms.cli.demo.command:app", "Run the main job on this machine and check that both sides are equal."),
    "up": ("nms.cli.up:up", "Start everything: PostgreSQL, all roles behind one port, the workers."),
    "serve": ("nms.cli.serve:serve", "Serve all roles behind one port; SYNC_WORKER=false leaves the work to others."),
    "worker": ("nms.cli.worker:worker", "Run the worker of one role alone."),
    "db": ("nms.cli.db:app", "Move the databases between revisions."),
    "doctor": ("nms.cli.doctor:doctor", "Check the systems of a pipeline and print the SQL that mends them."),
    "plan": ("nms.cli.plan:plan", "Show what applying documents would change."),
    "apply": ("nms.cli.apply:apply", "Store documents as a new revision."),
    "revisions": ("nms.cli.revisions:revisions", "List the revisions: when, by whom, why."),
    "diff": ("nms.cli.revisions:diff", "Show what makes one revision of another."),
    "rollback": ("nms.cli.revisions:rollback", "Store a new revision equal to an old one."),
    "export": ("nms.cli.export:export", "Print the stored documents as YAML."),
    "secrets": ("nms.cli.secrets:app", "Set, list and remove the secrets that documents name; change their key."),
    "rollouts": ("nms.cli.rollouts:rollouts", "List which process runs which revision."),
    "watch": ("nms.cli.watch:watch", "Show what each revision does to documents, as it happens."),
    "pipelines": ("nms.cli.pipelines:app", "List the pipelines with state, lag and position; run rounds of them."),
    "endpoints": (
        "nms.cli.endpoints:app",
        "List the endpoints of webhooks; see what was refused, and verify it again.",
    ),
    "pause": ("nms.cli.pipelines:pause", "Hold a pipeline where it stands."),
    "resume": ("nms.cli.pipelines:resume", "Let a paused or halted pipeline go on."),
    "resync": ("nms.cli.pipelines:resync", "Copy a pipeline's data anew and go on from there."),
    "runs": ("nms.cli.runs:app", "List, watch, cancel and retry runs."),
    "changes": ("nms.cli.changes:app", "See what was sent to REST APIs, and what they answered."),
    "conflicts": ("nms.cli.conflicts:app", "List, show and decide what both sides of a pipeline changed."),
    "quarantine": ("nms.cli.quarantine:app", "List, replay and drop the changes that a target refused."),
    "warehouse": ("nms.cli.warehouse:app", "Export records of the warehouse, and check files of exports."),
    "user": ("nms.cli.user:app", "List users, make the first administrator, disable users, set passwords."),
    "keys": ("nms.cli.keys:app", "List and replace the keys that sign access tokens."),
    "token": ("nms.cli.token:token", "Mint a token for the operator of this machine."),
}


class CommandList(TyperGroup):
    """Shows the list without importing any command, and imports the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed if name is None else load_command(name), rest


class GroupWithDefault(TyperGroup):
    """A group of commands of which one is meant where none is named: `show`."""

    default = "show"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name the default where the first word is no command."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


class AsksForSecret(TyperCommand):
    """A command that asks for its secret: one given as an argument instead is not repeated in what it answers."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse what is too much without a word of it."""
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if rest:
            ctx.fail(
                "A secret is no argument, where others on this machine see it: it is asked for, or comes in on "
                "standard input. Take another one if this was it."
            )
        return rest


def load_command(name: str) -> Any:
    """The command as typer runs it; the attribute may be a function or a Typer with sub-commands."""
    module, attribute = COMMANDS[name][0].split(":")
    found = getattr(import_at_once(module), attribute)
    if not isinstance(found, typer.Typer):
        single = new_app()
        single.command(name)(found)
        found = single
    command = typer.main.get_command(found)
    command.name = name
    return command


def import_at_once(module: str) -> ModuleType:
    """Import a module without looking for garbage: that takes a sixth of the start, and finds next to none."""
    if module in sys.modules:
        return sys.modules[module]
    gc.disable()
    try:
        return import_module(module)
    finally:
        # What stays for good is not walked again, each time garbage is looked for.
        gc.freeze()
        gc.enable()


def new_app(**options: Any) -> typer.Typer:
    """A Typer as every command group of NMS uses it: `-h` too, no completion installer, plain tracebacks."""
    return typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        **options,
    )


def listed() -> None:
    """Stand in the list; the command itself is loaded when it is called."""


def print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nms {version('nms')}")
        raise typer.Exit()


def options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """NMS keeps the systems you manage in sync: nothing lost, once in effect, in order per key."""


app = new_app(cls=CommandList)
app.callback()(options)
for _name, (_, _short_help) in COMMANDS.items():
    app.command(_name, help=_short_help)(listed)


def main() -> None:
    """The entry point: exit codes are 0 ok, 1 a problem, 2 wrong usage, 3 out of sync or unhealthy."""
    try:
        app(prog_name="nms")
    except Problem as problem:  # raised while a command was being loaded, such as settings that are refused
        show_problem(problem)
        sys.exit(Exit.PROBLEM)

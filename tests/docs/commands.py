"""The commands of `nms` as a tree, as the program itself declares them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from nms.cli.main import COMMANDS, load_command


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its spellings, what it takes (empty for a flag), and what its help says."""

    spellings: tuple[str, ...]
    takes: str
    help: str
    required: bool
    default: str
    many: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One command by its full name (`nms db up`), or a group of them; `alone`: the group is a command too."""

    name: str
    help: str
    arguments: tuple[Option, ...]
    options: tuple[Option, ...]
    children: tuple["Command", ...] = field(default=())
    alone: bool = False

    @property
    def spellings(self) -> dict[str, Option]:
        """Every spelling of an option, and the option."""
        return {spelling: option for option in self.options for spelling in option.spellings}


def commands() -> list[Command]:
    """All commands at the top, in the order of `nms --help`."""
    return [_read(f"nms {name}", load_command(name)) for name in COMMANDS]


def walk(some: Sequence[Command]) -> Iterator[Command]:
    """The commands and, below each group, its own."""
    for command in some:
        yield command
        yield from walk(command.children)


def _read(name: str, loaded: Any) -> Command:
    children = dict(getattr(loaded, "commands", {}))
    default = getattr(loaded, "default", None)
    # What is meant where no command is named stands under the name of its group.
    shown = children.pop(default) if default else loaded
    declared = [parameter for parameter in shown.params if not parameter.hidden]
    return Command(
        name,
        (shown.help or "").strip(),
        tuple(_option(one) for one in declared if one.param_type_name == "argument"),
        tuple(_option(one) for one in declared if one.param_type_name == "option"),
        tuple(_read(f"{name} {child}", children[child]) for child in children),
        bool(default or getattr(loaded, "invoke_without_command", False)),
    )


def _option(parameter: Any) -> Option:
    flag = bool(getattr(parameter, "is_flag", False))
    spellings = (*parameter.opts, *parameter.secondary_opts)
    if parameter.param_type_name == "argument":
        spellings = ((parameter.metavar or parameter.name).upper().strip("[]"),)
    default = parameter.default
    return Option(
        spellings,
        "" if flag else (parameter.metavar or parameter.name).upper().replace("_", "-"),
        " ".join((getattr(parameter, "help", None) or "").split()),
        bool(parameter.required),
        "" if flag or default is None or callable(default) or default in ((), []) else str(default),
        getattr(parameter, "nargs", 1) == -1,
    )

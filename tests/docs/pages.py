"""What a page promises: the commands it shows, the examples it holds, the places it links to."""

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from tests.docs.commands import Command
from tests.house.tree import File

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
_INLINE = re.compile(r"`(nms [^`]+)`")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_TARGET = re.compile(r"^([a-z-]+):[^=]*?(##.*)?$", re.M)
_MAKE = re.compile(r"\bmake ([a-z]+(?:-[a-z]+)*)\b")


def shown_commands(file: File) -> list[tuple[str, bool]]:
    """Every `nms ...` of a page and whether it stands whole in a block to be typed (else it is only spoken of)."""
    found = [(text, False) for text in _INLINE.findall(_FENCE.sub("", file.text))]
    for language, block in _FENCE.findall(file.text):
        if language in ("sh", "bash", "console"):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(text, True) for line in lines if (text := _command_of(line))]
    return found


def faults_of(text: str, whole: bool, known: Mapping[str, Command]) -> list[str]:
    """What the program would refuse of a command line; only the names are checked where it is not whole."""
    words = shlex.split(text, comments=True)
    if words[1:2] and words[1] in ("--help", "-h", "--version"):
        return []
    size = max((n for n in range(2, len(words) + 1) if " ".join(words[:n]) in known), default=0)
    if not size:
        return [f"`{text}`: no such command"]
    command = known[" ".join(words[:size])]
    if command.children and not command.alone and (whole or words[size:]):
        return [f"`{text}`: `{command.name}` has no command `{' '.join(words[size : size + 1])}`"]
    return _argument_faults(text, whole, words[size:], command)


def broken_links(file: File, known: Iterable[str]) -> list[str]:
    """Relative links to files or folders that are not there."""
    places = set(known) | {str(parent) for path in known for parent in PurePosixPath(path).parents}
    faults = []
    for link in _LINK.findall(_FENCE.sub("", file.text)):
        path = link.partition("#")[0]
        if path and "://" not in path and not path.startswith("mailto:"):
            parts: list[str] = [*PurePosixPath(file.path).parent.parts]
            for part in PurePosixPath(path).parts:
                parts = parts[:-1] if part == ".." else [*parts, part]
            if "/".join(parts) not in places:
                faults.append(f"{file.path}: the link {link} leads nowhere")
    return faults


def blocks(file: File, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [block for found, block in _FENCE.findall(file.text) if found == language]


def make_targets(makefile: str) -> set[str]:
    """The targets of a Makefile."""
    return {name for name, _ in _TARGET.findall(makefile)}


def shown_targets(file: File) -> set[str]:
    """Every `make ...` in code of a page."""
    code = [block for _, block in _FENCE.findall(file.text)] + re.findall(r"`([^`\n]+)`", _FENCE.sub("", file.text))
    return {name for text in code for name in _MAKE.findall(text)}


def _command_of(line: str) -> str | None:
    found = re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(nms(?: .*)?)$", line)
    if not found:
        return None
    return re.split(r"\s+[|<>&;]", found[1])[0].strip()


def _argument_faults(text: str, whole: bool, words: list[str], command: Command) -> list[str]:
    spellings, faults, given = command.spellings, [], 0
    left = iter(words)
    for word in left:
        if not word.startswith("-") or word == "-":
            given += 1
            continue
        name, joined, _ = word.partition("=")
        if name in ("--help", "-h"):
            return []
        option = spellings.get(name)
        if option is None:
            faults.append(f"`{text}`: {command.name} has no option {name}")
        elif option.takes and not joined:
            next(left, None)
    needed = [option for option in command.arguments if option.required]
    most = 1_000 if any(option.many for option in command.arguments) else len(command.arguments)
    if whole and not len(needed) <= given <= most:
        faults.append(f"`{text}`: {given} arguments, {command.name} takes {len(needed)} to {len(command.arguments)}")
    return faults

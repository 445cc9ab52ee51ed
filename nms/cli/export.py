"""`nms export`: the stored documents as YAML, printed or as a folder of files."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from nms.cfg.documents import get_document
from nms.cfg.models import StoredDocument
from nms.cfg.repository import DocumentRepository
from nms.cfg.text import read_drafts, write_text
from nms.cli import output
from nms.cli.command import command
from nms.cli.plan import OneKind
from nms.common.document import KINDS, parse_document, short_form
from nms.common.problem import Malformed, NotFound, Problem

SUFFIX = ".yaml"


class FolderRefused(Problem):
    """The folder of an export cannot be written; fact: `path`."""

    code, title = "folder-refused", "The folder cannot be written"
    remedy = "Name a folder that you may write, or one that is not there yet."


@command
async def export(
    *,
    kind: OneKind = None,
    name: Annotated[str | None, typer.Option(help="Only the documents of this name.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a file KIND/NAME.yaml for each into this folder.")
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="With -o: remove files KIND/NAME.yaml of documents that are gone.")
    ] = False,
) -> None:
    """Print the current documents as YAML, or as JSON; applying what is printed or written changes nothing."""
    if prune and (folder is None or name is not None):
        raise typer.BadParameter(
            "`--prune` removes files of the folder that `--output` names, of all documents or a kind."
        )
    repository = await DocumentRepository.open()
    if kind is not None and name is not None:
        stored = [(await get_document(repository, kind, name))[0]]
    else:
        stored = await repository.list_documents(kind, name)
        if name is not None and not stored:
            raise NotFound(f"There is no document named {name}.", name=name)
    bodies = [_shorten(each) for each in sorted(stored, key=lambda each: each.kind != "system")]
    if folder is not None:
        stale = [] if name is not None else list(_find_stale(folder, kind, bodies))
        with _refusing(folder):
            written = _write(folder, bodies)
            for path in stale if prune else ():
                (folder / path).unlink(missing_ok=True)
        _show(folder, written, stale, pruned=prune)
    elif output.is_json():
        output.print_json(bodies)
    else:
        sys.stdout.write(write_text(bodies))
        sys.stdout.flush()


def _shorten(stored: StoredDocument) -> dict[str, Any]:
    """What this version cannot read is printed as it is stored."""
    try:
        return short_form(parse_document(dict(stored.body)))
    except Malformed:
        return dict(stored.body)


def _place(body: Mapping[str, Any]) -> Path:
    return Path(body["kind"], f"{body['name']}{SUFFIX}")


def _write(folder: Path, bodies: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write what differs from what is there, each file at once; gives the paths within the folder."""
    written = []
    for body in bodies:
        path, text = folder / _place(body), write_text([body]).encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_bytes() != text:
            _replace(path, text)
            written.append(_place(body))
    return written


@contextmanager
def _refusing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FolderRefused(f"{folder} cannot be written: {error.strerror}.", path=str(folder)) from None


def _replace(path: Path, text: bytes) -> None:
    # Whoever reads meanwhile, or finds the disk full, has the file of before.
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(text)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _find_stale(folder: Path, kind: str | None, bodies: Sequence[Mapping[str, Any]]) -> Iterator[Path]:
    """Files of an earlier export whose documents are gone: applied again they would bring them back."""
    wanted = {_place(body) for body in bodies}
    for each in KINDS:
        for path in sorted((folder / each).glob(f"*{SUFFIX}")) if kind in (None, each) else ():
            within = path.relative_to(folder)
            if within not in wanted and _is_exported(path, within):
                yield within


def _is_exported(path: Path, within: Path) -> bool:
    """Whether a file holds what an export would have written there: one document, of its kind and name."""
    if not path.is_file():
        # Reading a pipe would wait for who writes to it.
        return False
    try:
        drafts = read_drafts(path.read_bytes(), str(path))
        return [_place(draft.data) for draft in drafts] == [within]
    except (OSError, Malformed, TypeError, KeyError):
        return False


def _show(folder: Path, written: Sequence[Path], stale: Sequence[Path], *, pruned: bool) -> None:
    if output.is_json():
        gone, left = (stale, []) if pruned else ([], stale)
        told = {"written": written, "removed": gone, "stale": left}
        output.print_json({name: [str(path) for path in paths] for name, paths in told.items()})
        return
    output.say(f"{len(written)} files of {folder} are new or changed.")
    for path in stale:
        output.say(f"{path} {'is removed' if pruned else 'is stale'}: there is no such document any more.")
    if stale and not pruned:
        output.tell("Applied again, stale files bring their documents back; `--prune` removes them.")

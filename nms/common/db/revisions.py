"""Revision files in aiosqlembic's format: `<14 digits>_<slug>.sql`, pieces `-- name: up#` and `-- name: down#`."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import nms
from nms.common.db.dsn import DSNType
from nms.common.db.lexer import Kind, UnreadableSql, line_of, split_statements, tokenise
from nms.common.problem import Problem

_FILE = re.compile(r"(?P<version>\d{14})_(?P<slug>.+)\.sql", re.ASCII)
_PIECE = re.compile(r"--\s*name\s*:\s*(?P<header>.*?)\s*")
_LEAVES_TRANSACTION = frozenset({"begin", "start", "commit", "end", "rollback", "abort", "prepare"})
_TEMPLATE = "-- name: up#\nselect 'the way up';\n\n-- name: down#\nselect 'the way down';\n"


class RevisionRefused(Problem):
    """A migration file cannot be read; the sentence starts with file and line."""

    status, code, title = 500, "revision-refused", "A migration file cannot be read"
    remedy = "Correct the file: a name of 14 digits and a slug, the pieces `-- name: up#` and `-- name: down#`."


@dataclass(frozen=True, slots=True)
class SqlStatement:
    """One statement of a file and the line (from 1) on which it begins."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Revision:
    """One migration file."""

    version: int
    path: Path
    up: tuple[SqlStatement, ...]
    down: tuple[SqlStatement, ...]
    checksum: str


def folder_of(database: DSNType) -> Path:
    """The folder of a database under db/: in the checkout, or inside the package of an installed wheel."""
    package = Path(nms.__file__).parent
    checkout = package.parent / "db" / database.value
    return checkout if checkout.is_dir() else package / "db" / database.value


def read_folder(folder: Path) -> list[Revision]:
    """Every revision of a folder in the order of versions; raises RevisionRefused."""
    if not folder.is_dir():
        raise RevisionRefused(f"{folder}: this folder does not exist.", path=str(folder))
    revisions: dict[int, Revision] = {}
    for path in sorted(folder.glob("*.sql")):
        revision = read_revision(path)
        if revision.version in revisions:
            other = revisions[revision.version].path.name
            raise RevisionRefused(f"{path}:1: {other} has the same version.", path=str(path))
        revisions[revision.version] = revision
    return [revisions[version] for version in sorted(revisions)]


def read_revision(path: Path) -> Revision:
    """Read one file; raises RevisionRefused."""
    name = _FILE.fullmatch(path.name)
    if name is None or int(name["version"]) == 0:
        raise RevisionRefused(f"{path}:1: the name is not 14 digits, an underscore and a slug.", path=str(path))
    text = path.read_text(encoding="utf-8")
    try:
        pieces = {header: (start, piece) for header, start, piece in _split(text, path)}
        if "up#" not in pieces:
            raise _refuse(path, text, 0, "the piece `-- name: up#` is missing")
        up, down = (tuple(_read_statements(text, *pieces.get(header, (0, "")), path)) for header in ("up#", "down#"))
    except UnreadableSql as error:
        raise _refuse(path, text, error.start, str(error).rstrip(".").lower()) from None
    if not up:
        raise _refuse(path, text, pieces["up#"][0], "there is no statement in `up#`")
    return Revision(int(name["version"]), path, up, down, _sum_up(pieces["up#"][1]))


def _refuse(path: Path, text: str, start: int, why: str) -> RevisionRefused:
    line = line_of(text, start)
    return RevisionRefused(f"{path}:{line}: {why}.", path=str(path), line=line)


def _split(text: str, path: Path) -> Iterator[tuple[str, int, str]]:
    """Yield header, start and text of each piece."""
    marks: list[tuple[str, int, int]] = []
    for token in tokenise(text):
        if token.kind is Kind.COMMENT and (found := _PIECE.fullmatch(token.text)):
            if found["header"] not in ("up#", "down#") or found["header"] in [mark[0] for mark in marks]:
                raise _refuse(path, text, token.start, f"a piece {found['header']!r} cannot stand here")
            marks.append((found["header"], token.start, token.start + len(token.text)))
        elif not marks and token.kind not in (Kind.SPACE, Kind.COMMENT):
            raise _refuse(path, text, token.start, "this stands before `-- name: up#`")
    ends = [*(start for _, start, _ in marks), len(text)][1:]
    for (header, _, begin), end in zip(marks, ends, strict=True):
        yield header, begin, text[begin:end]


def _read_statements(text: str, begin: int, piece: str, path: Path) -> Iterator[SqlStatement]:
    for tokens in split_statements(piece):
        first = next(token for token in tokens if token.kind not in (Kind.SPACE, Kind.COMMENT))
        start = begin + first.start
        if first.text.lower() in _LEAVES_TRANSACTION:
            raise _refuse(path, text, start, f"{first.text.lower()!r} would leave the transaction of the revision")
        end = begin + tokens[-1].start + len(tokens[-1].text)
        yield SqlStatement(text[start:end].rstrip(), line_of(text, start))


def _sum_up(piece: str) -> str:
    """A checksum of the way up that line endings and space at line ends do not change."""
    lines = "\n".join(line.rstrip() for line in piece.splitlines()).strip()
    return hashlib.sha256(lines.encode()).hexdigest()


def create_revision(folder: Path, name: str, *, now: datetime | None = None) -> Path:
    """Write an empty revision, newer than every other in the folder, and return its path."""
    slug = re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip()), flags=re.ASCII).strip("_").lower()
    if not slug:
        raise RevisionRefused("A revision needs a name of letters and digits.")
    folder.mkdir(parents=True, exist_ok=True)
    newest = max((revision.version for revision in read_folder(folder)), default=0)
    version = max(int((now or datetime.now(UTC)).strftime("%Y%m%d%H%M%S")), newest + 1)
    path = folder / f"{version:014d}_{slug}.sql"
    with path.open("x", encoding="utf-8") as file:
        file.write(_TEMPLATE)
    return path

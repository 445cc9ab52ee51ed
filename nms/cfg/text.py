"""Documents as text: YAML read with a line for every value, and written so that it reads back the same.

Of YAML the plain part is taken: mappings, lists and scalars. Words such as `yes`, `on` or `2026-11-21` are texts
(as in YAML 1.2), tags are refused, anchors are counted, sizes and depth are limited.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from nms.common.document.fault import escape_pointer
from nms.common.problem import Malformed, Pointer

TEXT_BYTES: Final = 1 << 20
DEPTH: Final = 32
VALUES: Final = 100_000
"""Values of one text after anchors are followed: a small text must not grow without bounds."""

_LISTS: Final = {"systems": "system", "pipelines": "pipeline", "endpoints": "endpoint", "entities": "entity"}
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,40})")
_DECIMAL: Final = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{0,24}(?:e[-+][0-9]{1,3})?")
"""With an exponent only as `write_text` has it: `1e5` stays a text."""
_WORDS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True, slots=True)
class Draft:
    """One document as it was written: plain data, where it comes from, and the line of each value."""

    data: Any
    file: str = ""
    lines: Mapping[str, int] = field(default_factory=dict, repr=False)

    def place(self, pointer: str) -> str:
        """`file:line` of a value, or of the nearest one above it; empty for drafts that are no text."""
        while pointer and pointer not in self.lines:
            pointer = pointer.rpartition("/")[0]
        line = self.lines.get(pointer)
        return f"{self.file}:{line}" if line is not None else self.file


def read_drafts(text: bytes | str, file: str = "") -> list[Draft]:
    """The documents of one YAML text; raises Malformed that names file and line."""
    reader = _Reader(_decode(text, file), file)
    return [draft for root in reader.documents() for draft in _spread(root, reader.lines, file)]


def write_text(documents: Iterable[Mapping[str, Any]]) -> str:
    """Documents as one YAML text, separated by `---`; `read_drafts` gives the same data back."""
    dumped = (
        yaml.dump(dict(each), Dumper=_Writer, sort_keys=False, allow_unicode=True, width=120) for each in documents
    )
    return "---\n".join(dumped)


class _Writer(yaml.SafeDumper):
    """Quotes texts that hold unusual line ends, which YAML would otherwise fold."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _represent_text(writer: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Writer.add_representer(str, _represent_text)


def _decode(text: bytes | str, file: str) -> str:
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > TEXT_BYTES:
        raise _fault(file, None, f"the text has {size} bytes; at most {TEXT_BYTES} are read, split it")
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise _fault(file, line, "the text is not UTF-8") from None


def _fault(file: str, line: int | None, sentence: str) -> Malformed:
    place = f"{file or 'text'}:{line}" if line is not None else file or "text"
    return Malformed(f"{place}: {sentence}.", pointers=[Pointer("", f"{place}: {sentence}")], file=file, line=line)


def _spread(root: Any, lines: dict[str, int], file: str) -> Iterator[Draft]:
    """One document, or those of a mapping with the lists `systems` and `pipelines`."""
    if not isinstance(root, dict) or "kind" in root or not root.keys() & _LISTS.keys():
        yield Draft(root, file, dict(lines))
        return
    for key, items in root.items():
        kind, line = _LISTS.get(key), lines[f"/{escape_pointer(key)}"]
        if kind is None:
            raise _fault(file, line, f"unknown key `{key[:60]}` beside the lists {' and '.join(_LISTS)}")
        if not isinstance(items, list):
            raise _fault(file, line, f"`{key}` is a list of documents")
        for at, item in enumerate(items):
            below = f"/{key}/{at}"
            inner = {
                where.removeprefix(below): no for where, no in lines.items() if f"{where}/".startswith(f"{below}/")
            }
            yield Draft({"kind": kind, **item} if isinstance(item, dict) else item, file, inner)


class _Reader:
    """Builds plain data from YAML events, one document at a time, within the limits."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._events = self._parse()
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        self._count = 0
        self.lines: dict[str, int] = {}

    def documents(self) -> Iterator[Any]:
        """Plain data of each document that is not empty; `lines` speaks of the latest one."""
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                self.lines, self._anchors = {}, {}
                root = self._build(next(self._events), "", 0)
                if root is not None:
                    yield root

    def _parse(self) -> Iterator[Event]:
        try:
            yield from yaml.parse(self._text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark is not None else None
            raise self._fault(line, self._explain(error, line)) from None
        except yaml.YAMLError as error:
            raise self._fault(None, f"this is not YAML: {getattr(error, 'reason', 'unreadable')}") from None

    def _explain(self, error: yaml.MarkedYAMLError, line: int | None) -> str:
        rows = self._text.splitlines()
        row = rows[line - 1] if line is not None and line <= len(rows) else ""
        if "\t" in row[: len(row) - len(row.lstrip())]:
            return "the line is indented with a tab; YAML takes spaces only"
        said = " ".join(part for part in (error.context, error.problem) if part)
        return f"this is not YAML: {said}"

    def _fault(self, line: int | None, sentence: str) -> Malformed:
        return _fault(self._file, line, sentence)

    def _build(self, event: Event, at: str, depth: int) -> Any:
        line = _line_of(event)
        self.lines.setdefault(at, line)
        self._spend(1, line)
        if depth > DEPTH:
            raise self._fault(line, f"values are nested deeper than {DEPTH} levels")
        if isinstance(event, AliasEvent):
            return self._follow(event, line)
        tag = getattr(event, "tag", None)
        if tag is not None:
            # A password that begins so is read as one: it is not repeated.
            raise self._fault(line, "a value that begins with `!` is a tag, which is not taken; quote it")
        anchor, before = getattr(event, "anchor", None), self._count
        if anchor is not None:
            self._anchors[anchor] = None
        value = self._value(event, at, depth)
        if anchor is not None:
            self._anchors[anchor] = (value, self._count - before + 1)
        return value

    def _value(self, event: Event, at: str, depth: int) -> Any:
        if isinstance(event, ScalarEvent):
            return event.value if event.style else _read_scalar(event.value)
        if isinstance(event, SequenceStartEvent):
            return self._list(at, depth)
        return self._mapping(at, depth)

    def _list(self, at: str, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._build(event, f"{at}/{len(items)}", depth + 1))
        return items

    def _mapping(self, at: str, depth: int) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            line = _line_of(event)
            if not isinstance(event, ScalarEvent) or event.tag is not None or event.anchor is not None:
                raise self._fault(line, "a key is a plain text")
            key = event.value
            if key in entries:
                raise self._fault(line, f"the key `{key[:60]}` stands twice in one mapping")
            below = f"{at}/{escape_pointer(key)}"
            self.lines[below] = line
            entries[key] = self._build(next(self._events), below, depth + 1)
        return entries

    def _follow(self, event: AliasEvent, line: int) -> Any:
        name = event.anchor or ""
        known = self._anchors.get(name)
        if known is None:
            # It may be a password, too.
            raise self._fault(line, "a value that begins with `*` is an alias, and no finished anchor is before it")
        value, size = known
        self._spend(size, line)
        return value

    def _spend(self, count: int, line: int) -> None:
        self._count += count
        if self._count > VALUES:
            raise self._fault(line, f"the text stands for more than {VALUES} values; split it, use fewer anchors")


def _line_of(event: Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def _read_scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text

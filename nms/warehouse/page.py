"""Which page of which list a request asks for (pure)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal, TypeVar
from urllib.parse import parse_qsl, urlencode

from nms.common.document.fault import escape_pointer
from nms.common.paging import DEFAULT_LIMIT, LARGEST_LIMIT, LONGEST_CURSOR, Cursors
from nms.common.problem import Malformed, Pointer
from nms.warehouse import expression
from nms.warehouse.entities import Served
from nms.warehouse.filter import All, Conditions, Fault, Node, Value, read_parameter
from nms.warehouse.statement import Listing, Sort, Start, View, compose_list
from nms.warehouse.value import spell_text

LARGEST_OFFSET: Final = 10_000
MOST_PARAMETERS: Final = 200
LONGEST_SEARCH: Final = 1_000
COUNTS: Final = ("none", "estimated", "exact")
OF_A_PAGE: Final = frozenset(("limit", "cursor", "offset"))
"""Parameters that choose a page, and not the list."""
OF_A_LIST: Final = frozenset(("sort", "fields", "q", "filter", "count", "lineage"))
_CURSOR: Final = re.compile(rb"[A-Za-z0-9_-]{1,%d}" % LONGEST_CURSOR)
Count = Literal["none", "estimated", "exact"]
Items = tuple[tuple[str, str], ...]
"""Parameters of a request, in their order."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A list and a page of it; `values` are those of `listing`, `about` is what a cursor belongs to.

    Questions are remembered, and told apart by what they are: `text` is their statement.
    """

    listing: Listing
    values: tuple[Value, ...]
    count: Count
    about: str
    link: str
    text: str


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of a request: those that the texts of statements depend on, and the cursor."""

    items: Items
    cursor: str | None


def split_query(query: bytes) -> Asked:
    """The parameters of a query string; raises Malformed."""
    if not query:
        return Asked((), None)
    # As our own links have it.
    head, found, cursor = query.rpartition(b"&cursor=")
    if found and b"cursor" not in head and _CURSOR.fullmatch(cursor):
        return Asked(_read_items(head), cursor.decode())
    items = _read_items(query)
    cursors = [value for name, value in items if name == "cursor"]
    if not cursors:
        return Asked(items, None)
    if len(cursors) > 1 or len(cursors[0]) > LONGEST_CURSOR:
        raise _malformed([Pointer("/cursor", "send one cursor, as it came", "query")])
    return Asked(tuple(item for item in items if item[0] != "cursor"), cursors[0] or None)


@lru_cache(1_024)
def _read_items(query: bytes) -> Items:
    try:
        return tuple(parse_qsl(query.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS))
    except UnicodeDecodeError:
        raise _malformed([Pointer("", "the query is not text in UTF-8", "query")]) from None
    except ValueError:
        raise _malformed([Pointer("", f"at most {MOST_PARAMETERS} parameters are taken", "query")]) from None


@lru_cache(4_096)
def read_question(entity: Served, items: Items, parent: tuple[Served, str] | None = None) -> Question:
    """What a list is asked, without its cursor; raises Malformed with a pointer per parameter."""
    reader = _Reader(entity)
    for name, text in items:
        reader.take(name, text)
    if reader.faults:
        raise _malformed(reader.faults)
    listing = Listing(
        entity,
        reader.sort or tuple(Sort(name) for name in entity.key),
        reader.limit,
        View(reader.fields, reader.lineage),
        reader.filter,
        len(reader.conditions.values),
        reader.search is not None,
        parent,
        None,
        reader.offset,
        reader.count == "exact",
    )
    values = (*reader.conditions.values, *([] if reader.search is None else [reader.search]))
    chosen = [item for item in items if item[0] not in OF_A_PAGE]
    return Question(
        listing,
        values,
        reader.count,
        urlencode(sorted(chosen)),
        urlencode([*chosen, ("limit", str(reader.limit))]),
        compose_list(listing),
    )


def read_view(entity: Served, items: Items) -> View:
    """What a record is to show; raises Malformed."""
    reader = _Reader(entity)
    for name, text in items:
        if name in ("fields", "lineage"):
            reader.take(name, text)
        else:
            reader.faults.append(_pointer(name, "a record takes `fields` and `lineage`"))
    if reader.faults:
        raise _malformed(reader.faults)
    return View(reader.fields, reader.lineage)


def open_cursor(cursors: Cursors, question: Question, cursor: str) -> tuple[Question, Sequence[str]]:
    """The page that a cursor stands for, and the sort values where it starts without nulls; raises CursorRefused."""
    direction, *texts = cursors.open(cursor)
    if question.listing.offset:
        raise _malformed([Pointer("/offset", "a cursor says itself where the page starts", "query")])
    if len(texts) != len(question.listing.sort):
        raise ValueError("a cursor of another order")
    return _start_at(question, tuple(text is None for text in texts), direction == "before"), [
        text for text in texts if text is not None
    ]


@lru_cache(4_096)
def _start_at(question: Question, nulls: tuple[bool, ...], backward: bool) -> Question:
    listing = replace(question.listing, start=Start(nulls, backward))
    return replace(question, listing=listing, text=compose_list(listing))


class _Reader:
    """Reads parameters one by one, and keeps all faults."""

    def __init__(self, entity: Served) -> None:
        self._entity = entity
        self._seen: set[str] = set()
        self._nodes: list[Node] = []
        self.conditions = Conditions(entity)
        self.faults: list[Pointer] = []
        self.limit, self.offset = DEFAULT_LIMIT, 0
        self.sort: tuple[Sort, ...] = ()
        self.fields: tuple[str, ...] | None = None
        self.search: str | None = None
        self.count: Count = "none"
        self.lineage = False

    @property
    def filter(self) -> Node | None:
        """All conditions together."""
        return None if not self._nodes else self._nodes[0] if len(self._nodes) == 1 else All(tuple(self._nodes))

    def take(self, name: str, text: str) -> None:
        """Read one parameter."""
        try:
            if name in self._seen:
                hint = (
                    "" if name in _READ else f"; one of several values is `{name}.in=`, more conditions go in `filter`"
                )
                raise Fault(f"this stands twice{hint}")
            self._seen.add(name)
            read = _READ.get(name)
            if read is None:
                self._nodes.append(read_parameter(self.conditions, name, text))
            else:
                read(self, text)
        except Fault as fault:
            place = "" if fault.at is None else f"at character {fault.at}: "
            self.faults.append(_pointer(name, place + fault.detail))

    def _read_filter(self, text: str) -> None:
        self._nodes.append(expression.parse(self.conditions, text))

    def _read_limit(self, text: str) -> None:
        self.limit = _whole(text, 1, LARGEST_LIMIT)

    def _read_offset(self, text: str) -> None:
        self.offset = _whole(text, 0, LARGEST_OFFSET, "; go on by `next`, which costs the same at any depth")

    def _read_sort(self, text: str) -> None:
        order: list[Sort] = []
        for name, at in _names(text):
            one = Sort(name.removeprefix("-"), name.startswith("-"))
            if one.field not in self._entity.fields:
                raise Fault(_no_field(self._entity, one.field), at)
            if not self._entity.document.is_indexed(one.field):
                raise Fault(f"`{one.field}` has no index: a list is sorted by fields with `index: true`", at)
            if any(one.field == earlier.field for earlier in order):
                raise Fault(f"`{one.field}` stands twice", at)
            order.append(one)
        named = [one.field for one in order]
        unique = max(named.index(name) for name in self._entity.key) if set(self._entity.key) <= set(named) else None
        if unique is not None:
            # Behind the whole key nothing is left to sort.
            del order[unique + 1 :]
        rest = [name for name in self._entity.key if all(name != one.field for one in order)]
        # In the direction of the last one, so that one index gives the whole order.
        self.sort = (*order, *(Sort(name, order[-1].descends) for name in rest))

    def _read_fields(self, text: str) -> None:
        fields: list[str] = []
        for name, at in _names(text):
            if name not in self._entity.fields:
                raise Fault(_no_field(self._entity, name), at)
            if name in fields:
                raise Fault(f"`{name}` stands twice", at)
            fields.append(name)
        self.fields = tuple(fields)

    def _read_search(self, text: str) -> None:
        if not any(field.search for field in self._entity.fields.values()):
            raise Fault(f"no field of `{self._entity.name}` has `search: true`")
        if len(text) > LONGEST_SEARCH:
            raise Fault(f"at most {LONGEST_SEARCH} characters are taken", LONGEST_SEARCH)
        try:
            self.search = spell_text(text)
        except ValueError as error:
            raise Fault(str(error)) from None

    def _read_count(self, text: str) -> None:
        match text:
            case "none" | "estimated" | "exact":
                self.count = text
            case _:
                raise Fault(f"this is one of {', '.join(COUNTS)}")

    def _read_lineage(self, text: str) -> None:
        if text not in ("1", "0"):
            raise Fault("this is 1 or 0")
        self.lineage = text == "1"


_READ: Final[Mapping[str, Callable[[_Reader, str], None]]] = {
    "filter": _Reader._read_filter,
    "limit": _Reader._read_limit,
    "offset": _Reader._read_offset,
    "sort": _Reader._read_sort,
    "fields": _Reader._read_fields,
    "q": _Reader._read_search,
    "count": _Reader._read_count,
    "lineage": _Reader._read_lineage,
}


def _names(text: str) -> list[tuple[str, int]]:
    """The names between commas, each with the character where it begins."""
    names: list[tuple[str, int]] = []
    at = 0
    for name in text.split(","):
        names.append((name, at))
        at += len(name) + 1
    return names


def _whole(text: str, least: int, most: int, hint: str = "") -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and least <= int(text) <= most):
        raise Fault(f"this is a whole number from {least} to {most}{hint}")
    return int(text)


def _no_field(entity: Served, name: str) -> str:
    return f"`{name[:60]}` is no field of `{entity.name}`"


def _pointer(name: str, detail: str) -> Pointer:
    return Pointer(f"/{escape_pointer(name[:200])}", detail, "query")


def _malformed(pointers: Sequence[Pointer]) -> Malformed:
    count = len(pointers)
    told = "one fault" if count == 1 else f"{count} faults"
    return Malformed(f"The request has {told} in its query.", pointers=pointers)

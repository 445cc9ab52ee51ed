"""Reading records and lists: one statement each, whose bytes are passed on as PostgreSQL glued them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from nms.common.db.dsn import DSNType
from nms.common.db.readers import Readers
from nms.common.paging import Cursors
from nms.common.problem import NOTHING_HERE, NotFound, Problem
from nms.warehouse.entities import Served
from nms.warehouse.filter import Value
from nms.warehouse.horizon import Horizon
from nms.warehouse.lineage import tag_record
from nms.warehouse.page import Question, open_cursor, read_question, read_view, split_query
from nms.warehouse.problems import ListTooCostly, PageTooLarge, ReadTooLong
from nms.warehouse.repository import EntityRepository
from nms.warehouse.settings import WarehouseSettings
from nms.warehouse.statement import (
    BETWEEN,
    LARGEST_PAGE,
    Listing,
    View,
    compose_count,
    compose_estimate,
    compose_record,
    compose_state,
    compose_weighed,
)

CANCELLED: Final = "57014"
VERDICT_SECONDS: Final = 10.0
"""How long the cost of a list is known that is far below the limit; values make little difference there."""
_FAR: Final = 0.1
_MOST_VERDICTS: Final = 4_096
_JSON: Final = (b"content-type", b"application/json")
_CACHE: Final = (b"cache-control", b"private, no-cache")
_WHOLE: Final = View()
Headers: TypeAlias = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes out for a request."""

    status: int
    body: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class ListRequest:
    """A list that is asked for: its path as the caller sees it, and of which record of a parent it is."""

    entity: Served
    path: str
    query: bytes
    none_match: str | None
    parent: tuple[Served, str] | None = None
    key: str | None = None


class Reading:
    """The readers of one process."""

    def __init__(self, secret: bytes, settings: WarehouseSettings) -> None:
        self._secret = secret
        self._seconds, self._largest_cost = settings.read_seconds, settings.largest_cost
        self._horizon = Horizon(_settled)
        self._readers = Readers(DSNType.DWH, settings.read_seconds, opened=self._horizon.forget)
        self._verdicts: dict[Listing, float] = {}

    async def close(self) -> None:
        """Close its connections."""
        await self._readers.close()

    async def read_record(self, entity: Served, key: Sequence[str], query: bytes, none_match: str | None) -> Answer:
        """One record; raises NotFound, Malformed."""
        view = read_view(entity, split_query(query).items) if query else _WHOLE
        row = await self._fetch(compose_record(entity, view), key)
        if row is None:
            raise NotFound(NOTHING_HERE)
        tag = tag_record(row[1], entity.build)
        if none_match is not None and not view.lineage and _names(none_match, tag):
            return Answer(304, b"", _headers(tag))
        return Answer(200, row[0], [_JSON, *_headers(tag)])

    async def read_list(self, asked: ListRequest) -> Answer:
        """One page of a list; raises NotFound, Malformed, CursorRefused, ListTooCostly, PageTooLarge, ReadTooLong."""
        given = split_query(asked.query)
        question = read_question(asked.entity, given.items, asked.parent)
        first = question.listing
        keys = [] if asked.key is None else [asked.key]
        values = (*question.values, *keys)
        cursors = Cursors(self._secret, f"{asked.path}?{question.about}")
        tagged = not first.view.lineage
        if tagged and asked.none_match not in (None, "*"):
            newest = await self._fetch(compose_state(first), ())
            known = _tag_list(asked, newest[0])
            if _names(asked.none_match, known):
                return Answer(304, b"", _headers(known))
        await self._check_cost(question, values)
        page, starts = (question, ()) if given.cursor is None else open_cursor(cursors, question, given.cursor)
        row, settled = await self._fetch_settled(page, (*values, *starts), tagged=tagged)
        if asked.parent is not None and not row["exists"]:
            raise NotFound(NOTHING_HERE)
        if row["found"] and row["items"] is None:
            raise _too_large(row["size"])
        tag = _tag_list(asked, row["state"]) if tagged and row["state"] <= settled else None
        if tag is not None and asked.none_match == "*":
            return Answer(304, b"", _headers(tag))
        count = await self._count(question, values, row)
        return _show(page, row, cursors, tag, count)

    async def _fetch_settled(self, page: Question, values: Sequence[Value | None], *, tagged: bool) -> tuple[Any, int]:
        """The page, and up to where everything was settled before it was read.

        It is read once more where it may show a change of which an older one was under way.
        """
        horizon = self._horizon
        settled, era = horizon.reached, horizon.era
        row = await self._fetch(page.text, values)
        if tagged and (row["state"] > settled or era != horizon.era) and await horizon.advance():
            settled, era = horizon.reached, horizon.era
            row = await self._fetch(page.text, values)
        if row["items"] is None and row["found"] and "size" not in row:
            row = await self._fetch(compose_weighed(page.listing), values)
        return row, settled if era == horizon.era else -1

    async def _check_cost(self, question: Question, values: Sequence[Value]) -> None:
        listing = question.listing
        if listing.filter is None and not (listing.search or listing.counted or listing.offset or listing.sort[1:]):
            return
        now = time.monotonic()
        if self._verdicts.get(listing, 0.0) > now:
            return
        cost = (await self._plan(compose_estimate(listing), values))["Total Cost"]
        if listing.counted:
            cost += (await self._plan(compose_count(listing), values))["Total Cost"]
        if cost > self._largest_cost:
            raise ListTooCostly(
                f"PostgreSQL estimates {cost:,.0f}, and {self._largest_cost:,.0f} are allowed.",
                cost=round(cost),
                limit=round(self._largest_cost),
            )
        if cost < self._largest_cost * _FAR:
            if len(self._verdicts) >= _MOST_VERDICTS:
                self._verdicts.clear()
            self._verdicts[listing] = now + VERDICT_SECONDS

    async def _count(self, question: Question, values: Sequence[Value], row: Any) -> int | None:
        if question.count == "none":
            return None
        if question.count == "exact":
            return int(row["counted"])
        return int((await self._plan(compose_count(question.listing), values))["Plan Rows"])

    async def _plan(self, text: str, values: Sequence[Value]) -> Mapping[str, Any]:
        plan: Mapping[str, Any] = (await self._fetch(text, values))[0][0]["Plan"]
        return plan

    async def _fetch(self, text: str, values: Sequence[Value | None]) -> Any:
        try:
            return await self._readers.fetch_row(text, *values)
        except Problem as problem:
            if problem.facts.get("sqlstate") != CANCELLED:
                raise
        raise ReadTooLong(f"It took longer than {self._seconds:g} s.", limit=self._seconds)


async def _settled() -> int:
    return await (await EntityRepository.open()).get_settled()


def _show(page: Question, row: Any, cursors: Cursors, tag: str | None, count: int | None) -> Answer:
    """The answer of a page: its records as they came, and the ways on and back."""
    listing, found = page.listing, row["found"]
    start = listing.start
    more, backward = found > listing.limit, start is not None and start.backward
    after = cursors.seal(["after", *row["last"]]) if found and (more or backward) else None
    began = start is not None or listing.offset > 0
    before = cursors.seal(["before", *row["first"]]) if found and (more if backward else began) else None
    links = [
        f'<?{page.link}&cursor={cursor}>; rel="{name}"'
        for name, cursor in (("next", after), ("prev", before))
        if cursor is not None
    ]
    counted = b"" if count is None else b',"count":%d' % count
    items = _shown_of(page, row) if found else b""
    body = b'{"items":[%b],"next":%b,"prev":%b%b}' % (items, _quoted(after), _quoted(before), counted)
    headers = [_JSON, *_headers(tag)]
    if links:
        headers.append((b"link", ", ".join(links).encode()))
    return Answer(200, body, headers)


def _shown_of(page: Question, row: Any) -> bytes:
    """The records of a page without the one that shows only that there are more; what was weighed has none."""
    items: bytes = row["items"]
    if row["found"] <= page.listing.limit or "size" in row:
        return items
    start = page.listing.start
    if start is not None and start.backward:
        return items[items.index(BETWEEN) + len(BETWEEN) :]
    return items[: items.rindex(BETWEEN)]


def _quoted(cursor: str | None) -> bytes:
    return b"null" if cursor is None else b'"%b"' % cursor.encode()


def _headers(tag: str | None) -> Headers:
    return [_CACHE] if tag is None else [_CACHE, (b"etag", tag.encode())]


def _tag_list(asked: ListRequest, state: int) -> str:
    """The entity tag of a list: what changed last, and what its entities were built from."""
    below = "" if asked.parent is None else f"-{asked.parent[0].build}"
    return f'"{state}-{asked.entity.build}{below}"'


def _names(none_match: str, tag: str) -> bool:
    """Whether a header If-None-Match names this tag (RFC 9110, section 13.1.2: compared weakly)."""
    return none_match == "*" or any(one.strip().removeprefix("W/") == tag for one in none_match.split(","))


def _too_large(size: int) -> PageTooLarge:
    return PageTooLarge(
        f"The records of this page have {size} bytes, and {LARGEST_PAGE} are sent at most.",
        size=int(size),
        limit=LARGEST_PAGE,
    )

"""Lists in pages: each style of telling where the next one is, and each way of getting it wrong."""

import base64
import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.services.hostile.collection import Collection, Record
from tests.services.hostile.wire import JSON, Answer, Request

# Parameters that are no filters.
RESERVED = {"page", "per_page", "limit", "offset", "cursor", "updated_since", "fields", "deleted"}


@dataclass(frozen=True, slots=True)
class Page:
    """A cut of the listed ids: `total` of all, from `start`, at most `size`; `mark` is the cursor after it."""

    ids: Sequence[int]
    total: int
    start: int
    size: int
    mark: str

    @property
    def more(self) -> bool:
        return self.start + self.size < self.total


def list_records(collection: Collection, request: Request, base: str, twist: str = "") -> Answer:
    """One page of a collection; `base` is scheme and address for URLs, `twist` a wrong way (see `cut`)."""
    query = request.query
    ids = listed(collection, query)
    page = cut(collection, ids, query, twist)
    records = encode_records(collection, page.ids, query.get("fields", ""))
    if twist == "vanish" and page.start == 0 and page.ids:
        collection.remove(page.ids[0])
    style, following = collection.options.paging, Following(request, base, page, twist)
    told = STYLES[style](following) if style in STYLES else {}
    headers = HEADERS[style](following) if style in HEADERS else {}
    envelope = collection.options.envelope
    if not envelope:
        headers, body = {**headers, "X_Total_Count": str(page.total)}, records
    else:
        rest = ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in told.items())
        body = f"{{{json.dumps(envelope)}: {records}{', ' if rest else ''}{rest}}}"
    return Answer(200, JSON, body.encode()).with_headers(**headers)


def listed(collection: Collection, query: dict[str, str]) -> Sequence[int]:
    """Ids in the order of the list: by id, with `updated_since` by touch; other parameters filter by equality."""
    options = collection.options
    if "updated_since" in query:
        ids: Sequence[int] = collection.since(query["updated_since"])
    elif options.delete == "soft" and not query.get("deleted"):
        ids = [number for number in collection.order if not collection.records[number].get("deleted")]
    else:
        ids = collection.order
    filters = {name: value for name, value in query.items() if name not in RESERVED}
    if not filters:
        return ids
    return [number for number in ids if _matches(collection.get(number) or {}, filters)]


def cut(collection: Collection, ids: Sequence[int], query: dict[str, str], twist: str) -> Page:
    """The page that a query asks for; raises ValueError when it asks nonsense.

    Twists: `repeat` (the second page is the first one again), `skip` (a page is left out after the first),
    `short` (half of the page is missing), `empty` (the second page has nothing), `clamp` (past the end comes the last
    page again), `loop` (see Following).
    """
    size = min(
        int(query.get("per_page", query.get("limit", collection.options.page_size))), collection.options.page_size
    )
    if size < 1:
        raise ValueError("a page holds at least one record")
    if collection.options.paging == "none":
        size = max(1, len(ids))
    start = _start(collection, ids, query, size)
    shown = start
    if twist == "repeat" and start == size:
        shown = 0
    elif twist == "skip" and start >= size:
        shown = start = start + size
    elif twist == "clamp" and start >= len(ids):
        shown = max(0, len(ids) - size)
    cut_ids = ids[shown : shown + size]
    mark = encode(_place(collection, ids[min(start + size, len(ids)) - 1])) if ids else ""
    if twist == "short":
        cut_ids = cut_ids[: len(cut_ids) // 2]
    elif twist == "empty" and start == size:
        cut_ids = []
    return Page(cut_ids, len(ids), start, size, mark)


def encode_records(collection: Collection, ids: Sequence[int], fields: str) -> str:
    """Records as a JSON array, whole or with the named members only."""
    if not fields:
        return f"[{', '.join(map(collection.encode, ids))}]"
    names = fields.split(",")
    records = (collection.get(number) or {} for number in ids)
    return json.dumps([{name: value for name, value in one.items() if name in names} for one in records])


@dataclass(frozen=True, slots=True)
class Following:
    """How a page tells of the next one; with the twist `loop` it tells of itself."""

    request: Request
    base: str
    page: Page
    twist: str

    @property
    def cursor(self) -> str | None:
        """The mark after this page's last record; None at the end."""
        if self.twist == "loop":
            return self.request.query.get("cursor") or encode(("", 0))
        return self.page.mark if self.page.more else None

    @property
    def url(self) -> str | None:
        """The URL of the next page; None at the end."""
        if self.twist == "loop":
            return self.base + self.request.target
        if not self.page.more:
            return None
        split = urlsplit(self.request.target)
        number = (self.page.start // self.page.size) + 2
        return f"{self.base}{split.path}?{urlencode({**dict(parse_qsl(split.query)), 'page': number})}"

    @property
    def totals(self) -> dict[str, Any]:
        """How many there are; a resource that goes round in circles does not say."""
        return {} if self.twist in ("clamp", "loop") else {"total": self.page.total}


def encode(place: tuple[str, int]) -> str:
    """An opaque cursor of a place: the last touch and the id before it."""
    return base64.urlsafe_b64encode(f"{place[0]}|{place[1]}".encode()).decode()


def decode(cursor: str) -> tuple[str, int]:
    """The place a cursor stands for; raises ValueError."""
    at, _, number = base64.urlsafe_b64decode(cursor).decode().partition("|")
    return at, int(number)


def tag(answer: Answer) -> str:
    """An opaque tag of an answer's body."""
    return hashlib.sha256(answer.body).hexdigest()[:16]


def _number(following: Following) -> dict[str, Any]:
    page = following.page
    told = following.totals
    number = page.start // page.size + 1
    return {"page": number, **told, **({"pages": -(-page.total // page.size)} if told else {})}


def _offset(following: Following) -> dict[str, Any]:
    return {"offset": following.page.start, "limit": following.page.size, **following.totals}


def _link(following: Following) -> dict[str, str]:
    links = [f'<{following.base}{urlsplit(following.request.target).path}?page=1>; rel="first"']
    return {"Link": ", ".join([*links, *([f'<{following.url}>; rel="next"'] if following.url else [])])}


STYLES: dict[str, Callable[[Following], dict[str, Any]]] = {
    "page": _number,
    "offset": _offset,
    "cursor": lambda following: {"next_cursor": following.cursor},
    "next-url": lambda following: {"next": following.url},
}
HEADERS: dict[str, Callable[[Following], dict[str, str]]] = {
    "link": _link,
    "cursor-header": lambda following: {"X_Next_Cursor": following.cursor} if following.cursor else {},
}


def _start(collection: Collection, ids: Sequence[int], query: dict[str, str], size: int) -> int:
    if query.get("cursor"):
        place = decode(query["cursor"])
        if "updated_since" not in query:
            return bisect_right(ids, place[1])
        return bisect_right(ids, place, key=lambda number: _place(collection, number))
    if "offset" in query:
        return max(0, int(query["offset"]))
    return (max(1, int(query.get("page", 1))) - 1) * size


def _place(collection: Collection, number: int) -> tuple[str, int]:
    return (collection.get(number) or {}).get("updated_at", ""), number


def _matches(record: Record, filters: dict[str, str]) -> bool:
    return all(str(record.get(name)) == value for name, value in filters.items())

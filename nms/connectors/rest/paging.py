"""The arithmetic of pages: what is asked for first, what follows an answer, and when a list ends (pure)."""

import re
from collections.abc import Mapping
from typing import Any, Final

from nms.common.document.rest import CursorPages, LinkedPages, NumberedPages, OnePage
from nms.common.egress.exchange import Answer
from nms.common.search import search
from nms.connectors.rest.ask import resolve_link
from nms.connectors.rest.problems import NextPageLoop
from nms.connectors.rest.records import number

Place = dict[str, Any]
"""Where a list goes on: {} at its beginning, else `at` (a number), `cursor` or `url`."""
Style = OnePage | NumberedPages | CursorPages | LinkedPages

_LINK: Final = re.compile(r'<([^<>]*)>((?:\s*;\s*[\w!#$&+.^`|~*-]+\s*(?:=\s*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]*))?)*)')
_PARAMETER: Final = re.compile(r';\s*([\w!#$&+.^`|~*-]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?')


def ask_of(paging: Style, place: Place, path: str, query: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Path (or URL) and query of the request for the page at a place; a link brings its own query."""
    asked = dict(query)
    if isinstance(paging, OnePage):
        return path, asked
    if paging.size_parameter is not None:
        asked[paging.size_parameter] = str(paging.size)
    if "url" in place:
        return place["url"], {}
    if isinstance(paging, NumberedPages):
        asked[paging.parameter] = str(place["at"])
    elif isinstance(paging, CursorPages) and "cursor" in place:
        asked[paging.parameter] = place["cursor"]
    return path, asked


def following(paging: Style, base: str, url: str, answer: Answer, body: Any) -> Place | None:
    """Where a list goes on behind the answer to `url`, by what it tells; None at the end, and where pages have numbers.

    Raises OriginForeign for a link that leads away from the base URL's origin.
    """
    if isinstance(paging, CursorPages):
        told = search(body, paging.next) if paging.next else answer.headers.get((paging.next_header or "").lower())
        usable = isinstance(told, str | int) and not isinstance(told, bool) and str(told)
        return {"cursor": str(told)} if usable else None
    if isinstance(paging, LinkedPages):
        link = (
            read_link(answer.headers.get("link", "")) if paging.style == "link" else search(body, paging.next or "next")
        )
        return {"url": resolve_link(base, url, link)} if isinstance(link, str) and link.strip() else None
    return None


def total_of(paging: Style, answer: Answer, body: Any) -> int | None:
    """How many records the remote says that the whole list has, right or wrong."""
    if not isinstance(paging, NumberedPages):
        return None
    told = search(body, paging.total) if paging.total else answer.headers.get((paging.total_header or "").lower())
    return number(told)


def read_link(header: str) -> str | None:
    """The target of the link with the relation `next` in a header Link (RFC 8288 section 3)."""
    for target, parameters in _LINK.findall(header):
        # Of several the first counts (section 3.3); a title may hold anything.
        rel = next(
            (quoted + bare for name, quoted, bare in _PARAMETER.findall(parameters) if name.lower() == "rel"), ""
        )
        if "next" in rel.lower().split():
            return str(target)
    return None


class Numbers:
    """The numbers of pages to ask for, or (style `offset`) of their first records.

    Without a total a list ends with an empty page: a remote may give fewer records a page than it is asked for. The
    step of offsets is what the first page holds, and behind a shorter one it goes on where that ended. With a total
    an empty page before it does not end a list; one that is less than what came is not believed (some tell 0, or the
    records of this page), so behind a first page that is all there is another one is asked for; below parents (not
    `wary`), where that could double the requests, only behind a full one. A remote that gives its last page again and
    again, where there are no more, is at its end when three pages are alike; one that does so from its first page on
    heeds no number, and that is a Problem.
    """

    def __init__(self, paging: NumberedPages, at: int | None = None, *, wary: bool = True) -> None:
        self._paging = paging
        self._doubted = 1 if wary else paging.size
        self._told: int | None = None
        self._pages = paging.style == "page"
        self._base = paging.start
        self.at: int = self._base if at is None else at
        self._full = 0
        self._end: int | None = None
        self._alike: list[object] = []
        self._others = self.at != self._base
        self._came = (self.at - self._base) * (self._paging.size if self._pages else 1)

    @property
    def more(self) -> bool:
        """Whether there is a page to ask for, as far as is known."""
        return self._end is None or self.at < self._end

    @property
    def ends(self) -> bool:
        """Whether the remote has told where the list ends."""
        return self._end is not None

    def take(self) -> int:
        """The number of the next page to ask for; moves on."""
        taken = self.at
        self.at += 1 if self._pages else self._step
        return taken

    def behind(self, at: int, count: int, total: int | None) -> int:
        """The number behind a page that holds so many records of a total."""
        self._full = self._full or count
        self._came += count
        self._told = total
        if total is not None:
            self._end = self._base + (-(-total // self._step) if self._pages else total)
        if total is None or self._is_doubtful(at, count, total):
            self._end = None
        return at + (1 if self._pages else count or self._step)

    def is_last(self, at: int, count: int, total: int | None, alike: object) -> bool:
        """Whether a page is the last; `alike` is equal for pages with the same records. To be called after `behind`.

        Raises NextPageLoop.
        """
        third = count > 0 and self._is_third(alike)
        if total is None or self._is_doubtful(at, count, total):
            return not count or third
        passed = (at - self._base) * (self._step if self._pages else 1)
        behind = at + (1 if self._pages else count or self._step)
        return (not count and passed >= total) or (self._end is not None and behind >= self._end)

    @property
    def is_told_whole(self) -> bool:
        """Whether all came that the remote said there are: a page behind that may be refused."""
        return self._came == self._told

    @property
    def _step(self) -> int:
        return self._full or self._paging.size

    def _is_doubtful(self, at: int, count: int, total: int) -> bool:
        return self._came > total or (at == self._base and count == total >= self._doubted)

    def _is_third(self, alike: object) -> bool:
        self._others = self._others or self._alike not in ([], [alike], [alike] * 2)
        self._alike = [*self._alike[-2:], alike]
        if self._alike != [alike] * 3:
            return False
        if not self._others:
            raise NextPageLoop(
                f"The first three pages are the same: `{self._paging.parameter}` seems not to be heeded.",
                remedy="Correct `parameter`; where the remote gives its last page again and again, name `total`.",
            )
        return True


class Tally:
    """What was counted of one list, against what the remote told of it."""

    def __init__(self, *, moved: bool = False) -> None:
        self._moved = moved
        self._records = 0
        self._total: int | None = None

    def note(self, count: int, total: int | None) -> None:
        """Count a page."""
        self._records += count
        if total is not None and self._total not in (None, total):
            self._moved = True
        self._total = self._total if total is None else total

    @property
    def is_moved(self) -> bool:
        """Whether records moved between the pages, or not all came, or some came twice."""
        return self._moved or self._total not in (None, self._records)

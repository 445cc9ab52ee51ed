"""What was answered before: validators of pages, so that one that did not change costs a 304 and nothing else."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nms.common.egress.exchange import Answer
from nms.common.rate_advice import read_date

MOST: Final = 20_000


@dataclass(frozen=True, slots=True)
class Remembered:
    """The headers to ask on condition with (empty: it has no validator), and what the page said of the list."""

    headers: Mapping[str, str]
    place: Mapping[str, Any] | None
    count: int
    total: int | None
    alike: int


class Memory:
    """The pages of one open source by URL, those not used for longest forgotten.

    It lasts as long as the source is open: a page is passed over only if this very source handed it on, and the target
    took it, for a source does not outlive a batch that failed.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, Remembered] = OrderedDict()

    def get(self, url: str) -> Remembered | None:
        """What is known of a page."""
        known = self._known.get(url)
        if known is not None:
            self._known.move_to_end(url)
        return known

    def put(self, url: str, page: Remembered) -> None:
        """Remember a page that has a validator."""
        self._known.pop(url, None)
        if page.headers:
            self._known[url] = page
            if len(self._known) > MOST:
                self._known.popitem(last=False)


def condition_of(answer: Answer) -> dict[str, str]:
    """The headers to ask again with: If-None-Match, else If-Modified-Since; empty where neither can be relied on.

    A Last-Modified that is younger than a second at the time of the answer may stand for two states (RFC 9110 8.8.2.2).
    """
    tag = answer.headers.get("etag", "")
    if tag:
        return {"if-none-match": tag}
    modified, now = (read_date(answer.headers.get(name, "")) for name in ("last-modified", "date"))
    if modified is None or now is None or (now - modified).total_seconds() < 2:
        return {}
    return {"if-modified-since": answer.headers["last-modified"]}

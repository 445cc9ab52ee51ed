"""What a remote says about when to come again: Retry-After, RateLimit fields and their many older forms. Pure."""

import math
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from nms.common.clock import backoff

LONGEST_FIELD: Final = 4096
"""A longer header value is garbage."""
EPOCH_FROM: Final = 1_000_000_000
"""A number of seconds from here on (2001) is a moment, not a span of thirty years; a thousandfold is milliseconds."""
LONGEST_SPAN: Final = 10 * 366 * 86_400.0
"""No remote means more than ten years."""

_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_TIME: Final = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
# RFC 9110 section 5.6.7: IMF-fixdate, and the two obsolete forms that must still be read.
_DATES: Final = (
    re.compile(rf"[A-Z][a-z]{{2}}, (?P<day>[0-9]{{2}}) (?P<month>[A-Z][a-z]{{2}}) (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    re.compile(rf"[A-Z][a-z]{{5,8}}, (?P<day>[0-9]{{2}})-(?P<month>[A-Z][a-z]{{2}})-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
    re.compile(rf"[A-Z][a-z]{{2}} (?P<month>[A-Z][a-z]{{2}}) (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)
_PREFIXES: Final = ("ratelimit-", "x-ratelimit-", "x-rate-limit-")
# draft-ietf-httpapi-ratelimit-headers-08 and later: `"name";r=50;t=30` and `"name";q=100;w=60`.
_ITEM: Final = re.compile(
    r"""\s*(?:"((?:[^"\\]|\\.)*)"|([A-Za-z*][\w.:%*/-]*))((?:\s*;\s*[a-z*][\w.*-]*(?:=[^;,"]*|="[^"]*")?)*)\s*(?:,|$)"""
)
_PARAMETER: Final = re.compile(r";\s*([a-z*][\w.*-]*)=([0-9]{1,15})(?=\s*(?:;|$))")
# draft 07: `limit=100, remaining=50, reset=30`
_PAIR: Final = re.compile(r"(?:^|[,;])\s*(limit|remaining|reset)=([0-9]{1,15})(?=\s*(?:[,;]|$))")


@dataclass(frozen=True, slots=True)
class Wait:
    """How long to stay away: `seconds`, at most the cap, of the `asked` ones."""

    seconds: float
    asked: float

    @property
    def capped(self) -> bool:
        """Whether the remote asked for more than is heeded: somebody should be told."""
        return self.asked > self.seconds


@dataclass(frozen=True, slots=True)
class Allowed:
    """One quota as the remote tells it; what it does not tell is None. `reset` and `window` are seconds from now."""

    name: str = ""
    remaining: float | None = None
    reset: float | None = None
    limit: float | None = None
    window: float | None = None


def read_wait(headers: Mapping[str, str], now: datetime, cap: float) -> Wait | None:
    """How long an answer asks to stay away, at most `cap` seconds; None when it does not say so, or says garbage.

    Retry-After (RFC 9110 section 10.2.3) in seconds, also broken ones, or as a date in each of the three forms, which
    is compared with the answer's own Date, since clocks differ. Without it the reset of a used-up quota. Names of
    `headers` are lower case.
    """
    asked = _read_span(headers.get("retry-after", ""), read_date(headers.get("date", "")) or now)
    if asked is None:
        spent = [one.reset for one in read_allowed(headers, now) if one.remaining == 0 and one.reset is not None]
        asked = max(spent, default=None)
    return None if asked is None else Wait(min(asked, cap), asked)


def read_allowed(headers: Mapping[str, str], now: datetime) -> list[Allowed]:
    """Every quota an answer tells of, newest form first; garbage is left out.

    Read are `RateLimit` with `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers, 08 and later), `RateLimit` of
    draft 07, and Limit, Remaining, Reset, Reset-After under `RateLimit-`, `X-RateLimit-` and `X-Rate-Limit-`, with a
    reset in seconds, as a moment in seconds or milliseconds since 1970, or as a date.
    """
    clock = read_date(headers.get("date", "")) or now
    return _read_items(headers) or _read_pairs(headers) or _read_triples(headers, clock)


def pause(
    attempt: int, wait: Wait | None, *, base: float, cap: float, chance: Callable[[], float] = random.random
) -> float:
    """Seconds until attempt `attempt` + 1: what the remote asks for and up to a tenth more, so that a crowd spreads.

    Without such a wish the backoff from `base` to `cap`; never less than its first step.
    """
    if wait is None:
        return backoff(attempt, base=base, cap=cap, chance=chance)
    return max(wait.seconds * (1.0 + 0.1 * chance()), backoff(1, base=base, cap=cap, chance=chance))


def read_date(text: str) -> datetime | None:
    """An HTTP date in one of its three forms (RFC 9110 section 5.6.7), or None."""
    found = next(filter(None, (form.fullmatch(text.strip()) for form in _DATES)), None)
    if found is None or found["month"] not in _MONTHS:
        return None
    year = int(found["year"])
    if len(found["year"]) == 2:
        # A year more than 50 years ahead is the one a century before.
        ahead = datetime.now(UTC).year + 50
        year += ahead // 100 * 100
        year -= 100 if year > ahead else 0
    parts = (int(found[name]) for name in ("day", "hour", "minute", "second"))
    day, hour, minute, second = parts
    try:
        # A leap second is the end of its minute.
        return datetime(year, _MONTHS.index(found["month"]) + 1, day, hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError:
        return None


def _read_span(text: str, now: datetime) -> float | None:
    """Seconds from a number, a moment or a date; what is past is 0."""
    text = text.strip()
    if not text or len(text) > LONGEST_FIELD:
        return None
    if not _NUMBER.fullmatch(text):
        date = read_date(text)
        return None if date is None else max(0.0, (date - now).total_seconds())
    number = float(text)
    if number >= EPOCH_FROM * 1000:
        number /= 1000
    if number >= EPOCH_FROM:
        number = max(0.0, number - now.timestamp())
    return min(number, LONGEST_SPAN)


def _read_items(headers: Mapping[str, str]) -> list[Allowed]:
    policies = dict(_items(headers.get("ratelimit-policy", "")))
    found = []
    for name, told in _items(headers.get("ratelimit", "")):
        policy = policies.get(name, {})
        if "r" in told:
            found.append(Allowed(name, told["r"], told.get("t"), policy.get("q"), policy.get("w")))
    return found


def _items(text: str) -> Iterator[tuple[str, dict[str, float]]]:
    place = 0
    while place < len(text) <= LONGEST_FIELD:
        found = _ITEM.match(text, place)
        if found is None:
            return
        parameters = {name: float(value) for name, value in _PARAMETER.findall(found[3])}
        yield found[1] or found[2] or "", parameters
        place = found.end()


def _read_pairs(headers: Mapping[str, str]) -> list[Allowed]:
    text = headers.get("ratelimit", "")
    told = dict(_PAIR.findall(text)) if len(text) <= LONGEST_FIELD else {}
    if "remaining" not in told:
        return []
    numbers = {name: float(value) for name, value in told.items()}
    return [Allowed("", numbers["remaining"], numbers.get("reset"), numbers.get("limit"))]


def _read_triples(headers: Mapping[str, str], now: datetime) -> list[Allowed]:
    found = []
    for prefix in _PREFIXES:
        remaining = _number(headers.get(prefix + "remaining", ""))
        if remaining is None:
            continue
        after = headers.get(prefix + "reset-after") or headers.get(prefix + "reset", "")
        # The older drafts wrote policies behind the limit: `100, 100;w=60`.
        limit = _number(re.split("[,;]", headers.get(prefix + "limit", ""), maxsplit=1)[0])
        found.append(Allowed("", remaining, _read_span(after, now), limit))
    return found


def _number(text: str) -> float | None:
    text = text.strip()
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    return None if math.isnan(number) else number

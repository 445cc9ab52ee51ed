"""When a record changed, as remotes write it: compared, moved back in time, and asked for (pure)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

Form = Literal["as-is", "seconds", "milliseconds"]
MILLISECONDS_FROM: Final = Decimal(100_000_000_000)
"""Seconds since 1970 reach it in the year 5138; a larger number counts milliseconds."""
SINCE_SECONDS: Final = 631_152_000
"""The beginning of 1990: few records of today's systems are older."""
DAY_SECONDS: Final = 86_400

_NUMBER: Final = re.compile(r"[-+]?[0-9]{1,40}(?:\.[0-9]{1,40})?")
_TIME: Final = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:(?P<glue>[Tt ])(?P<clock>[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:(?P<dot>[.,])(?P<part>[0-9]{1,12}))?"
    r" ?(?P<zone>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)


@dataclass(frozen=True, slots=True)
class Moment:
    """One value of the field that tells when a record changed: a time, or a number; `text` is as the remote has it."""

    text: str
    value: datetime | Decimal

    @property
    def order(self) -> tuple[bool, Any]:
        """What moments are compared by: numbers before times, then by value."""
        return isinstance(self.value, datetime), self.value

    def is_clock(self, form: Form, at: datetime) -> bool:
        """Whether it is a time: by itself, since it is asked for as one, or as a number that is one since 1990.

        `at` is now. Any other number may be a counter, such as a version.
        """
        if isinstance(self.value, datetime) or form != "as-is":
            return True
        return _is_time(self.value, self._unit, at)

    @property
    def _unit(self) -> int:
        """How much of a number is one second."""
        return 1000 if isinstance(self.value, Decimal) and self.value >= MILLISECONDS_FROM else 1

    def back(self, seconds: float) -> "Moment":
        """The moment so many seconds earlier, written in the same way; rounded down."""
        if isinstance(self.value, Decimal):
            value = (self.value - Decimal(str(seconds)) * self._unit).to_integral_value("ROUND_FLOOR")
            return Moment(str(value), value)
        try:
            return _rewrite(self.text, timedelta(seconds=seconds)) or self
        except OverflowError:
            return self

    def until(self, at: datetime, form: Form) -> "Moment":
        """The moment, or `at` in its spelling (rounded down) where it is a time beyond that."""
        if isinstance(self.value, datetime):
            return self if self.value <= at else self.back((self.value - at).total_seconds())
        if not self.is_clock(form, at) or self.value <= (most := int(at.timestamp() * self._unit)):
            return self
        return Moment(str(most), Decimal(most))

    def ask(self, form: Form) -> str:
        """How it stands in a request."""
        if form == "as-is":
            return self.text
        if isinstance(self.value, datetime):
            span = self.value - datetime(1970, 1, 1, tzinfo=UTC)
            return str(span // timedelta(seconds=1) if form == "seconds" else span // timedelta(milliseconds=1))
        millis = self.value if self.value >= MILLISECONDS_FROM else self.value * 1000
        return str((millis / 1000 if form == "seconds" else millis).to_integral_value("ROUND_FLOOR"))


def read_moment(value: Any) -> Moment | None:
    """A JSON value as a moment: a number, or a time as ISO 8601 writes it (without a zone: UTC); None for others."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = value if isinstance(value, str) else repr(value)
    if _NUMBER.fullmatch(text):
        return Moment(text, Decimal(text))
    if not isinstance(value, str):
        try:
            return Moment(text, Decimal(text))
        except InvalidOperation:
            return None
    at = _read_time(text)
    return None if at is None else Moment(text, at if at.tzinfo else at.replace(tzinfo=UTC))


def newest(values: Sequence[Any]) -> Moment | None:
    """The newest of some JSON values; None where none can be read."""
    # Of one spelling they are in the order of their letters; to read each would cost more than to parse the page.
    alike = all(type(one) is str and len(one) == len(values[0]) and one[-1:] == "Z" for one in values)
    if values and alike and (found := read_moment(max(values))):
        return found
    moments = [one for one in map(read_moment, values) if one is not None]
    return max(moments, key=lambda one: one.order, default=None)


def count_times(values: Sequence[Any], at: datetime) -> int:
    """How many of some JSON values are numbers that are times from 1990 to `at`; none where the first is none."""
    if not values or type(values[0]) not in (int, float):
        return 0
    numbers = [one for one in values if type(one) in (int, float)]
    return sum(_is_time(one, 1000 if one >= MILLISECONDS_FROM else 1, at) for one in numbers)


def _is_time(number: Decimal | float, unit: int, at: datetime) -> bool:
    return SINCE_SECONDS <= float(number) / unit <= at.timestamp() + DAY_SECONDS


def later(one: Moment | None, other: Moment | None) -> Moment | None:
    """The newer of two moments; the other where one is None."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda each: each.order)


def _read_time(text: str) -> datetime | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    zone = (found["zone"] or "").upper()
    part = (found["part"] or "")[:6].ljust(6, "0")
    try:
        return datetime.fromisoformat(
            f"{found['day']}T{found['clock'] or '00:00'}{_seconds(found['clock'])}.{part}{zone}"
        )
    except ValueError:
        return None


def _seconds(clock: str | None) -> str:
    return "" if clock is not None and len(clock) == 8 else ":00"


def _rewrite(text: str, span: timedelta) -> Moment | None:
    found, at = _TIME.fullmatch(text), _read_time(text)
    if found is None or at is None:
        return None
    earlier = at - span
    written = earlier.strftime("%Y-%m-%d").rjust(10, "0")
    if found["clock"]:
        written += found["glue"] + earlier.strftime("%H:%M:%S" if len(found["clock"]) == 8 else "%H:%M")
    if found["part"]:
        digits = len(found["part"])
        written += found["dot"] + f"{earlier.microsecond:06d}".ljust(digits, "0")[:digits]
    written += found["zone"] or ""
    return read_moment(written)

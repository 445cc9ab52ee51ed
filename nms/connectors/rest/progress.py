"""Where a pull stands: what is asked for next, and how far an unfinished round has come (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nms.common import clock
from nms.common.document.rest import Resource
from nms.common.flow import Position
from nms.connectors.rest.form import Form
from nms.connectors.rest.moment import Form as MomentForm
from nms.connectors.rest.moment import Moment, later, read_moment
from nms.connectors.rest.problems import RecordsChanged, SinceUnreadable
from nms.connectors.rest.reading import Read

OVERLAP_SECONDS = 60.0
"""A record may appear so long after the time that it bears: what a transaction, a replica or a cache takes."""
KEPT_MISSING = 1_000
EXPERIENCE = 100
"""So many records in which a field never lacked make its lack a change of the schema."""
MOST = 0.5
Place = dict[str, Any]
Keys = tuple[str, ...]


@dataclass(slots=True)
class Reading:
    """One reading of a dataset that is under way: `place` is where it goes on, None at the beginning.

    `ordered` says that records came in the order of their changes; `moved` that they moved between the pages while
    they were read, so that one may have been passed over. `fields` are those that every record had. `date` is the
    remote's clock when it began, if known; `began` ours when its round did (seconds since 1970). Of the `total`
    that the remote told, `alike` records stand in pages that did not change; `times` of the records changed at a number
    that is a time since 1990. `left_out` tells of a list that was refused, and left out.
    """

    place: Place | None = None
    newest: Moment | None = None
    ordered: bool = True
    moved: bool = False
    records: int = 0
    fields: frozenset[str] | None = None
    date: datetime | None = None
    began: float | None = None
    total: int | None = None
    alike: int = 0
    times: int = 0
    left_out: str | None = None

    def take(self, read: Read, *, moved: bool, date: datetime | None) -> None:
        """Take note of a page."""
        self.date = self.date or date
        self.records += read.count
        self.times += read.times
        if read.newest is not None:
            follows = self.newest is None or read.oldest is None or self.newest.order <= read.oldest.order
            self.ordered = self.ordered and read.ordered and follows
            self.newest = later(self.newest, read.newest)
        if read.page is not None:
            self.fields = read.always if self.fields is None else self.fields & read.always
        self.moved = self.moved or moved

    @property
    def expected(self) -> int | None:
        """How many records it brings, all in all; None where the remote does not tell."""
        return None if self.total is None else max(self.records, self.total - self.alike)

    @property
    def changed_meanwhile(self) -> bool:
        """Whether a record is newer than the beginning, by the remote's clock: pages may have shifted by it."""
        at = None if self.newest is None else self.newest.value
        return self.date is not None and isinstance(at, datetime) and at > self.date

    def to_dict(self) -> Position:
        """As it stands in a position."""
        told = {
            "place": self.place,
            "newest": self.newest.text if self.newest else None,
            "ordered": self.ordered,
            "moved": self.moved,
            "records": self.records,
            "fields": None if self.fields is None else sorted(self.fields),
            "date": self.date.isoformat() if self.date else None,
            "began": None if self.began is None else round(self.began, 3),
            "total": self.total,
            "alike": self.alike or None,
            "times": self.times or None,
            "left_out": self.left_out,
        }
        return {name: value for name, value in told.items() if value is not None}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Reading":
        """What a position says."""
        fields = frozenset(told["fields"]) if "fields" in told else None
        date = datetime.fromisoformat(told["date"]) if "date" in told else None
        return cls(**{**told, "newest": read_moment(told.get("newest")), "fields": fields, "date": date})


@dataclass(slots=True)
class Standing:
    """Where one dataset stands. Records that changed from `since` on are asked for next, all of them when it is None.

    What is never missed, and why. A round takes time; a record that changes meanwhile may be passed over, although
    another with a newer change is seen. So not the newest change that was seen counts, but that less the time that the
    round took (and the overlap): whatever is older had changed before the round began. A field that is no clock but
    a counter has no such arithmetic: its newest value counts where the records came in its order, else the newest of
    the round before. Where pages shift while they are read (a record of a page that was read leaves it), one that did
    not change at all may be passed over: then the next round begins where this one began, `reached` is what it
    reached, and only the round after goes on from there. So each record is met in two rounds at least. A record of
    the future (a wrong clock, "never" as a date) is asked for in each round, and hides none that changes before it:
    nothing counts that is newer than the remote's clock when its first page came. Numbers are times, too, where most
    are since 1990. Such a number may be a counter all the same, and is treated as both: records may be read again,
    and none is missed.
    """

    since: Moment | None = None
    reached: Moment | None = None
    swept: float = 0.0
    missing: dict[Keys, float] = field(default_factory=dict)
    fields: frozenset[str] = frozenset()
    reading: Reading | None = None
    form: Form | None = None
    left_out: str | None = None

    def suit(self, form: Form) -> "Standing":
        """Where it stands once its resource is declared so: at the beginning where that is not what was read so far."""
        if self.form is not None and self.form[0] != form[0]:
            return Standing(form=form)
        if self.form is not None and self.form != form:
            self.reading = None
        self.form = form
        return self

    def check(self, dataset: str, read: Read) -> None:
        """Raise RecordsChanged where a field that every record had so far is in none of a page."""
        if read.page is None or read.page.count < 2:
            return
        wanted = {column.name for column in read.page.shape.columns}
        if lost := sorted((self.fields & wanted) - read.some):
            told = ", ".join(lost[:5])
            raise RecordsChanged(f"The records of {dataset} have {told} no more.", dataset=dataset, fields=lost)

    def end(self, resource: Resource, seconds: float) -> None:
        """A reading of everything came to its end, so many seconds after its round began; raises SinceUnreadable."""
        reading, self.reading, rule = self.reading, None, resource.since
        if reading is not None and reading.fields is not None:
            if self.fields:
                self.fields &= reading.fields
            elif reading.records >= EXPERIENCE:
                self.fields = reading.fields
        self.left_out = None if reading is None else reading.left_out
        if rule is None or reading is None or reading.left_out:
            # What was left out is asked for from where this round began.
            return
        if reading.records and reading.newest is None:
            raise SinceUnreadable(f"In none of {reading.records} records {rule.field} tells when it changed.")
        candidate, moved = None, reading.moved
        if reading.newest is not None:
            began = reading.date or clock.now()
            form = self._form_of(reading, rule.form, began)
            timed = reading.newest.is_clock(form, began)
            overlap = OVERLAP_SECONDS if rule.overlap is None and timed else rule.overlap or 0.0
            candidate = reading.newest.until(began, form).back(overlap + seconds if timed else overlap)
            self.since = self.since and self.since.until(began, form)
            sure = isinstance(reading.newest.value, datetime) or rule.form != "as-is"
            moved |= not (sure or reading.ordered)
            # Pages that are cut anew at each request shift when a record changes its place among them.
            moved |= reading.changed_meanwhile and resource.paging.style not in ("none", "cursor")
        self.since = later(self.since, self.reached if moved or candidate is None else candidate)
        self.reached = later(self.reached, candidate)

    def _form_of(self, reading: Reading, form: MomentForm, began: datetime) -> MomentForm:
        """The form of the field: numbers are times where most are since 1990, or that of the last round is."""
        known = self.since is not None and self.since.is_clock(form, began)
        mostly = 0 < MOST * reading.records <= reading.times
        return "seconds" if form == "as-is" and (known or mostly) else form

    def to_dict(self) -> Position:
        """As it stands in a position."""
        told: Position = {}
        if self.since:
            told["since"] = self.since.text
        if self.reached:
            told["reached"] = self.reached.text
        if self.swept:
            told["swept"] = round(self.swept, 3)
        if self.missing:
            # The others are found missing again after a restart.
            told["missing"] = [[*key, at] for key, at in list(self.missing.items())[:KEPT_MISSING]]
        if self.fields:
            told["fields"] = sorted(self.fields)
        if self.reading:
            told["round"] = self.reading.to_dict()
        if self.form:
            told["form"] = list(self.form)
        return told

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Standing":
        """What a position says."""
        return cls(
            read_moment(told.get("since")),
            read_moment(told.get("reached")),
            told.get("swept", 0.0),
            {tuple(key): at for *key, at in told.get("missing", ())},
            frozenset(told.get("fields", ())),
            Reading.of(told["round"]) if "round" in told else None,
            tuple(told["form"]) if "form" in told else None,
        )


@dataclass(slots=True)
class Progress:
    """Where a pipeline stands: when (seconds since 1970) the unfinished round began, and what it has read."""

    generation: int
    place: int
    datasets: dict[str, Standing]
    began: float | None = None
    done: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, position: Position, generation: int, forms: Mapping[str, Form]) -> "Progress":
        """What a position says; a dataset that it does not know in its form is read from the beginning."""
        told = position.get("datasets", {})
        standings = {name: Standing.of(told.get(name, {})).suit(form) for name, form in forms.items()}
        progress = cls(generation, int(position.get("place", 0)), standings)
        under_way = position.get("round")
        if under_way is not None:
            progress.began, progress.done = under_way["began"], list(under_way["done"])
        return progress

    def position(self) -> Position:
        """The position of the next batch; takes its place."""
        self.place += 1
        position: Position = {
            "generation": self.generation,
            "place": self.place,
            "datasets": {name: one.to_dict() for name, one in self.datasets.items()},
        }
        if self.began is not None:
            position["round"] = {"began": round(self.began, 3), "done": list(self.done)}
        return position

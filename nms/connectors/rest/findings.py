"""What a look at a resource tells: whether it is as its document says (pure)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

from nms.common.document.rest import CursorPages, LinkedPages, NumberedPages, OnePage, Resource, RestSystem
from nms.common.egress.exchange import Answer
from nms.common.finding import Finding
from nms.common.messages import find
from nms.common.problem import Problem
from nms.common.search import search
from nms.connectors.rest.moment import newest
from nms.connectors.rest.paging import read_link
from nms.connectors.rest.reading import text_of

AHEAD_SECONDS: Final = 400 * 86_400.0
"""Nothing changed so late; a remote that gives records for it does not look at the parameter."""
SHOWN: Final = 20
_MISSING: Any = object()
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Spot:
    """What findings are told of: a resource of a system, and the place of its dataset in the pipeline's document."""

    system: RestSystem
    name: str
    pointer: str

    @property
    def resource(self) -> Resource:
        """The resource of this name."""
        return self.system.resources[self.name]

    def finding(self, code: str, sentence: str, remedy: str, *, fatal: bool = True) -> Finding:
        """A finding of this resource."""
        return Finding(code, sentence, self.system.name, fatal, pointer=self.pointer, remedy=remedy, run_as="")

    def told(self, problem: Problem) -> Finding:
        """A Problem as a finding."""
        return self.finding(problem.code, problem.detail, problem.remedy)


@dataclass(slots=True)
class Sight:
    """One page as it was seen: its answer, its records with what is derived and what their parent says."""

    answer: Answer | None
    records: list[Any] = field(default_factory=list)
    total: int | None = None
    follows: bool = False

    def objects(self) -> list[Record]:
        """The records that are objects."""
        return [one for one in self.records if isinstance(one, dict)]

    def keys(self, resource: Resource) -> list[tuple[str, ...]]:
        """The keys of the records, as text."""
        return [tuple(text_of(find(one, name)) for name in resource.key) for one in self.objects()]


def complete(resource: Resource, record: Any, beside: Mapping[str, str]) -> Any:
    """A record with what is derived from it and what its parent says."""
    if not isinstance(record, dict):
        return record
    derived = {name: search(record, expression) for name, expression in resource.derive.items()}
    return {**beside, **record, **derived}


def judge_records(spot: Spot, seen: Sight, fields: Sequence[str]) -> Iterator[Finding]:
    """Whether the records are objects that have their key, once each, and the fields that the pipeline maps."""
    objects, resource = seen.objects(), spot.resource
    if len(objects) < len(seen.records):
        yield spot.finding(
            "records-no-objects",
            f"Of {len(seen.records)} records of {spot.name} {len(seen.records) - len(objects)} are no objects.",
            "Correct `records` of the resource, so that it finds the list of objects.",
        )
    known = sorted({name for one in objects for name in one})
    for name in resource.key:
        lacking = [one for one in objects if find(one, name) is None]
        if lacking:
            yield spot.finding(
                "key-missing",
                f"{len(lacking)} of {len(objects)} records of {spot.name} have no `{name}`{_offer(name, known)}",
                "Correct `key` of the resource, or make the field with `derive`.",
            )
    keys = seen.keys(resource)
    if len(set(keys)) < len(keys):
        yield spot.finding(
            "key-repeated",
            f"Of {len(keys)} records of {spot.name} on one page some have the same {', '.join(resource.key)}.",
            "Name in `key` of the resource all fields that tell records apart.",
        )
    wanted = dict.fromkeys((*fields, *([] if resource.since is None else [resource.since.field])))
    for name in wanted:
        if objects and name not in resource.key and all(find(one, name, _MISSING) is _MISSING for one in objects):
            yield spot.finding(
                "field-unseen",
                f"None of {len(objects)} records of {spot.name} has a field `{name}`{_offer(name, known)}",
                "Correct `fields` of the dataset or `since.field` of the resource, unless the field is a rare one.",
                fatal=False,
            )


def judge_pages(spot: Spot, first: Sight, second: Sight | None) -> Iterator[Finding]:
    """Whether the pages go on as the document says."""
    paging, resource = spot.resource.paging, spot.resource
    count, keys = len(first.records), set(first.keys(resource))
    further = [] if second is None else second.keys(resource)
    if further and 2 * sum(key in keys for key in further) > len(further):
        yield spot.finding(
            "paging-ignored",
            f"The second page of {spot.name} has records of the first: the remote does not take {_parameter(paging)} "
            "for what the document does, so that records would be missed.",
            "Correct `style`, `parameter`, `first` and `size` in `paging` of the resource.",
        )
    linked = first.answer is not None and read_link(first.answer.headers.get("link", "")) is not None
    if linked and not (isinstance(paging, LinkedPages) and paging.style == "link") and not first.follows:
        yield spot.finding(
            "paging-undeclared",
            f"The answer of {spot.name} names a next page in its header Link, and nothing asks for it.",
            "Write `paging: {style: link}` in the resource.",
        )
    elif isinstance(paging, CursorPages | LinkedPages) and not first.follows and count >= paging.size:
        yield spot.finding(
            "next-untold",
            f"The first page of {spot.name} is full ({count} records) and tells of no next one.",
            "Look whether `next` of `paging` finds the cursor or URL; a list of just so many records is fine.",
            fatal=False,
        )
    if isinstance(paging, NumberedPages) and (paging.total or paging.total_header) and first.total is None:
        yield spot.finding(
            "total-untold",
            f"The first page of {spot.name} does not tell how many records there are, where `total` says it does.",
            "Correct `total` or `total_header` of `paging`, or leave it out: then an empty page is the last.",
            fatal=False,
        )


def future_of(resource: Resource, records: Sequence[Record]) -> str | None:
    """A value of the `since` parameter that nothing changed after; None where no record tells when it changed."""
    since = resource.since
    assert since is not None
    latest = newest([value for one in records if (value := find(one, since.field)) is not None])
    return None if latest is None else latest.back(-AHEAD_SECONDS).ask(since.form)


def judge_since(spot: Spot, first: Sight, future: Sight | None) -> Iterator[Finding]:
    """Whether records tell when they changed, and fewer come when asked for what changed later than everything."""
    since = spot.resource.since
    assert since is not None
    if not first.objects():
        return
    if future is None:
        if any(find(one, since.field) is not None for one in first.objects()):
            yield spot.finding(
                "since-unreadable",
                f"`{since.field}` of {spot.name} is neither a time as ISO 8601 writes it nor a number.",
                "Name another field in `since.field`, make one with `derive`, or take `since` out.",
            )
    elif future.records and len(future.records) >= len(first.records):
        yield spot.finding(
            "since-ignored",
            f"Asked for what changes in a year, {spot.name} gives {len(future.records)} records: the remote does not "
            f"look at `{since.parameter}`, and each round would read everything.",
            "Correct `since.parameter` or `since.form`, or take `since` out.",
            fatal=False,
        )


def judge_record(spot: Spot, asked: Record, answer: Answer, found: Any) -> Iterator[Finding]:
    """Whether the path of one record gives that record."""
    resource = spot.resource
    if not isinstance(found, dict):
        yield spot.finding(
            "record-misplaced",
            f"The answer for one record of {spot.name} has no object at `{resource.record_at}`.",
            "Correct `record_at` of the resource.",
        )
        return
    for name in resource.key:
        given = find(found, name, _MISSING)
        if given is not _MISSING and text_of(given) != text_of(find(asked, name)):
            yield spot.finding(
                "record-another",
                f"Asked for one record of {spot.name}, the remote gives another one: `{name}` differs.",
                "Correct the path in `record` of the resource.",
            )
    yield from _judge_preconditions(spot, answer, found)


def judge_lookup(spot: Spot, asked: Record, seen: Sight) -> Iterator[Finding]:
    """Whether looking a record up by our key finds it, and only it."""
    lookup = spot.resource.writes and spot.resource.writes.lookup
    assert lookup
    wanted = text_of(find(asked, lookup.field))
    others = [one for one in seen.objects() if text_of(find(one, lookup.field)) != wanted]
    if not others and seen.records:
        return
    told = "other records, too" if others else "nothing"
    yield spot.finding(
        "lookup-ignored",
        f"Asked for the record of {spot.name} with the `{lookup.field}` of one that is there, the remote gives {told}: "
        "after a time-out nobody could tell whether a record was created.",
        "Correct `parameter` and `field` of `lookup`.",
    )


def judge_place(system: RestSystem, pointer: str) -> Iterator[Finding]:
    """Whether keys would travel in the clear."""
    inner = ("http://127.", "http://localhost", "http://[::1]")
    if system.login.type != "none" and system.url.startswith("http://") and not system.url.startswith(inner):
        yield Finding(
            "login-in-clear",
            f"The login of {system.name} travels in the clear: its URL begins with `http://`.",
            system.name, False, pointer=pointer, run_as="", remedy="Write the URL with `https://`.",
        )  # fmt: skip


def judge_allowed(spot: Spot, method: str, allowed: str) -> Iterator[Finding]:
    """Whether the remote says that it takes a method (RFC 9110 section 10.2.1); a hint, for many say it wrongly."""
    methods = {word.strip().upper() for word in allowed.split(",") if word.strip()}
    if methods and method not in methods:
        yield spot.finding(
            "method-perhaps-refused",
            f"{spot.name} is written with {method}, and the remote says that it takes {', '.join(sorted(methods))}.",
            "Look into the remote's manual; correct `method` in `writes` of the resource.",
            fatal=False,
        )


def _judge_preconditions(spot: Spot, answer: Answer, found: Record) -> Iterator[Finding]:
    writes = spot.resource.writes
    if writes is None:
        return
    tag = answer.headers.get("etag")
    if writes.precondition == "etag" and tag is None:
        yield spot.finding(
            "etag-missing",
            f"The remote gives no ETag with a record of {spot.name}, so that nothing would keep an update of others.",
            "Write `precondition: compare` in `writes` of the resource, or `version` where records have one.",
        )
    elif writes.precondition == "etag" and (tag or "").startswith("W/"):
        yield spot.finding(
            "etag-weak",
            f"The ETag of a record of {spot.name} is a weak one, which If-Match need not take (RFC 9110 13.1.1).",
            "`precondition: compare` keeps what others wrote without it.",
            fatal=False,
        )
    if writes.version is not None and find(found, writes.version) is None:
        yield spot.finding(
            "version-missing",
            f"A record of {spot.name} has no field `{writes.version}`{_offer(writes.version, sorted(found))}",
            "Correct `version` in `writes` of the resource, or write `precondition: compare`.",
        )


def _offer(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean `{close[0]}`?"
    return f"; it has {', '.join(known[:SHOWN])}." if known else "."


def _parameter(paging: OnePage | NumberedPages | CursorPages | LinkedPages) -> str:
    parameter = getattr(paging, "parameter", None)
    return "the link" if parameter is None else f"`{parameter}`"

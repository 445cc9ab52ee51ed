"""The requests of one write: what they are made of, and what is known of their outcome."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from nms.common import clock, faults
from nms.common.document.rest import Resource, Verb, Writes, placeholders
from nms.common.egress.exchange import Answer
from nms.common.problem import Problem
from nms.common.rate_advice import pause
from nms.common.search import search
from nms.common.strict_json import write
from nms.connectors.rest.ask import Ask, fill
from nms.connectors.rest.client import Client
from nms.connectors.rest.look import Looker
from nms.connectors.rest.order import Order, Outcome, as_uuid, head_of
from nms.connectors.rest.problems import BodyUnreadable, OutcomeUnknown, PathUnfillable, RemoteLimited
from nms.connectors.rest.records import parse_body, parse_strictly
from nms.connectors.rest.refusals import ValueUnwritable, WriteFails, WriteRefused
from nms.connectors.rest.rights import Rights, is_forbidden
from nms.connectors.rest.values import Record, as_text

TRIES: Final = 8
"""Requests of one write: after so many unknown outcomes or moved preconditions its Problem leaves."""
GONE: Final = (404, 410)
LATE_SECONDS: Final = 10.0
"""So long at least a remote may go on with a request whose answer nobody waits for."""
PAGES: Final = ("text/html", "application/xhtml+xml")
BLANKS: Final = b"\xef\xbb\xbf\xff\xfe\0 \t\r\n\f\v"
"""Byte order marks and blanks."""
ENDED: Final = ("408", "425", "429", "500", "html")
"""Unknown outcomes of which one thing is known: the remote works on it no more."""
FAILING: Final = (401, 429, 501, 503, 505)


class Refusal(Exception):
    """This change is to be held; the Problem says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


async def unfenced() -> None:
    """Where no run is worked nobody can take it over."""


@dataclass(frozen=True, slots=True)
class Means:
    """What writes of one resource are done with.

    `heals`: an update that meets no record creates it; `wait`: seconds before a look-up, for the effect may come late,
    at the latest `lateness` after; `check` raises LeaseLost; `opened`: what was sent before was sent before then;
    `rights`: what the remote forbids; `place` marks where the records are.
    """

    client: Client
    dataset: str
    resource: Resource
    looker: Looker
    heals: bool = True
    wait: float = 0.2
    check: Callable[[], Awaitable[None]] = unfenced
    opened: float = field(default_factory=clock.monotonic)
    rights: Rights = field(default_factory=Rights)
    place: str = ""

    @property
    def lateness(self) -> float:
        """An effect may come so many seconds after nobody waits for its answer any more."""
        return max(LATE_SECONDS, self.client.system.timeout)

    @property
    def writes(self) -> Writes:
        """How records are written."""
        return self.resource.writes or Writes()


class Sending:
    """Sends the requests of one order.

    `doubt` says that a request was sent whose outcome is not known: only then must it be looked up after a crash;
    until `late_until` (monotonic seconds) its effect may come. `looks`: what must not be done twice can be looked up.
    `effect` says that a request was answered well.
    """

    def __init__(self, means: Means, order: Order) -> None:
        self.doubt = order.doubtful
        self.outcome = Outcome()
        self.tries = 0
        self.effect = False
        self.looks = False
        self.late_until = means.opened + means.lateness if order.doubtful else 0.0
        self._means = means
        self._order = order
        self._unknown: OutcomeUnknown | None = None

    async def send(
        self, verb: Verb, at: Mapping[str, object], values: Record, match: Mapping[str, str]
    ) -> Answer | None:
        """The answer to a request; None where its outcome is unknown (some time has passed then).

        `at` fills the path. Raises Refusal after too many tries and for what this record is forbidden, WriteFails and
        the Problems of the client.
        """
        body = b"" if verb.method == "DELETE" else write(values if verb.wrap is None else {verb.wrap: values}).encode()
        try:
            path = fill(verb.path, {name: as_text(value) for name, value in at.items()})
        except PathUnfillable as problem:
            raise Refusal(ValueUnwritable(problem.detail)) from problem
        self._count(verb, path, body)
        await self._means.check()
        repeat = self.repeats(verb) or not self.looks
        try:
            ask = Ask(verb.method, path, {}, {**match, **self._key()}, body)
            answer = told(ask, await self._means.client.send(ask, repeat=repeat))
        except OutcomeUnknown as unknown:
            self.doubt, self._unknown = True, unknown
            if unknown.facts["reason"] not in ENDED:
                self.late_until = clock.monotonic() + self._means.lateness
            await self.wait()
            return None
        except RemoteLimited:
            self.doubt = self.doubt or not repeat
            raise
        except asyncio.CancelledError:
            self.doubt = self.doubt or (not repeat and self._means.client.has_begun())
            raise
        faults.point("rest.after_send")
        self.doubt = False
        self.outcome.status, self.outcome.answer = answer.status, head_of(answer.body)
        self._judge(verb, path, answer)
        return answer

    async def wait(self) -> None:
        """Let an effect that may come late come first."""
        await asyncio.sleep(pause(max(1, self.tries), None, base=self._means.wait, cap=25 * self._means.wait))

    async def wait_for_late(self, attempt: int) -> bool:
        """Wait before look-up 2, 3, ... of a record that is not there yet; false when none can come any more."""
        left = self.late_until - clock.monotonic()
        if attempt > 1 and left <= 0:
            return False
        seconds = pause(attempt, None, base=self._means.wait, cap=25 * self._means.wait)
        await asyncio.sleep(min(seconds, max(left, self._means.wait)))
        return True

    def repeats(self, verb: Verb | None) -> bool:
        """Whether a request that had its effect has none when it is sent again."""
        return verb is not None and (self._means.writes.idempotency is not None or verb.method != "POST")

    def refused(self, answer: Answer) -> Refusal:
        """That the remote does not take the change."""
        text = f"{self.outcome.method} {self.outcome.path} is answered with {answer.status}"
        detail = " ".join((self.outcome.answer or "").split())[:300]
        return Refusal(WriteRefused(f"{text}: {detail}" if detail else text, answered=answer.status))

    def unread(self, problem: Problem, path: str) -> Refusal:
        """That a look-up is forbidden; it stands in the archive where nothing was sent before it."""
        if self.outcome.method is None:
            self.outcome.method, self.outcome.path, self.outcome.status = "GET", path, 403
        return Refusal(problem)

    def record_of(self, verb: Verb, answer: Answer) -> Record:
        """The record in the answer to a write, as far as there is one."""
        try:
            found = search(parse_strictly(answer), verb.answer)
        except BodyUnreadable:
            return {}
        return found if isinstance(found, dict) else {}

    def match(self, tag: str | None, *, again: bool) -> dict[str, str]:
        """The precondition in headers."""
        return if_match(tag, again=again) if self._means.writes.precondition == "etag" else {}

    def match_none(self, verb: Verb) -> dict[str, str]:
        """That nobody made a record meanwhile (RFC 9110, 13.1.2); only where it is then found."""
        wanted = verb.method == "PUT" and self.looks and self._means.writes.precondition == "etag"
        return {"If-None-Match": "*"} if wanted else {}

    def _judge(self, verb: Verb, path: str, answer: Answer) -> None:
        said = f"{answer.status}: {(self.outcome.answer or '')[:200]}"
        if is_failing(verb, answer):
            raise WriteFails(f"{verb.method} {path} is answered with {said}", answered=answer.status)
        if is_forbidden(verb.path, answer):
            raise Refusal(self._means.rights.forbid(verb.method, path, self.outcome.body or "", said))
        if is_good(answer):
            self.effect = True
            self._means.rights.let(verb.method)

    def _key(self) -> dict[str, str]:
        header = self._means.writes.idempotency
        if header is None:
            return {}
        # Another request for the same change is another one to the remote, too.
        outcome = self.outcome
        outcome.idempotency_key = as_uuid(
            self._order.seed, outcome.method or "", outcome.path or "", outcome.body or ""
        )
        return {header: outcome.idempotency_key}

    def _count(self, verb: Verb, path: str, body: bytes) -> None:
        if self.tries >= TRIES:
            if self._unknown is not None:
                raise self._unknown
            text = f"{verb.method} {path}: the remote moved on {TRIES} times, its last answer is {self.outcome.status}"
            raise Refusal(WriteRefused(text, answered=self.outcome.status))
        self.tries += 1
        self.outcome.attempts += 1
        self.outcome.method, self.outcome.path, self.outcome.body = verb.method, path, body.decode()
        self.outcome.status, self.outcome.answer = None, None


def told(ask: Ask, answer: Answer) -> Answer:
    """The answer of the API; raises OutcomeUnknown for a web page that says 2xx: a login, a proxy, maintenance."""
    if is_good(answer) and _is_page(answer):
        text = f"{ask.method} {ask.path} is answered with {answer.status} and a web page."
        raise OutcomeUnknown(text, reason="html", sent=True, method=ask.method)
    return answer


def _is_page(answer: Answer) -> bool:
    """Whether it is markup, whatever stands before it, or calls itself a web page and is no JSON either."""
    if answer.body.lstrip(BLANKS).startswith(b"<"):
        return True
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in PAGES or not answer.body.strip(BLANKS):
        return False
    try:
        parse_body(answer)
    except BodyUnreadable:
        return True
    # Many a small server says so of all that it sends.
    return False


def is_good(answer: Answer) -> bool:
    """Whether the remote says that it did what was asked."""
    return 200 <= answer.status < 300


def is_failing(verb: Verb, answer: Answer) -> bool:
    """Whether it tells of what is wrong with all writes of a resource, not with this one."""
    no_collection = answer.status in (404, 405) and verb.method == "POST" and not placeholders(verb.path)
    return answer.status in FAILING or no_collection


def if_match(tag: str | None, *, again: bool) -> dict[str, str]:
    """That a record is as it was read; a weak ETag that was fresh and did not match never will (RFC 9110, 13.1.1)."""
    return {"If-Match": tag} if tag and not (again and tag.startswith("W/")) else {}


def is_gone(answer: Answer) -> bool:
    """Whether the remote has no such record."""
    return answer.status in GONE

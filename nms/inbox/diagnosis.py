"""What keeps the inbox from receiving, passing on and forgetting, for `nms doctor`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from nms.common.configuration import current_documents
from nms.common.document.endpoint import DAY, KEEP
from nms.common.finding import Finding
from nms.common.problem import Problem
from nms.common.settings import Settings
from nms.inbox.days import GRACE_SECONDS
from nms.inbox.endpoints import Endpoints
from nms.inbox.repository import InboxRepository, queries

STANDING_SECONDS: Final = 300.0
"""An event that waits longer to be passed on tells that nobody does so."""
LATE_SECONDS: Final = 2 * DAY
"""Receipts go by whole days, and the worker may take a while."""
_WORKER: Final = "See in the log of a process of the role inbox, without `INBOX_WORKER=false`, why it does not do so."


@dataclass(frozen=True, slots=True)
class Feed:
    """A pipeline that is to run: which endpoints it reads, and the number of the last event that it has."""

    pipeline: str
    endpoints: Sequence[str]
    number: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether anything came, whether tomorrow's day is made, the age of the oldest receipt in seconds."""

    is_used: bool
    has_tomorrow: bool
    oldest_receipt: float | None


class DiagnosisRepository(InboxRepository):
    """What is looked at to tell whether the inbox is well; ages are in seconds."""

    async def get_standing(self) -> Standing:
        """Receipts and days as they are now."""
        row = await queries.get_standing(self.connection)
        assert row is not None
        return Standing(**row)

    async def get_kept(self) -> float | None:
        """The most seconds that any endpoint keeps, as the worker noted it; None where it never did."""
        kept: float | None = await queries.get_kept(self.connection, grace=GRACE_SECONDS)
        return kept

    async def get_unsent_age(self, upto: int) -> float | None:
        """Of the event that waits longest for RabbitMQ; None where none does."""
        age: float | None = await queries.get_unsent_age(self.connection, upto=upto)
        return age

    async def get_unread_age(self, feed: Feed, upto: int) -> float | None:
        """Of the event that waits longest for a pipeline; None where none does."""
        age: float | None = await queries.get_unread_age(
            self.connection, endpoints=list(feed.endpoints), after=feed.number, upto=upto
        )
        return age


async def diagnose(settings: Settings, feeds: Sequence[Feed]) -> list[Finding] | None:
    """What is wrong, secrets of this process included; None where nobody uses the inbox."""
    repository = await DiagnosisRepository.open()
    endpoints = Endpoints(dev=settings.environment == "dev")
    await endpoints.look()
    standing = await repository.get_standing()
    if not endpoints.standing() and not standing.is_used:
        return None
    unready = [_unready(name, problem) for name, _, problem in endpoints.standing() if problem is not None]
    return [
        *unready,
        *await _judge_days(repository, standing),
        *await _judge_onwards(repository, settings, feeds),
    ]


async def _judge_days(repository: DiagnosisRepository, standing: Standing) -> list[Finding]:
    found = []
    if not standing.has_tomorrow:
        told = "The day of tomorrow is not made: until it is, what comes then stands in no day of its own."
        found.append(_note("day-missing", told))
    documents = (await current_documents(repository)).endpoints.values()
    kept = max([one.keep for one in documents] + [await repository.get_kept() or 0.0]) or KEEP
    oldest = standing.oldest_receipt
    if oldest is not None and oldest > kept + LATE_SECONDS:
        told = f"Receipts are {_span(oldest)} old, and no endpoint keeps longer than {_span(kept)}."
        found.append(_note("receipts-kept", told))
    return found


async def _judge_onwards(repository: DiagnosisRepository, settings: Settings, feeds: Sequence[Feed]) -> list[Finding]:
    found = []
    settled = await repository.get_settled()
    age = await repository.get_unsent_age(settled) if settings.amqp_dsn is not None else None
    if age is not None and age > STANDING_SECONDS:
        told = f"An event waits for RabbitMQ for {_span(age)}."
        found.append(Finding("relay-standing", told, "inbox", run_as="", remedy=_WORKER))
    for feed in feeds:
        age = await repository.get_unread_age(feed, settled)
        if age is not None and age > STANDING_SECONDS:
            told = f"An event waits for the pipeline {feed.pipeline} for {_span(age)}."
            remedy = f"`nms pipelines {feed.pipeline}` tells how it stands; a process of the role sync has to work it."
            found.append(Finding("feed-standing", told, "inbox", run_as="", remedy=remedy))
    return found


def _unready(name: str, problem: Problem) -> Finding:
    told = f"The endpoint {name} cannot receive: {problem.detail}"
    return Finding(problem.code, told, "inbox", run_as="", remedy=problem.remedy)


def _note(code: str, sentence: str) -> Finding:
    return Finding(code, sentence, "inbox", fatal=False, run_as="", remedy=_WORKER)


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))

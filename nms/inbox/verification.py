"""Refused requests, verified again by what the endpoint's document and its secrets are today."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal
from uuid import UUID

from nms.common.configuration import Configuration, current_documents
from nms.common.document import EndpointDocument
from nms.common.problem import NotFound, Problem
from nms.common.seal import SealBroken, Sealer
from nms.common.settings import Settings
from nms.inbox.address import signed_url
from nms.inbox.arrival import Arrival, KeptRequest, Receipt
from nms.inbox.check import Request
from nms.inbox.credential import restore, sealer_of, unseal
from nms.inbox.endpoint import Endpoint
from nms.inbox.header import HIDDEN
from nms.inbox.limit import check_content_type, check_depth, check_size
from nms.inbox.models import (
    QuarantinedWhole,
    Verification,
    Verified,
    VerifiedMany,
    read_headers,
    show_body,
)
from nms.inbox.problems import BodyNotKept, CredentialsAway, EndpointUnknown, NotBelieved, StillRefused
from nms.inbox.quarantine import QuarantineRepository
from nms.inbox.refused import Held, not_believed
from nms.inbox.repository import InboxRepository

Outcome = Literal["stored", "known"]
REASONS = (StillRefused, BodyNotKept, CredentialsAway)


@dataclass(frozen=True, slots=True)
class Today:
    """Endpoints by their documents and secrets of this moment, and what opens credentials."""

    configuration: Configuration
    dev: bool
    sealer: Sealer | None
    _ready: dict[str, Endpoint] = field(default_factory=dict)

    @classmethod
    async def read(cls, repository: InboxRepository, settings: Settings) -> "Today":
        """Read the current documents; secrets are resolved when they are needed."""
        documents = await current_documents(repository)
        return cls(documents, settings.environment == "dev", sealer_of(settings))

    def believe(self, held: Held) -> list[Arrival]:
        """The events of a kept request; raises StillRefused, BodyNotKept, CredentialsAway."""
        if held.body is None:
            raise BodyNotKept("The body of this request was not kept; it cannot be verified again.")
        try:
            endpoint = self._endpoint(held.endpoint)
        except Problem as problem:
            raise _refused(problem) from None
        request, is_whole = _restore(held, self.sealer, endpoint.document)
        try:
            return _read(endpoint, request, held.body)
        except NotBelieved as problem:
            if not is_whole:
                raise CredentialsAway(
                    "The credentials of this request were not kept, or are sealed with another key; without them it "
                    f"is not believed. {problem.detail}",
                    reason=problem.facts["reason"],
                ) from None
            raise _refused(problem) from None
        except Problem as problem:
            raise _refused(problem) from None

    def judge(self, kept: KeptRequest) -> str | None:
        """Why a request that brought a list is not believed; None where it is."""
        try:
            endpoint = self._endpoint(kept.endpoint)
        except Problem as problem:
            return problem.code
        pairs = _pairs(kept.headers)
        url = signed_url(endpoint.document, *kept.url.partition("?")[::2])
        check = endpoint.verifier.check(Request(kept.method, url, pairs, kept.arrived))
        check.update(kept.body)
        refusal = check.finish(kept.body)
        if refusal is None:
            return None
        is_hidden = HIDDEN.decode() in url or any(HIDDEN in value for _, value in pairs)
        return CredentialsAway.code if is_hidden else refusal.code

    def _endpoint(self, name: str) -> Endpoint:
        if name not in self._ready:
            document = self.configuration.endpoints.get(name)
            if document is None:
                unknown = EndpointUnknown(f"There is no endpoint {name} any more.")
                raise self.configuration.unreadable.get(("endpoint", name)) or unknown
            self._ready[name] = Endpoint.of(document, dev=self.dev)
        return self._ready[name]


async def read_quarantined(repository: QuarantineRepository, id_: UUID) -> QuarantinedWhole:
    """One refused request with headers and body, what may be a credential hidden; raises NotFound."""
    found = await repository.get_quarantined(id_)
    if found is None:
        raise missing(id_)
    encoding, body = (None, None) if found.body is None else show_body(found.body)
    told = {**asdict(found), "headers": read_headers(found.headers), "encoding": encoding, "body": body}
    return QuarantinedWhole(**told)


async def verify(repository: QuarantineRepository, id_: UUID, today: Today) -> Verified:
    """Store the events of a refused request that is believed today, and take it out of the quarantine.

    Raises NotFound, StillRefused, BodyNotKept, CredentialsAway, and has changed nothing then.
    """
    async with repository.transaction() as tx:
        # Of several that ask at once one settles it; the others see that it is gone.
        held = await tx.get_quarantined(id_) if await tx.claim_quarantined(id_) else None
        if held is None:
            raise missing(id_)
        receipts = await tx.store(today.believe(held))
        outcome = _outcome(receipts)
        await tx.delete_quarantined(id_)
    return Verified(outcome=outcome, ids=[one.id for one in receipts])


async def verify_many(repository: QuarantineRepository, wanted: Verification, today: Today) -> VerifiedMany:
    """Verify many requests again, each by itself, the oldest first; a dry run changes nothing."""
    found = await repository.list_quarantined_ids(wanted, wanted.limit + 1)
    looked_at = found[: wanted.limit]
    outcomes: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    foresight = _Foresight(repository, today)
    for _, id_ in looked_at:
        try:
            if wanted.dry_run:
                outcomes[await foresight.look(id_)] += 1
            else:
                outcomes[(await verify(repository, id_, today)).outcome] += 1
        except NotFound:
            # Somebody else settled it meanwhile.
            continue
        except REASONS as problem:
            refused[problem.facts["reason"] if isinstance(problem, StillRefused) else problem.code] += 1
    return VerifiedMany(
        dry_run=wanted.dry_run,
        looked_at=len(looked_at),
        stored=outcomes["stored"],
        known=outcomes["known"],
        refused=dict(refused),
        last=looked_at[-1][0] if looked_at else None,
        more=len(found) > wanted.limit,
    )


def missing(id_: UUID) -> NotFound:
    """The problem of a request that is not in the quarantine."""
    return NotFound(f"There is no refused request {id_}; it may have been verified or deleted.", id=str(id_))


class _Foresight:
    """What would become of requests, one after the other."""

    def __init__(self, repository: QuarantineRepository, today: Today) -> None:
        self._repository, self._today = repository, today
        self._stored: dict[tuple[str, bytes], Arrival] = {}

    async def look(self, id_: UUID) -> Outcome:
        held = await self._repository.get_quarantined(id_)
        if held is None:
            raise missing(id_)
        arrivals = self._today.believe(held)
        there = await self._repository.foresee(arrivals)
        receipts = [self._judge(one, receipt) for one, receipt in zip(arrivals, there, strict=True)]
        outcome = _outcome(receipts)
        self._stored.update({(one.endpoint, one.key): one for one in arrivals})
        return outcome

    def _judge(self, arrival: Arrival, receipt: Receipt) -> Receipt:
        first = self._stored.get((arrival.endpoint, arrival.key))
        if receipt.kind != "new" or first is None:
            return receipt
        return Receipt(first.id, "known" if first.digest == arrival.digest else "other")


def _outcome(receipts: Sequence[Receipt]) -> Outcome:
    for receipt in receipts:
        if receipt.kind == "other":
            raise StillRefused(
                "Another event with this id and another body is there.", reason="id-reused", event=str(receipt.id)
            )
    return "stored" if any(receipt.kind == "new" for receipt in receipts) else "known"


def _restore(held: Held, sealer: Sealer | None, document: EndpointDocument) -> tuple[Request, bool]:
    """The request at the time when it came, as its endpoint sees it today; and whether all of it is there again."""
    pairs = _pairs(held.headers)
    address, _, query = held.url.partition("?")
    tail, is_whole = "", HIDDEN.decode() not in held.url and all(value != HIDDEN for _, value in pairs)
    hidden = _unseal(held, sealer)
    if hidden is not None:
        address, query, tail = hidden["address"], hidden["query"], hidden["tail"]
        pairs, is_whole = restore(pairs, hidden), True
    url, arrived = signed_url(document, address, query), held.received_at.timestamp()
    return Request(held.method, url, pairs, arrived, tail.encode("latin-1")), is_whole


def _pairs(lines: bytes) -> list[tuple[bytes, bytes]]:
    return [line.partition(b": ")[::2] for line in lines.split(b"\n") if line]


def _unseal(held: Held, sealer: Sealer | None) -> dict[str, Any] | None:
    """What is hidden; None where it cannot be had: a scheme that needs none of it can verify all the same."""
    if sealer is None or held.sealed is None:
        return None
    try:
        return unseal(sealer, held.sealed, held.id)
    except SealBroken:
        return None


def _read(endpoint: Endpoint, request: Request, body: bytes) -> list[Arrival]:
    """What the receiver does with a request whose body has come."""
    document = endpoint.document
    check_size(document, body)
    check = endpoint.verifier.check(request)
    check.update(body)
    refusal = check.finish(body)
    check_content_type(document, request)
    if refusal is not None:
        raise not_believed(refusal)
    check_depth(document, body)
    return endpoint.read(request, body)[0]


def _refused(problem: Problem) -> StillRefused:
    reason = problem.facts.get("reason", problem.code)
    return StillRefused(problem.detail, reason=reason, remedy=problem.remedy)

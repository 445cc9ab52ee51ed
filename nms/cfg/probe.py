"""Probes: whether a system answers, lets us in and has what its pipelines need; looked at, never changed."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib import import_module
from itertools import accumulate
from typing import Any, Final, Protocol, TypeAlias, cast

from nms.cfg import audit
from nms.cfg.audit import Act
from nms.cfg.exposure import list_uses
from nms.cfg.models import Action, Plan
from nms.cfg.problems import ProbesSpent
from nms.cfg.repository import DocumentRepository
from nms.cfg.settings import CfgSettings
from nms.common import clock
from nms.common.budget import opened_budget
from nms.common.cache.bucket import Bucket
from nms.common.configuration import current_documents
from nms.common.custody import read_secrets
from nms.common.document import PipelineDocument, SystemDocument
from nms.common.egress.address import parse_allowance
from nms.common.egress.confined import run_confined
from nms.common.finding import Finding
from nms.common.problem import Problem
from nms.common.settings import get_settings, read_settings
from nms.common.vault import lent

log = logging.getLogger(__name__)

OURS: Final = frozenset({"inbox", "warehouse"})
"""Rooms of this installation: nothing of theirs is outside."""
HTTP: Final = "rest"
"""What goes through outbound HTTP, which has bounds of its own."""
SILENT: Final = {"postgres": "server-away", "amqp": "broker-away", "kafka": "kafka-away", HTTP: "remote-unreachable"}
_MUTE: Final = frozenset(
    {*SILENT.values(), "remote-timeout", "remote-malformed", "remote-slow", "remote-login-away", "server-busy"}
)
_ALL: Final = "probe"

Ask: TypeAlias = Callable[[], Awaitable[list[Finding]]]


class Connector(Protocol):
    """What the module `connector` of a folder offers."""

    async def probe(self, system: SystemDocument, pipeline: PipelineDocument | None) -> list[Finding]:
        """What stands in the way at this system, for a pipeline that uses it or for none."""
        ...


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found at one system; each finding with the pipeline that it concerns, empty where it is all of them."""

    system: str
    findings: tuple[tuple[str, Finding], ...] = ()

    @property
    def fit(self) -> bool:
        """Whether nothing stands in the way."""
        return not any(finding.fatal for _, finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        found = [{"pipeline": name or None, **asdict(finding)} for name, finding in self.findings]
        return {"system": self.system, "fit": self.fit, "findings": found}


@dataclass(frozen=True, slots=True)
class Subject:
    """A system to be looked at, and the pipelines that it is looked at for.

    It is not asked where `withheld` names a stored secret that it would get and may not, or where it is one `too_many`.
    `first` are the origins of secrets that nothing but the plan uses.
    """

    system: SystemDocument
    users: tuple[PipelineDocument, ...] = ()
    withheld: str = ""
    too_many: bool = False
    first: Mapping[str, Collection[str]] = field(default_factory=dict)

    @property
    def is_asked(self) -> bool:
        """Whether anything goes out."""
        return self.system.type not in OURS and not self.withheld and not self.too_many


async def probe_system(repository: DocumentRepository, name: str, caller: str) -> Probe:
    """Look at a stored system; raises NotFound, ProbesSpent."""
    configuration = await current_documents(repository)
    system = configuration.system(name)
    subject = Subject(system, _users(configuration.pipelines.values(), name))
    return (await probe_guarded(repository, [subject], caller))[0]


def list_subjects(plan: Plan) -> list[Subject]:
    """The systems that a plan touches, as they would stand: its own, and those of its pipelines, for these alone."""
    touched = {(one.kind, one.name) for one in plan.differences if one.action is not Action.REMOVE}
    systems = [one for one in plan.documents.values() if isinstance(one, SystemDocument)]
    pipelines = [one for one in plan.documents.values() if isinstance(one, PipelineDocument)]
    fresh = [one for one in pipelines if ("pipeline", one.name) in touched]
    dropped = {one.secret for one in plan.exposures if one.is_drop}
    first = {one.secret: one.origins for one in plan.exposures if not one.is_drop}
    subjects = []
    for system in systems:
        changed = ("system", system.name) in touched
        users = _users(pipelines if changed else fresh, system.name)
        if system.type not in OURS and (changed or users):
            withheld = next((one.secret for one in list_uses(system) if one.secret in dropped), "")
            subjects.append(Subject(system, users, withheld, first=first))
    return subjects


async def probe_guarded(repository: DocumentRepository, subjects: Sequence[Subject], caller: str) -> list[Probe]:
    """Look at systems for who asks over HTTP, within the budgets of this caller and of all; raises ProbesSpent.

    Of a plan that touches more than a minute allows the first are asked. It stands in the audit before anything is.
    """
    settings = read_settings(CfgSettings)
    subjects = _within(subjects, min(settings.probes_per_minute, settings.all_probes_per_minute))
    asked = sum(one.is_asked for one in subjects)
    if asked:
        await _spend(caller, asked, settings)
    await _begin(repository, subjects)
    return list(await asyncio.gather(*(_look_guarded(one, settings) for one in subjects)))


async def probe_openly(repository: DocumentRepository, subjects: Sequence[Subject]) -> list[Probe]:
    """Look at systems for the operator of this machine, as `nms doctor` does: what he hears names what is wrong."""
    settings = read_settings(CfgSettings)
    await _begin(repository, subjects)

    async def ask(work: Ask) -> list[Finding]:
        async with asyncio.timeout(settings.probe_seconds):
            return await work()

    return [await _look(one, ask) for one in subjects]


def _within(subjects: Sequence[Subject], most: int) -> list[Subject]:
    """As many as may be asked, and the others as they are told: what is not asked anyway is not counted."""
    numbers = accumulate(one.is_asked for one in subjects)
    return [replace(one, too_many=number > most) for one, number in zip(subjects, numbers, strict=True)]


async def _begin(repository: DocumentRepository, subjects: Sequence[Subject]) -> None:
    """Note what will be asked, and know the stored secrets that it takes."""
    await read_secrets(repository)
    async with repository.transaction() as tx:
        for one in (each for each in subjects if each.is_asked):
            facts = {"type": one.system.type, "at": " ".join(str(part) for part in one.system.place)}
            await audit.note(tx, Act("system.probe", one.system.name, facts=facts))


async def _look_guarded(subject: Subject, settings: CfgSettings) -> Probe:
    """Look at a system from a process that others may ask to: within EGRESS_ALLOW, and without telling why it is mute.

    That a port is closed, or speaks something else, is told neither by words nor by the time that it takes.
    """
    system, began = subject.system, clock.monotonic()
    allowed = [parse_allowance(text) for text in get_settings().egress_allow]

    async def ask(work: Ask) -> list[Finding]:
        left = began + settings.probe_seconds - clock.monotonic()
        if system.type != HTTP:
            return await run_confined(work, allowed, left)
        async with asyncio.timeout(left):
            return await work()

    probe = await _look(subject, ask)
    if any(one.code in _MUTE for _, one in probe.findings):
        await asyncio.sleep(began + settings.probe_seconds - clock.monotonic())
        return Probe(system.name, (("", _silent(system)),))
    return probe


async def _look(subject: Subject, ask: Callable[[Ask], Awaitable[list[Finding]]]) -> Probe:
    system = subject.system
    if subject.withheld:
        return Probe(system.name, (("", _withhold(system, subject.withheld)),))
    if system.type in OURS:
        return Probe(system.name)
    if subject.too_many:
        return Probe(system.name, (("", _leave_out(system)),))
    connector = cast(Connector, import_module(f"nms.connectors.{system.type}.connector"))
    found: list[tuple[str, Finding]] = []
    for pipeline in subject.users or (None,):
        name = "" if pipeline is None else pipeline.name
        try:
            with lent(subject.first):
                findings = await ask(partial(connector.probe, system, pipeline))
        except TimeoutError:
            findings = [_silent(system)]
        except Problem as problem:
            findings = [Finding(problem.code, problem.detail, system.name, remedy=problem.remedy, run_as="")]
        except Exception:
            # What a driver makes of somebody who speaks another language is in no list.
            log.exception("the probe of %s failed", system.name)
            findings = [_silent(system)]
        found += [(name, one) for one in findings]
        if any(one.code in _MUTE for one in findings):
            break
    return Probe(system.name, tuple(_without_twins(found)))


def _without_twins(found: Iterable[tuple[str, Finding]]) -> Iterable[tuple[str, Finding]]:
    """What is found for several pipelines in the same words is told once, for none of them."""
    told: dict[tuple[str, str], tuple[str, Finding]] = {}
    for name, finding in found:
        identity = (finding.code, finding.sentence)
        alone = identity not in told
        told[identity] = (name, finding) if alone else ("", replace(finding, pointer=""))
    return told.values()


def _silent(system: SystemDocument) -> Finding:
    text = f"{system.name} does not answer at its address, or not as a system of type {system.type} does"
    remedy = "Look whether its address is right and it runs; `nms doctor` on the machine of NMS tells more."
    return Finding(SILENT[system.type], text, system.name, remedy=remedy, run_as="")


def _withhold(system: SystemDocument, secret: str) -> Finding:
    text = f"{system.name} is not asked: the secret {secret} does not go there, and applying this drops it"
    remedy = f"Apply it, then set the secret anew with `nms secrets set {secret}` and probe the system."
    return Finding("secret-withheld", text, system.name, remedy=remedy, run_as="")


def _leave_out(system: SystemDocument) -> Finding:
    text = f"{system.name} is not asked: the plan touches more systems than may be probed in a minute"
    remedy = (
        "Plan fewer at a time, or look at it alone once it is stored; `nms plan --probe` on the machine has no bound."
    )
    return Finding("probe-left-out", text, system.name, remedy=remedy, run_as="")


def _users(pipelines: Iterable[PipelineDocument], name: str) -> tuple[PipelineDocument, ...]:
    return tuple(one for one in pipelines if name in (one.source, one.target))


async def _spend(caller: str, count: int, settings: CfgSettings) -> None:
    limits = {f"{_ALL} {caller}": settings.probes_per_minute, _ALL: settings.all_probes_per_minute}
    async with opened_budget(get_settings()) as budget:
        for name, most in limits.items():
            booking = await budget.book(Bucket(name, most / 60, most), count, ahead=0.0)
            if not booking.granted:
                wait = math.ceil(booking.wait)
                raise ProbesSpent(f"The next probe may be asked for in {wait} s.", retry_after=wait)

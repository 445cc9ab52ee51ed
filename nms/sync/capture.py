"""Capture: which connectors the two systems of a pipeline need, opened and given back together."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, Protocol, cast

from nms.common.change import Shape
from nms.common.document import EntityDocument, SystemDocument
from nms.common.finding import Finding
from nms.common.flow import DatasetSpec, Feed, FeedSpec, Opened, OutletSpec, Position, Store, Target
from nms.common.ledger import Ledger
from nms.common.rounds import Rounds
from nms.connectors.postgres.compare.opening import open_compare
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.connector import open_pipeline, release_source, release_target
from nms.connectors.postgres.inlet import Above, Keys, open_inlet
from nms.connectors.postgres.outlet import open_outlet
from nms.connectors.postgres.poll.opening import open_poll
from nms.connectors.postgres.poll.outlet import open_poll_outlet
from nms.connectors.postgres.twoway.opening import release_twoway
from nms.sync.feed import open_feeding
from nms.sync.merge import Rules

REST = "rest"


@dataclass(frozen=True, slots=True)
class Way:
    """What a pipeline is opened with: its two systems, and what the database among them needs to know.

    `rules` say who wins where both sides of a two-way one changed a record; `entities` are those of the warehouse that
    it reads or writes.
    """

    spec: PipelineSpec
    source: SystemDocument
    target: SystemDocument
    rules: Rules = field(default_factory=Rules)
    entities: Mapping[str, EntityDocument] = field(default_factory=dict)

    @property
    def feeds(self) -> bool:
        """Whether changes come from a queue or topic."""
        return not self.source.is_database

    @property
    def publishes(self) -> bool:
        """Whether changes go to a queue or topic."""
        return not self.target.is_database


class Channel(Protocol):
    """What the module `connector` of a queue's or topic's folder offers."""

    def access_of(self, system: SystemDocument) -> Any:
        """How to reach a system; secrets are read now."""
        ...

    async def open_feed(self, access: Any, spec: FeedSpec) -> Feed:
        """Begin to receive."""
        ...

    async def open_target(self, access: Any, spec: OutletSpec, store: Store) -> Target:
        """Be ready to send."""
        ...

    async def check(self, access: Any, datasets: Sequence[DatasetSpec], *, reads: bool, writes: bool) -> list[Finding]:
        """What stands in the way of reading their sources, of writing to their targets, or of both where they are read.

        With both, a two-way pipeline, what is read is what is written.
        """
        ...


def channel_of(system: SystemDocument) -> Channel:
    """The connector of a system that is no database; loaded when it is needed, for its drivers are large."""
    return cast(Channel, import_module(f"nms.connectors.{system.type}.connector"))


@asynccontextmanager
async def open_capture(way: Way, store: Store, ledger: Ledger | None = None) -> AsyncIterator[Opened]:
    """Open both ends of a pipeline; raises a Problem that names what is wrong."""
    spec = way.spec
    if way.feeds and way.publishes:
        async with open_feeding(spec, store, _feeder(way), _opening(way, store, ledger)) as feeding:
            yield feeding
    elif way.feeds:
        async with open_inlet(spec, _feeder(way)) as inlet:
            yield inlet
    elif way.publishes:
        opens = open_poll_outlet if spec.capture == "poll" else open_outlet
        async with opens(spec, store, _opening(way, store, ledger)) as outlet:
            yield outlet
    elif spec.capture == "compare":
        async with open_compare(spec) as compared:
            yield compared
    elif spec.capture == "poll":
        async with open_poll(spec) as polled:
            yield polled
    else:
        async with open_pipeline(spec) as opened:
            yield opened


async def release_capture(way: Way) -> None:
    """Give back what a pipeline holds in the databases at its ends."""
    if way.spec.back:
        await release_twoway(way.spec)
    if not way.feeds:
        await release_source(way.spec)
    if not way.publishes:
        await release_target(way.spec)


async def check_channels(way: Way) -> list[Finding]:
    """What stands in the way at the ends that are no databases."""
    found: list[Finding] = []
    if way.feeds:
        channel, both = channel_of(way.source), bool(way.spec.back)
        found += await channel.check(channel.access_of(way.source), way.spec.datasets, reads=True, writes=both)
    if way.publishes:
        channel = channel_of(way.target)
        found += await channel.check(channel.access_of(way.target), way.spec.datasets, reads=False, writes=True)
    return found


def _feeder(way: Way) -> Callable[..., Awaitable[Feed]]:
    """How to begin to receive, given shapes, a start, and what a table tells of keys and parents."""
    spec, channel = way.spec, channel_of(way.source)
    access = channel.access_of(way.source)
    # Whether a record is new nobody knows: to a queue it is told as an update.
    heals = spec.heals and (way.target.is_database or way.target.type == REST)

    async def open_feed(
        shapes: Mapping[str, Shape], start: Position, keys: Keys | None = None, above: Above | None = None
    ) -> Feed:
        rounds = spec.rounds or Rounds(spec.every)
        feed = FeedSpec(spec.name, spec.generation, start, shapes, spec.copy, rounds, keys, above or {}, heals)
        return await channel.open_feed(access, feed)

    return open_feed


def _opening(way: Way, store: Store, ledger: Ledger | None) -> Awaitable[Target]:
    channel = channel_of(way.target)
    return channel.open_target(channel.access_of(way.target), _outlet(way.spec, ledger), store)


def _outlet(spec: PipelineSpec, ledger: Ledger | None) -> OutletSpec:
    addresses = {one.source: one.target for one in spec.datasets}
    fields = {one.source: one.fields for one in spec.datasets if one.fields is not None}
    made = OutletSpec(spec.name, spec.generation, spec.source.system, addresses, fields, ledger, spec.heals)
    return replace(
        made,
        polled=spec.capture in ("poll", "feed"),
        sifted=frozenset(one.source for one in spec.datasets if one.where),
    )

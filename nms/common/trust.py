"""What a process hears of auth: keys that verify, revocations, service tokens; from the database, never from a role.

A revocation is read as soon as `notify` tells of it, and by a look every POLL_SECONDS when nothing tells. While the
database is away everything known goes on being known.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from nms.common.clock import backoff
from nms.common.db.dsn import DSNType, dsn_of
from nms.common.db.pool import Pool, get_pool_of
from nms.common.db.problems import DRIVER_ERRORS
from nms.common.db.queries import load
from nms.common.guard import Caller
from nms.common.listen import listen
from nms.common.metrics import Gauge
from nms.common.problem import Problem, Unavailable
from nms.common.revocations import Revocation, Revocations
from nms.common.service_lookup import Service, ServiceLookup
from nms.common.settings import Settings
from nms.common.verifier import Key, Verifier
from nms.common.waiting import first_of

log = logging.getLogger(__name__)
queries = load("nms.common")

CHANNEL = "nms_trust"
POLL_SECONDS = 30.0
PAUSE_SECONDS = 0.02
"""Between two looks at least, so that a burst of revocations is read together."""
LOOK_SECONDS = 5.0
START_SECONDS = 1.0
"""How long a role waits for its first look before it starts without."""
FLUSH_SECONDS = 10.0
ASK_SECONDS = 1.0
"""A key that is not known is asked for at most this often."""

_read_at = Gauge(
    "nms_trust_read_timestamp_seconds",
    "When this process last read keys and revocations of auth (seconds since 1970)",
    multiprocess_mode="livemin",
)


class TrustAway(Unavailable):
    """The database of auth has not been read, so that a token can be neither accepted nor refused."""

    code, title = "trust-away", "The database of auth does not answer"
    remedy = "It is read as soon as it answers; tokens of `nms token` are accepted meanwhile."


class Feed:
    """Keys and revocations of one auth database, kept up to date for the verifiers of this process."""

    def __init__(self, pool: Callable[[], Awaitable[Pool]], clock: Callable[[], float] = time.time) -> None:
        self.keys: dict[str, Key] = {}
        self.revocations = Revocations(clock)
        self.services = ServiceLookup(self._list_services, clock)
        self.followers: set[Verifier] = set()
        self.read = asyncio.Event()
        self._pool = pool
        self._clock = clock
        self._looking = asyncio.Lock()
        self._wake = asyncio.Event()
        self._since = "0"
        self._told: set[tuple[str, float]] = set()
        self._read_from_start = False
        self._away = False
        self._asked = 0.0
        self._asking: asyncio.Task[bool] | None = None

    @property
    def was_read(self) -> bool:
        """Whether keys and revocations were ever read."""
        return self.read.is_set()

    @property
    def is_current(self) -> bool:
        """Whether the last look succeeded."""
        return self.read.is_set() and not self._away

    async def run(self) -> None:
        """Look, and listen for the next reason to look, until cancelled."""
        failures = 0
        ear: asyncio.Task[None] | None = None
        try:
            while True:
                self._wake.clear()
                failures = 0 if await self.look() else failures + 1
                if not failures and (ear is None or ear.done()):
                    ear = asyncio.create_task(self._listen(), name="listen-trust")
                await asyncio.sleep(PAUSE_SECONDS)
                pause = backoff(failures, base=0.2, cap=5.0) if failures else POLL_SECONDS
                await first_of(self._wake, timeout=pause)
        finally:
            if ear is not None:
                ear.cancel()
                await asyncio.gather(ear, return_exceptions=True)

    async def look(self) -> bool:
        """Read what is new; tells whether the database answered. Never raises."""
        try:
            async with asyncio.timeout(LOOK_SECONDS), self._looking:
                await self._read_all()
        except (Problem, *DRIVER_ERRORS) as error:
            if not self._away:
                log.warning("auth cannot be asked whom to trust: %s", getattr(error, "code", type(error).__name__))
            self._away = True
            return False
        except Exception:
            log.exception("what auth tells cannot be read")
            self._away = True
            return False
        if self._away:
            log.info("auth can be asked again whom to trust")
        self._away = False
        self.read.set()
        _read_at.set(self._clock())
        return True

    async def ask_for_key(self) -> None:
        """Look for new keys now, unless that was just done; raises TrustAway when none could ever be read."""
        now = asyncio.get_running_loop().time()
        if self._asking is None or (self._asking.done() and now - self._asked >= ASK_SECONDS):
            self._asked = now
            self._asking = asyncio.create_task(self.look(), name="look-for-key")
        await asyncio.wait([self._asking])
        if not self.read.is_set():
            raise TrustAway("The keys of auth could not be read yet.", retry_after=1)

    async def find_service(self, token: str) -> tuple[Caller, float]:
        """Whom a service token speaks for, and until when that may be remembered; raises TokenRefused, TrustAway."""
        return await self.services.find(token)

    async def keep_flushing(self) -> None:
        """Flush, and let go what has expired, every FLUSH_SECONDS until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self.revocations.tidy()
            await self.flush()

    async def flush(self) -> None:
        """Tell auth which service tokens were used; what cannot be told now is told next time."""
        used = self.services.take_used()
        if not used:
            return
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                pool = await self._pool()
                now = self._clock()
                ages = [max(0.0, now - seen) for seen in used.values()]
                await queries.mark_services_used(pool, hashes=list(used), ages=ages)
        except (Problem, *DRIVER_ERRORS):
            self.services.give_back(used)

    async def _listen(self) -> None:
        """Listen until cancelled; what ends it is told, and the next look begins anew."""
        try:
            await listen(await self._pool(), CHANNEL, self._hear)
        except (Problem, *DRIVER_ERRORS) as error:
            log.warning("what auth tells cannot be heard: %s", getattr(error, "code", type(error).__name__))

    def _hear(self, payload: str) -> None:
        # Nothing was heard before this connection, and it may lead to another server than the last one did.
        self._read_from_start = self._read_from_start or not payload
        self._wake.set()

    async def _read_all(self) -> None:
        pool = await self._pool()
        from_start, self._read_from_start = self._read_from_start, False
        try:
            keys = await queries.list_verification_keys(pool)
            rows = await queries.list_revocations(pool, since="0" if from_start else self._since)
        except BaseException:
            self._read_from_start = from_start
            raise
        if int(rows[0]["horizon"]) < int(self._since):
            # Another life of the database, such as after a restore: what was told there before is not known here.
            self._read_from_start = True
            self._wake.set()
        self._since = rows[0]["horizon"]
        self._take(
            {row["kid"]: Key(row["public_key"], row["algorithm"]) for row in keys},
            [
                Revocation(row["kind"], row["subject"], row["revision"], row["expires_at"])
                for row in rows
                if row["kind"] is not None
            ],
        )

    def _take(self, keys: dict[str, Key], revocations: list[Revocation]) -> None:
        """Hand what was read to the verifiers; nothing here waits, so no request sees half of it."""
        changed = keys != self.keys
        self.keys = keys
        services = self._select_untold(one for one in revocations if one.kind == "service-token")
        self.services.forget(services)
        changed |= self.revocations.add(one for one in revocations if one.kind != "service-token")
        if changed or services:
            for verifier in self.followers:
                verifier.recheck(services)

    def _select_untold(self, revocations: Iterable[Revocation]) -> set[str]:
        """Service tokens that were not told of before: a look may bring the same ones again and again."""
        fresh = {(one.subject, one.expires_at) for one in revocations} - self._told
        now = self._clock()
        self._told = {told for told in self._told if told[1] > now} | fresh
        return {subject for subject, _ in fresh}

    async def _list_services(self, hashes: list[bytes]) -> list[Service]:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                rows = await queries.list_service_tokens(await self._pool(), hashes=hashes)
        except (Problem, *DRIVER_ERRORS) as error:
            raise TrustAway("Whether this service token is good cannot be asked now.", retry_after=1) from error
        return [Service(**row) for row in rows]


async def probe(verifier: Verifier) -> None:
    """Raise TrustAway when the last look of this verifier's feed failed."""
    if not isinstance(verifier.trust, Feed) or not verifier.trust.is_current:
        raise TrustAway("Keys and revocations of auth could not be read when they were last looked for.")


@dataclass(slots=True)
class _Shared:
    feed: Feed
    tasks: list[asyncio.Task[None]]
    users: int = 0


_feeds: dict[tuple[int, str], _Shared] = {}


@asynccontextmanager
async def live(app: Any) -> AsyncIterator[None]:
    """The feed of an app's verifier while the app lives; all apps of a process share one per database."""
    settings: Settings = app.state.settings
    if settings.db_auth_dsn is None:
        yield
        return
    verifier: Verifier = app.verifier
    async with _shared_feed(dsn_of(DSNType.AUTH, settings)) as feed:
        with suppress(TimeoutError):
            await asyncio.wait_for(feed.read.wait(), START_SECONDS)
        verifier.trust = feed
        feed.followers.add(verifier)
        try:
            yield
        finally:
            feed.followers.discard(verifier)


@asynccontextmanager
async def _shared_feed(dsn: str) -> AsyncIterator[Feed]:
    key = (id(asyncio.get_running_loop()), dsn)
    shared = _feeds.get(key)
    if shared is None:
        feed = Feed(partial(get_pool_of, dsn, "trust"))
        tasks = [asyncio.create_task(feed.run(), name="trust"), asyncio.create_task(feed.keep_flushing(), name="used")]
        shared = _feeds[key] = _Shared(feed, tasks)
    shared.users += 1
    try:
        yield shared.feed
    finally:
        shared.users -= 1
        if not shared.users:
            del _feeds[key]
            for task in shared.tasks:
                task.cancel()
            await asyncio.gather(*shared.tasks, return_exceptions=True)
            await shared.feed.flush()

"""The rate budget of a remote, shared by every worker of every process: nobody sends before its turn."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Final, Protocol

from nms.common.cache.bucket import Booking, Bucket
from nms.common.db.queries import load
from nms.common.db.repositories import BaseNmsRepository
from nms.common.problem import Unavailable
from nms.common.settings import Settings

log = logging.getLogger(__name__)

AHEAD: Final = 1.0
"""Turns are booked at most this many seconds ahead, so that a hold comes before most of them."""

_queries = load("nms.common")


class Buckets(Protocol):
    """Where buckets are kept: a cache, or the database."""

    async def book(self, bucket: Bucket, amount: float = 1.0, ahead: float = 0.0) -> Booking:
        """Book tokens that come within `ahead` seconds; nothing is taken when they come later."""

    async def hold(self, bucket: Bucket, seconds: float) -> None:
        """Let no token go for `seconds`."""


class DatabaseBuckets:
    """Buckets in the database `nms`, by its clock: one row and one statement each, without waiting for a disk."""

    def __init__(self, repository: BaseNmsRepository) -> None:
        self._repository = repository

    async def book(self, bucket: Bucket, amount: float = 1.0, ahead: float = 0.0) -> Booking:
        """Book tokens that come within `ahead` seconds."""
        span, depth = bucket.spans(amount)
        while True:
            row = await _queries.claim_tokens(
                self._repository.connection, name=bucket.name, span=span, depth=depth, ahead=ahead
            )
            # Who is refused by what was booked behind the snapshot of the statement is told nothing, or too short a
            # wait: the next snapshot shows it.
            if row is not None and (row["granted"] or row["wait"] > ahead):
                return Booking(row["granted"], row["wait"])

    async def hold(self, bucket: Bucket, seconds: float) -> None:
        """Let no token go for `seconds`."""
        await _queries.upsert_hold(self._repository.connection, name=bucket.name, seconds=bucket.held_until(seconds))


class Budget:
    """Gives turns; over Redis, and over the database while Redis is away or where there is none."""

    def __init__(self, buckets: Buckets, otherwise: Buckets | None = None) -> None:
        self._buckets = buckets
        self._otherwise = otherwise

    async def turn(self, bucket: Bucket, amount: float = 1.0) -> None:
        """Wait for one's turn; raises Unavailable, and ValueError for an amount above the burst."""
        while True:
            booking = await self.book(bucket, amount)
            # Who is too early comes again when half of the time ahead is left to book in.
            await asyncio.sleep(booking.wait if booking.granted else max(AHEAD / 20, booking.wait - AHEAD / 2))
            if booking.granted:
                return

    async def book(self, bucket: Bucket, amount: float = 1.0, ahead: float = AHEAD) -> Booking:
        """Book a turn within the next second, or be told how long it takes."""
        try:
            return await self._buckets.book(bucket, amount, ahead)
        except Unavailable:
            if self._otherwise is None:
                raise
            return await self._otherwise.book(bucket, amount, ahead)

    async def hold(self, bucket: Bucket, seconds: float) -> None:
        """Give no turns for a while, in any process: the remote said so."""
        try:
            await self._buckets.hold(bucket, seconds)
        except Unavailable:
            if self._otherwise is None:
                raise
            await self._otherwise.hold(bucket, seconds)


@asynccontextmanager
async def opened_budget(settings: Settings) -> AsyncIterator[Budget]:
    """The budgets of this installation: in Redis when REDIS_DSN is set, else in the database `nms`."""
    database = DatabaseBuckets(await BaseNmsRepository.open())
    if settings.redis_dsn is None:
        yield Budget(database)
        return
    module = import_module("nms.common.cache.redis")
    shared = module.RedisCache(settings.redis_dsn.get_secret_value())
    try:
        yield Budget(shared, database)
    finally:
        await shared.close()

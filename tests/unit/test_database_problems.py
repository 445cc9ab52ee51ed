"""Errors of the driver become Problems, but never in the place of a cancellation."""

import asyncio

import asyncpg
import pytest

from nms.common.db.problems import DatabaseUnavailable, translated
from nms.common.problem import Problem
from nms.common.waiting import together


async def go_on_for_ever(begun: asyncio.Event) -> None:
    """A loop that outlives problems; the connection breaks while it is put down."""
    while True:
        try:
            with translated():
                try:
                    begun.set()
                    await asyncio.Event().wait()
                finally:
                    raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        except Problem:
            continue


async def test_a_task_that_is_cancelled_ends_though_its_connection_breaks_just_then() -> None:
    begun = asyncio.Event()
    task = asyncio.create_task(go_on_for_ever(begun))
    await begun.wait()
    task.cancel()
    await asyncio.wait({task}, timeout=10)
    assert task.cancelled()


async def test_time_that_is_up_is_told_as_such_though_the_connection_breaks_just_then() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await go_on_for_ever(asyncio.Event())


async def test_an_error_of_nobody_who_was_cancelled_is_a_problem() -> None:
    with pytest.raises(DatabaseUnavailable), translated():
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


async def test_what_is_started_again_after_a_duty_failed_outlives_errors_as_before() -> None:
    async def fail() -> None:
        raise ValueError

    with pytest.raises(ExceptionGroup):
        async with together() as duties:
            duties.create_task(fail())
    with pytest.raises(DatabaseUnavailable), translated():
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

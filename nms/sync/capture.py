"""Capture: which connectors the two systems of a pipeline need, opened and given back together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nms.common.flow import Opened
from nms.connectors.postgres.connector import PipelineSpec, open_pipeline, release_source, release_target


@asynccontextmanager
async def open_capture(spec: PipelineSpec) -> AsyncIterator[Opened]:
    """Open both ends of a pipeline; raises a Problem that names what is wrong."""
    async with open_pipeline(spec) as opened:
        yield opened


async def release_capture(spec: PipelineSpec) -> None:
    """Give back what a pipeline holds at its two ends."""
    await release_source(spec)
    await release_target(spec)

"""What the room `sync` tells."""

from typing import Any

from nms.common.event import Event


class PipelineEvent(Event):
    """Something that happened to a pipeline."""

    pipeline: str
    revision: int | None = None

    @property
    def key(self) -> str:
        """In order per pipeline."""
        return self.pipeline


class PipelinePaused(PipelineEvent):
    """Someone paused the pipeline; it keeps its position."""

    type = "sync.pipeline.paused"


class PipelineResumed(PipelineEvent):
    """The pipeline goes on from its position."""

    type = "sync.pipeline.resumed"


class PipelineHalted(PipelineEvent):
    """The pipeline stopped by itself and needs a hand; `problem` says why and what to do."""

    type = "sync.pipeline.halted"

    problem: dict[str, Any]


class PipelineResynced(PipelineEvent):
    """The pipeline starts again with a new backfill."""

    type = "sync.pipeline.resynced"


class PipelineAlarmed(PipelineEvent):
    """The source retains nearly as much log for the pipeline as it may; `problem` says how much."""

    type = "sync.pipeline.alarmed"

    problem: dict[str, Any]


class PipelineReleased(PipelineEvent):
    """The slot of the pipeline was given up before it filled the source's disk; a resync heals."""

    type = "sync.pipeline.released"

    problem: dict[str, Any]


class ChangesUnkept(PipelineEvent):
    """The remote answered a write well and did not keep it; `detail` says what it has instead, of the first one."""

    type = "sync.changes.unkept"

    detail: str

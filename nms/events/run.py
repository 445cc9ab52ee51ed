"""What every room that has runs tells about them."""

from typing import Any

from nms.common.event import Event


class RunEvent(Event):
    """Something that happened to a run; `room` says whose."""

    room: str
    run: int
    kind: str
    subject: str

    @property
    def key(self) -> str:
        """In order per kind and subject."""
        return f"{self.kind}/{self.subject}"


class RunSucceeded(RunEvent):
    """A run is done."""

    type = "common.run.succeeded"


class RunFailed(RunEvent):
    """A run has failed; `problem` says why and what to do."""

    type = "common.run.failed"

    problem: dict[str, Any]

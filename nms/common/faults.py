"""Named fault points: places where a test may kill, stop, delay or fail this process.

`NMS_FAULTS="apply.before_commit=kill@3,relay.after_publish=raise"`: each is `name=action[:argument][@nth]`.
Actions: `kill` (SIGKILL to this process), `stop` (SIGSTOP), `raise`, `delay:seconds`. With `@n` only the n-th
passing acts, without it every one.
"""

import os
import re
import signal
import time
from dataclasses import dataclass
from enum import StrEnum

from nms.common.problem import Pointer, Problem, Retry
from nms.common.settings import SettingsRefused, get_settings

_FORM = re.compile(
    r"(?P<name>[a-z][a-z0-9_.]*)=(?P<action>[a-z]+)(?::(?P<argument>\d+(?:\.\d+)?))?(?:@(?P<nth>[1-9]\d*))?"
)


class Action(StrEnum):
    """What happens at an armed point."""

    KILL = "kill"
    STOP = "stop"
    RAISE = "raise"
    DELAY = "delay"


class FaultInjected(Problem):
    """A test asked for this failure."""

    status, code, retry, title = 503, "fault-injected", Retry.LATER, "A fault was injected"
    remedy = "Unset NMS_FAULTS."


@dataclass(slots=True)
class Fault:
    """An armed point; `passed` counts how often it was reached."""

    name: str
    action: Action
    argument: float
    nth: int | None
    passed: int = 0

    def act(self) -> None:
        """Do what was asked for, if it is this passing's turn."""
        self.passed += 1
        if self.nth is not None and self.passed != self.nth:
            return
        match self.action:
            case Action.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case Action.STOP:
                os.kill(os.getpid(), signal.SIGSTOP)
            case Action.DELAY:
                time.sleep(self.argument)
            case Action.RAISE:
                raise FaultInjected(f"The fault point {self.name} was told to fail.", point=self.name)


_armed: dict[str, Fault] | None = None


def parse(text: str) -> dict[str, Fault]:
    """The faults of a specification by name; raises SettingsRefused with the part that is malformed."""
    faults: dict[str, Fault] = {}
    for part in filter(None, (piece.strip() for piece in re.split(r"[,;]", text))):
        found = _FORM.fullmatch(part)
        if found is None or found["action"] not in list(Action):
            pointer = Pointer("/NMS_FAULTS", f"{part!r} is not name=kill|stop|raise|delay[:seconds][@nth].")
            raise SettingsRefused("NMS_FAULTS is malformed.", pointers=[pointer])
        nth = int(found["nth"]) if found["nth"] else None
        faults[found["name"]] = Fault(found["name"], Action(found["action"]), float(found["argument"] or 0), nth)
    return faults


def arm(text: str, environment: str) -> None:
    """Arm the points of a specification, and no others; raises SettingsRefused outside dev and test."""
    global _armed
    if text.strip() and environment not in ("dev", "test"):
        raise SettingsRefused("NMS_FAULTS is set, and faults are never injected outside dev and test.")
    _armed = parse(text)


def point(name: str) -> None:
    """Pass a fault point; does nothing unless it is armed (by `arm`, or by the settings on first use)."""
    if _armed is None:
        settings = get_settings()
        arm(settings.faults, settings.environment)
    if _armed and (fault := _armed.get(name)):
        fault.act()

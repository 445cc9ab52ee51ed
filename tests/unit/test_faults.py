"""Fault points: cheap when unarmed, exact when armed, refused in production."""

import signal
import subprocess
import sys
import time

import pytest

from nms.common import faults
from nms.common.faults import FaultInjected, arm, point
from nms.common.settings import SettingsRefused


@pytest.fixture(autouse=True)
def disarm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_armed", None)


def test_an_unarmed_point_costs_next_to_nothing() -> None:
    arm("", "production")
    start = time.process_time()
    for _ in range(100_000):
        point("apply.before_commit")
    assert time.process_time() - start < 0.2


def test_only_the_nth_passing_of_the_named_point_fails() -> None:
    arm("apply.before_commit=raise@3, other=delay:0.0", "test")
    point("other")
    point("apply.before_commit")
    point("apply.before_commit")
    with pytest.raises(FaultInjected):
        point("apply.before_commit")
    point("apply.before_commit")


def test_without_nth_every_passing_fails() -> None:
    arm("a=raise", "dev")
    for _ in range(3):
        with pytest.raises(FaultInjected):
            point("a")


def test_faults_are_refused_outside_dev_and_test() -> None:
    with pytest.raises(SettingsRefused):
        arm("a=kill", "production")


@pytest.mark.parametrize("text", ["a", "a=", "a=explode", "a=raise@0", "a=delay:x", "A=kill", "a=delay:1.2.3"])
def test_a_malformed_specification_is_refused_with_a_pointer(text: str) -> None:
    with pytest.raises(SettingsRefused) as refused:
        arm(text, "test")
    assert refused.value.pointers[0].pointer == "/NMS_FAULTS"


def test_the_environment_arms_a_kill() -> None:
    script = "from nms.common.faults import point; point('other'); point('here'); print('alive')"
    process = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        env={"NMS_FAULTS": "here=kill", "ENVIRONMENT": "test"},
        capture_output=True,
    )
    assert (process.returncode, process.stdout) == (-signal.SIGKILL, b"")

"""What the environment of NMS holds is no other program's."""

import os
from pathlib import Path

import pytest

from nms.cli.demo.process import child_environment
from nms.common.db.embedded_place import Account


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_PASSWORD", "a secret of the operator")


def test_workers_of_the_demo_get_nothing_that_the_operator_has_set_for_others(tmp_path: Path) -> None:
    given = child_environment(tmp_path, 15.0)
    assert "CRM_PASSWORD" not in given
    assert given["DATA_DIR"] == str(tmp_path)


def test_the_kernel_is_asked_what_a_user_reaches_by_a_program_that_knows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, asked = tmp_path / "told", tmp_path / "test"
    asked.write_text(f"#!/bin/sh\n/usr/bin/env > {told}\n")
    asked.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Account("this one", os.geteuid(), os.getegid()).reaches(tmp_path)
    assert not told.exists()

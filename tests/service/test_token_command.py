"""`nms token`: what it prints is what the guard of a role takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nms.common.settings import Settings, read_settings
from nms.common.verifier import Key, Verifier


def mint(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "nms", "token", *arguments]
    own = {"PATH": os.environ["PATH"], "DATA_DIR": str(folder / "data"), "COLUMNS": "200", **environment}
    return subprocess.run(command, check=False, cwd=folder, env=own, capture_output=True, text=True, timeout=60)


def verifier_of(folder: Path) -> Verifier:
    settings = read_settings(Settings, data_dir=folder / "data")
    return Verifier({None: Key(settings.signing_key())}, issuer="nms", audience="nms")


def test_it_prints_one_token_and_nothing_else(tmp_path: Path) -> None:
    done = mint(tmp_path, "--scope", "pipelines:read")
    assert (done.returncode, done.stderr) == (0, "")
    caller = verifier_of(tmp_path).verify(done.stdout.removesuffix("\n"))
    assert caller.scopes == {"pipelines:read"}


def test_json_says_what_was_granted_and_until_when(tmp_path: Path) -> None:
    done = mint(
        tmp_path, "--scope", "pipelines:* runs:read", "-s", "cfg:read", "--ttl", "2h", "--subject", "ann", "--json"
    )
    told = json.loads(done.stdout)
    caller = verifier_of(tmp_path).verify(told["token"])
    assert caller.scopes == {"pipelines:*", "runs:read", "cfg:read"} == set(told["scope"].split())
    assert caller.subject == told["sub"] == "ann"
    assert told["expires_at"].endswith("+00:00")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--scope", "everything"], 1),
        (["--scope", ""], 1),
        (["--scope", "a:b", "--ttl", "25h"], 1),
        (["--scope", "a:b", "--ttl", "soon"], 2),
        ([], 2),
    ],
)
def test_bad_input_is_a_problem_or_a_usage_and_no_token(tmp_path: Path, arguments: list[str], code: int) -> None:
    done = mint(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert "Traceback" not in done.stderr


def test_it_refuses_a_weak_key_outside_dev(tmp_path: Path) -> None:
    done = mint(tmp_path, "--scope", "a:b", "--json", ENVIRONMENT="production", JWT_SECRET_KEY="hunter2")
    assert done.returncode == 1
    assert json.loads(done.stderr)["code"] == "weak-key"
    assert "hunter2" not in done.stderr

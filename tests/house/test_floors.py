"""The floors hold: imports go down only, strangers stay strangers, drivers stay in common and connectors."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.house.tree import ROOT

FLOORS, STRANGERS, DRIVERS = "floors", "connectors", "drivers"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
NAMES = {contract["id"]: contract["name"] for contract in CONTRACTS}
# Contract, a file to plant, and what it imports.
PLANTS = [
    (FLOORS, "nms/common/planted.py", "import nms.events.planted_below"),
    (FLOORS, "nms/events/planted.py", "import nms.connectors.planted_below"),
    (FLOORS, "nms/connectors/planted/source.py", "import nms.sync.planted_below"),
    (FLOORS, "nms/sync/planted.py", "import nms.cli.planted_below"),
    (FLOORS, "nms/sync/planted.py", "import nms.cfg.planted_below"),
    (FLOORS, "nms/warehouse/planted.py", "import nms.inbox.planted_below"),
    (FLOORS, "nms/auth/planted.py", "import nms.console.planted_below"),
    (FLOORS, "nms/lounge/planted.py", "import json"),
    (STRANGERS, "nms/connectors/planted/source.py", "import nms.connectors.postgres.planted_below"),
    *[
        (DRIVERS, f"nms/{place}/planted.py", f"import {driver}")
        for place, driver in [
            ("sync", "asyncpg"),
            ("auth", "psycopg"),
            ("inbox", "aio_pika"),
            ("cli", "redis.asyncio"),
            ("events", "httpx2"),
            ("console/api", "httpx"),
        ]
    ],
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and its contracts, in a place where faults may be planted."""
    shutil.copytree(ROOT / "nms", tmp_path / "nms", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def broken_contracts(directory: Path) -> set[str]:
    """Which contracts import-linter finds broken in a directory; raises when it judges none at all."""
    linter = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()"]
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        [*linter, "--no-logo", "--no-cache"],
        check=False,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
    )
    verdicts = {contract: re.search(f"^{name} (KEPT|BROKEN)", done.stdout, re.M) for contract, name in NAMES.items()}
    assert all(verdicts.values()), done.stdout + done.stderr
    return {contract for contract, verdict in verdicts.items() if verdict and verdict[1] == "BROKEN"}


def plant(directory: Path, path: str, text: str) -> None:
    """Write a module, and the module it imports, with every package on the way."""
    imported = text.removeprefix("import ").replace(".", "/") + ".py"
    for place in [path, imported] if imported.startswith("nms/") else [path]:
        file = directory / place
        file.parent.mkdir(parents=True, exist_ok=True)
        for folder in [file.parent, *file.parent.parents][: place.count("/")]:
            (folder / "__init__.py").touch()
        file.write_text(text if place == path else "")


def test_the_house_keeps_every_contract(copy: Path) -> None:
    assert broken_contracts(copy) == set()


def test_each_contract_is_shown_red() -> None:
    assert {contract for contract, _, _ in PLANTS} == set(NAMES)


@pytest.mark.parametrize(("contract", "path", "text"), PLANTS, ids=[f"{path}: {text}" for _, path, text in PLANTS])
def test_a_planted_violation_turns_its_contract_red(copy: Path, contract: str, path: str, text: str) -> None:
    plant(copy, path, text)
    assert broken_contracts(copy) == {contract}

"""The benchmark of pulls runs: few records, one turn each; how fast it is, `make bench-rest` says."""

import json
from pathlib import Path

from bench.rest.__main__ import main


def test_pulls_are_measured(tmp_path: Path) -> None:
    assert main(["--short", "--results", str(tmp_path)]) == 0
    (stored,) = tmp_path.glob("rest-*.json")
    figures = {one["name"]: one for one in json.loads(stored.read_text())["figures"]}
    speeds = [one for name, one in figures.items() if name.endswith("rate / rate of the bare client")]
    assert [(one["bar"], one["median"] > 0) for one in speeds] == [(0.8, True)] * 2
    [second] = [one for name, one in figures.items() if name.startswith("second round")]
    assert second["more"]["pages"] < 4

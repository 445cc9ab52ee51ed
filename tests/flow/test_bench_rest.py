"""The benchmark of pulls runs: few records, one turn each; how fast it is, `make bench-rest` says."""

import json
from pathlib import Path

from bench.rest.__main__ import main


def test_pulls_are_measured(tmp_path: Path) -> None:
    assert main(["--short", "--results", str(tmp_path)]) == 0
    (stored,) = tmp_path.glob("rest-*.json")
    figures = {one["name"]: one for one in json.loads(stored.read_text())["figures"]}
    speeds = [one for name, one in figures.items() if name.endswith("rate / rate of the bare client")]
    # A machine that is busy with other tests says little, but a page by single statements would take ten times as long.
    assert len(speeds) == 2
    assert all(one["bar"] == 0.8 and one["median"] > 0.05 for one in speeds)
    [second] = [one for name, one in figures.items() if name.startswith("second round")]
    assert second["more"]["pages"] < 4

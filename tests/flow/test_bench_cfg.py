"""The benchmark of cfg runs: few writers and watchers; how many it bears, `make bench-cfg` says."""

import json
from pathlib import Path

from bench.cfg.__main__ import main


def test_no_update_is_lost_no_revision_is_missing_and_every_watcher_hears_all(tmp_path: Path) -> None:
    assert main(["--short", "--results", str(tmp_path)]) == 0
    (stored,) = tmp_path.glob("cfg-*.json")
    figures = {one["name"]: one for one in json.loads(stored.read_text())["figures"]}
    assert {name: one["bar"] for name, one in figures.items() if one["bar"] is not None} == {
        "20 watchers x 41 changes: watchers that missed one": 0,
        "20 watchers: p99 from stored to heard": 1000,
        "4 writers x 10 change sets: updates lost": 0,
        "41 revisions: gaps in their numbers": 0,
    }
    assert all(one["median"] == 0 for one in figures.values() if one["bar"] == 0)

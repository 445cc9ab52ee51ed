"""The benchmarks run: small sizes, one turn each; how fast it is, `make bench` says."""

import json
from pathlib import Path

from bench.__main__ import main


def test_every_workload_runs_with_every_contestant(tmp_path: Path) -> None:
    assert main(["--short", "--results", str(tmp_path)]) == 0
    (stored,) = tmp_path.glob("*.json")
    outcomes = {(one["workload"], one["contestant"]) for one in json.loads(stored.read_text())["outcomes"]}
    both = {
        (name, who)
        for name in ("initial copy", "catch-up", "large transaction", "latency")
        for who in ("nms", "own subscription")
    }
    assert outcomes == both | {("initial copy", "copy pipe")}


def test_the_huge_transaction_and_the_idle_pipeline_run(tmp_path: Path) -> None:
    assert main(["--short", "--huge", "--idle", "--results", str(tmp_path)]) == 0
    (stored,) = tmp_path.glob("*.json")
    bars = {bar["bar"]: bar["holds"] for bar in json.loads(stored.read_text())["bars"]}
    assert bars["huge transaction: bytes spilled at the source"]
    assert bars["idle pipeline: log retained, MiB"]

"""The benchmarks run: small sizes, one turn each; how fast it is, `make bench` says."""

import json
from pathlib import Path

from bench.__main__ import main
from bench.auth.__main__ import main as main_of_auth


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


def test_the_meter_sees_what_an_empty_dependency_costs(tmp_path: Path) -> None:
    # Of one short trial on a busy machine anything may come; of some, one tells.
    for trial in range(8):
        assert main_of_auth(["--short", "--only", "guard", "--results", str(tmp_path / str(trial))]) == 0
        (stored,) = (tmp_path / str(trial)).glob("auth-*.json")
        figures = {one["name"]: one for one in json.loads(stored.read_text())["figures"]}
        if figures["(beside it, in a loop: an empty dependency of FastAPI over bare)"]["median"] > 1:
            return
    raise AssertionError("FastAPI asks nothing for a dependency?")


def test_what_auth_costs_is_measured(tmp_path: Path) -> None:
    assert main_of_auth(["--short", "--results", str(tmp_path)]) == 0
    (stored,) = tmp_path.glob("auth-*.json")
    figures = {one["name"]: one for one in json.loads(stored.read_text())["figures"]}
    assert {figures[f"guard {w}: `caller = requires()` over bare"]["bar"] for w in ("in a loop", "behind uvicorn")} == {
        5
    }
    assert figures["who exists: forms of the answer (status, headers, body) to four kinds of refusal"]["median"] == 1
    assert figures["flood of 60 logins: answers beside 200, 429, 503 with Retry-After"]["median"] == 0
    assert figures["refreshes"]["median"] > 1
    assert figures["logins"]["median"] > 1

"""The benchmark of the warehouse runs: few records, a short turn each; how fast it is, `make bench-warehouse` says."""

import json
from pathlib import Path

from bench.warehouse.__main__ import main


def test_the_warehouse_is_measured_beside_bare_servers_that_answer_the_same(tmp_path: Path) -> None:
    assert main(["--short", "--results", str(tmp_path)]) == 0
    (stored,) = tmp_path.glob("warehouse-*.json")
    figures = {one["name"]: one for one in json.loads(stored.read_text())["figures"]}
    # A machine that is busy with other tests says little of how fast it is: the bars are there, no more is asked.
    assert figures["page of 100: rate of ours / rate of bare ASGI, JSON built per request"]["bar"] == 1.3
    assert {name.partition(",")[0] for name in figures if name.endswith("ours: rate")} == {
        *("by id", "page of 100", "filter and sort", "304"),
        *("page at depth 0", "page at depth 0.9"),
    }

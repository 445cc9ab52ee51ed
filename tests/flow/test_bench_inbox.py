"""The benchmark of the inbox runs: one short turn each; how fast it is, `make bench-inbox` says."""

import json
from pathlib import Path

from bench.inbox.__main__ import main


def test_the_inbox_is_measured_beside_bare_servers(tmp_path: Path) -> None:
    assert main(["--short", "--results", str(tmp_path)]) == 0
    (stored,) = tmp_path.glob("inbox-*.json")
    figures = {one["name"]: one for one in json.loads(stored.read_text())["figures"]}
    ratio = figures["rate of ours / rate of bare ASGI with shared commits"]
    # A machine that is busy with other tests says little, but a commit for each request would take ten times as long.
    assert ratio["bar"] == 0.8
    assert ratio["median"] > 0.05
    assert {name.partition(":")[0] for name in figures if name.endswith(": rate")} == {
        "ours",
        "bare ASGI, shared commits",
    }

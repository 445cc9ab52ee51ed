"""`nms endpoints`: what an operator sees of the addresses of webhooks."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nms.cli.main import app

TEXT = """
kind: endpoint
name: shop
scheme: {type: github, secrets: [env://SHOP_HOOK]}
handshakes: [{type: meta, token: env://NOBODY_SET_THIS}]
---
kind: endpoint
name: chimp
scheme: {type: path, secrets: [env://SHOP_HOOK]}
handshakes: [mailchimp]
---
kind: endpoint
name: webhook
scheme: {type: none}
"""


@pytest.mark.usefixtures("settings")
def test_endpoints_are_listed_with_what_keeps_them_from_receiving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_HOOK", "a-secret-of-a-hook")
    (tmp_path / "all.yaml").write_text(TEXT)
    runner = CliRunner()
    assert "There is no endpoint" in runner.invoke(app, ["endpoints"]).stdout
    assert runner.invoke(app, ["apply", "-f", str(tmp_path / "all.yaml")]).exit_code == 0
    shown = runner.invoke(app, ["endpoints", "--json"])
    assert shown.exit_code == 3
    rows = {row["name"]: row for row in json.loads(shown.stdout)}
    assert (rows["chimp"]["address"], rows["chimp"]["state"]) == ("/in/chimp/SECRET", "ready")
    assert rows["chimp"]["handshakes"] == "mailchimp"
    assert rows["shop"]["why"].startswith("secret-missing: The environment variable NOBODY_SET_THIS")
    assert rows["webhook"]["why"].startswith("scheme-forbidden")
    assert rows["webhook"]["address"] == "/webhook"
    assert "a-secret-of-a-hook" not in shown.output

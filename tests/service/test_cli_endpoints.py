"""`nms endpoints`: what an operator sees of the addresses of webhooks."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from nms.cli import endpoints
from nms.cli.main import app
from nms.common.settings import Settings
from nms.inbox import quarantine
from tests.service.inbox import SECRET, SHOP, declare, receiving, signed, stored
from tests.waiting import eventually

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


async def nms(*words: object) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["endpoints", *map(str, words)])


async def test_what_was_refused_is_listed_shown_and_verified_again_once_the_secret_is_mended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "PAUSE_SECONDS", 0.02)
    monkeypatch.setenv("SHOP_HOOK", "another-secret-of-a-hook")
    await declare(SHOP)

    async def held() -> list[dict[str, Any]]:
        return list(json.loads((await nms("refused", "--endpoint", "shop", "--json")).stdout))

    async def three() -> bool:
        return len(await held()) == 3

    async with receiving(settings) as client:
        for number in range(3):
            body = f'{{"id": {number}, "more": "x"}}'.encode()
            answer = await client.post("/in/shop", content=body, headers=signed(body, f"d{number}"))
            assert answer.status_code == 401
        await eventually(three)
    newest = (await held())[0]
    assert "signature-mismatch" in (await nms("refused")).stdout
    assert "Nothing that was refused" in (await nms("refused", "--code", "id-missing")).stdout
    assert "There are more" in (await nms("refused", "--limit", "2")).stderr
    shown = json.loads((await nms("refused", newest["id"], "--json")).stdout)
    assert (shown["body"], "sealed" in shown) == ('{"id": 2, "more": "x"}', False)
    still = await nms("verify", newest["id"])
    assert (still.exit_code, "still-refused" in still.stderr) == (1, True)
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    one = json.loads((await nms("verify", newest["id"], "--json")).stdout)
    assert (one["outcome"], len(one["ids"])) == ("stored", 1)
    would = json.loads((await nms("verify", "--endpoint", "shop", "--dry-run", "--json")).stdout)
    assert (would["looked_at"], would["stored"], would["refused"]) == (2, 2, {})
    monkeypatch.setattr(endpoints, "PORTION", 1)
    assert "Of 2 requests 2 are stored" in (await nms("verify", "-e", "shop")).stdout
    assert await held() == []
    assert [len(await stored(settings)), (await nms("verify")).exit_code] == [3, 2]

"""`nms doctor` on the inbox: what cannot receive, what stands still, what is not forgotten."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from nms.cli.main import app
from nms.common.settings import Settings
from nms.inbox.days import DayRepository
from nms.inbox.diagnosis import Feed, diagnose
from nms.inbox.relay import RelayRepository
from tests.service.inbox import SECRET, SHOP, declare
from tests.service.test_inbox_feed import arrival

DROP = """
do $$ begin
    execute format('drop table inbox.event_%s', to_char(now() at time zone 'UTC' + '1 day', 'YYYYMMDD'));
end $$
"""


@pytest.fixture
async def days(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> DayRepository:
    del settings
    monkeypatch.setenv("SHOP_HOOK", SECRET)
    await declare(SHOP)
    repository = await DayRepository.open()
    await repository.make_days(1)
    return repository


async def examine(*words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["doctor", *words])


async def codes(settings: Settings, *feeds: Feed) -> dict[str, bool]:
    found = await diagnose(settings, feeds)
    assert found is not None
    return {one.code: one.fatal for one in found}


async def shift(days: DayRepository, table: str, span: str) -> None:
    await days.connection.execute(f"update inbox.{table} set received_at = received_at - interval '{span}'")


async def told(*words: str) -> tuple[int, Sequence[dict[str, Any]]]:
    answer = await examine("--json", *words)
    return answer.exit_code, json.loads(answer.stdout)


@pytest.mark.usefixtures("settings")
async def test_an_inbox_that_nobody_uses_is_not_spoken_of() -> None:
    assert await told() == (0, [])


async def test_an_inbox_that_is_well_has_no_findings(settings: Settings, days: DayRepository) -> None:
    await days.store([arrival("new")])
    relayed = settings.model_copy(update={"amqp_dsn": SecretStr("amqp://nowhere")})
    assert await codes(relayed, Feed("in", ["shop"], 0)) == {}
    assert "inbox: nothing stands in its way" in (await examine()).stdout


async def test_an_endpoint_whose_secret_is_missing_is_told_with_the_remedy(
    days: DayRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    del days
    monkeypatch.delenv("SHOP_HOOK")
    code, (report,) = await told()
    (finding,) = report["findings"]
    assert (code, report["room"], report["fit"]) == (3, "inbox", False)
    assert (finding["code"], finding["fatal"]) == ("secret-missing", True)
    assert "endpoint shop" in finding["sentence"]
    assert finding["remedy"] in " ".join((await examine()).stdout.split())


async def test_events_that_nobody_passes_on_are_told(settings: Settings, days: DayRepository) -> None:
    await days.store([arrival("old"), arrival("other", endpoint="other")])
    await shift(days, "event", "10 minutes")
    relayed = settings.model_copy(update={"amqp_dsn": SecretStr("amqp://nowhere")})
    newest = await days.get_settled()
    assert await codes(settings) == {}
    assert await codes(relayed, Feed("in", ["other"], newest)) == {"relay-standing": True}
    await (await RelayRepository.open()).move_relay(newest)
    assert await codes(relayed, Feed("in", ["other"], 0)) == {"feed-standing": True}
    assert await codes(relayed, Feed("in", ["third"], 0)) == {}


async def test_a_missing_day_and_receipts_that_are_kept_too_long_are_told(
    settings: Settings, days: DayRepository
) -> None:
    await days.store([arrival("old")])
    await shift(days, "receipt", "33 days")
    assert await codes(settings) == {"receipts-kept": False}
    await declare({**SHOP, "keep": "40d"})
    assert await codes(settings) == {}
    await days.connection.execute(DROP)
    assert await codes(settings) == {"day-missing": False}
    assert (await told())[0] == 0

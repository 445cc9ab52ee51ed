"""The short form of `make faults-inbox`: webhooks while role processes are killed and servers go away."""

from pathlib import Path

from rich.console import Console

from tests.flow.inbox import strike, to_dict
from tests.flow.webhooks.brokers import SharedBroker
from tests.flow.webhooks.campaign import Orders
from tests.flow.webhooks.stage import Stage
from tests.services.postgres import PostgresServer

ORDERS = Orders(seed=3, seconds=5, rate=150, doubles=0.1, kill_every=1.5, stop_every=2.5, down=0.5)


async def test_kills_and_outages_lose_double_and_reorder_no_webhook(rabbitmq: str, tmp_path: Path) -> None:
    own = PostgresServer("18", durable=True, settings={"fsync": "off"})
    console = Console(markup=False, soft_wrap=True)
    report = await strike(Stage(own, SharedBroker(rabbitmq), tmp_path), ORDERS, console.print)
    told = str(to_dict(report))
    assert report.clean, told
    dealt = sum(count for blow, count in report.blows.items() if blow.endswith(("killed", "stopped")))
    assert dealt == ORDERS.kills + ORDERS.stops
    facts = report.verdict.facts
    assert facts["acknowledged"] == facts["stored"] == facts["delivered"] == facts["applied"] > 0, told

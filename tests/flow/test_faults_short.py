"""The short form of `make faults`: a few faults of each kind while eight writers write, and nothing is wrong after."""

from rich.console import Console

from tests.flow.campaign import Blow, Orders
from tests.flow.drivers import SubscriptionDriver
from tests.flow.faults import strike, to_dict
from tests.flow.nms_driver import NmsDriver

TAKEN_OVER = 30.0
ORDERS = Orders(
    seed=7,
    rounds=1,
    worker_kills=5,
    source_stops=1,
    target_stops=1,
    own_stops=1,
    freezes=1,
    accounts=3_000,
    rate=60,
    calm=0.5,
)


async def test_kills_and_crashes_lose_double_reorder_and_halve_nothing() -> None:
    console = Console(markup=False, soft_wrap=True)
    report = await strike(ORDERS, NmsDriver(seed=7, lease=2.0, slow=0.3), console, fsync=False)
    assert report.verdict.clean, str(report.verdict)
    assert report.count(Blow.KILL, Blow.KILL_AT) == ORDERS.worker_kills
    assert report.count(Blow.KILL, Blow.KILL_AT, backfill=True), "some fell into the backfill"
    assert max(taken for taken, _ in report.recoveries) < TAKEN_OVER
    assert report.verdict.facts["snapshots"] > 0


async def test_the_campaign_finds_nothing_wrong_with_the_servers_own_replication() -> None:
    few = Orders(
        seed=2, rounds=1, worker_kills=2, source_stops=1, target_stops=1, own_stops=0, accounts=1_000, calm=0.5
    )
    report = await strike(few, SubscriptionDriver(), Console(markup=False, soft_wrap=True), fsync=False)
    assert report.verdict.clean, str(to_dict(report))
    assert report.verdict.facts["effects"] > 1_000

"""What is measured: loads side by side, a second round, a gigabyte, and the pace beside an API that is down."""

from collections import defaultdict
from collections.abc import Awaitable, Callable
from statistics import median

from bench.auth.figure import Figure
from bench.rest.loads import Kind, Load, load_bare, load_dlt, load_ours
from bench.rest.place import TARGET, WIDE, Place, pipeline, system

KINDS = tuple(Kind(style, latency) for style in ("numbered", "cursor") for latency in (0.0, 0.02))
FAST = KINDS[0]
WIDE_RECORDS = 100_000
"""Of 10 kB each: a gigabyte."""
Loader = Callable[[Place, Kind], Awaitable[Load]]


async def measure_speed(place: Place, kind: Kind, trials: int, *, with_dlt: bool) -> Figure:
    """One kind of load by all, turn by turn; dlt has one turn."""
    loads: dict[str, list[Load]] = defaultdict(list)
    for turn in range(trials):
        contestants: list[tuple[str, Loader]] = [("nms", load_ours), ("bare", load_bare)]
        for name, load in contestants if turn % 2 else contestants[::-1]:
            loads[name].append(await load(place, kind))
    if with_dlt:
        loads["dlt"].append(await load_dlt(place, kind))
    more = {f"{name} s": median(load.seconds for load in done) for name, done in loads.items()}
    more["worker cpu s"] = median(load.more["cpu"] for load in loads["nms"])
    figure = Figure(
        f"{kind.title}: rate / rate of the bare client", "x",
        [bare.seconds / ours.seconds for ours, bare in zip(loads["nms"], loads["bare"], strict=True)],
        0.8, floor=True, more=more,
    )  # fmt: skip
    if with_dlt:
        figure.more |= {"dlt": loads["dlt"][0].more["version"]}
    return figure


async def measure_second_round(place: Place, changes: int) -> Figure:
    """What a round reads when so many records changed since the last one."""
    table = await place.make_table("changing")
    await place.api.control()
    await place.apply([system(place.api.port), TARGET, pipeline("changing", "changing", table)])
    await place.wait_round("changing")
    await place.installation.call("pause", "changing")
    whole = (await place.api.control(change=changes))["asked"]
    before = await place.standing("changing")
    await place.installation.call("resume", "changing")
    await place.wait_round("changing", before)
    read = (await place.api.control())["asked"]
    came = await place.at_target(f"select count(*) from {table} where updated_at >= '2026-01-31'")
    await place.installation.call("pause", "changing")
    if came != changes:
        raise AssertionError(f"{came} of {changes} changes came")
    share = 100 * read / whole
    return Figure(f"second round with {changes:,} changes: pages read of all", "%", [share], 2.0, more={"pages": read})


async def measure_memory(place: Place, records: int, bar: float) -> Figure:
    """The worker's peak while a resource of pages of a megabyte passes."""
    table = await place.make_table("wide", WIDE)
    await place.api.control(wide=records)
    meter = place.meter()
    await place.apply([system(place.api.port), TARGET, pipeline("wide", "wide", table)])
    await place.wait_round("wide")
    usage = meter.read()
    rows = await place.at_target(f"select count(*) from {table}")
    await place.installation.call("pause", "wide")
    await place.at_target(f"drop table {table}")
    if rows != records:
        raise AssertionError(f"{rows} of {records} records came")
    return Figure(
        f"{records / 1e5:.2f} GB in pages of 1 MB: peak of the worker", "MiB", [usage.peak_mib], bar,
        more={"worker cpu s": usage.cpu_seconds},
    )  # fmt: skip


async def measure_pace(place: Place, trials: int, bar: float) -> Figure:
    """A pipeline's rate in the worker that another pipeline shares whose API never answers."""
    table = await place.make_table("hang")
    hanging = system(place.api.port, "down")
    await place.apply([hanging, TARGET, pipeline("hang", "hang", table, "down")])
    seconds: dict[str, list[float]] = {"pause": [], "resume": []}
    for turn in range(trials):
        for act in ("pause", "resume") if turn % 2 else ("resume", "pause"):
            await place.installation.call(act, "hang")
            seconds[act].append((await load_ours(place, FAST)).seconds)
    await place.installation.call("pause", "hang")
    alone, beside = seconds["pause"], seconds["resume"]
    return Figure(
        "beside an API that never answers: rate / rate without", "x",
        [one / other for one, other in zip(alone, beside, strict=True)], bar, floor=True,
        more={"alone s": median(alone), "beside s": median(beside)},
    )  # fmt: skip

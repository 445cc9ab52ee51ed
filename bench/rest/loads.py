"""One load of all records into a new table, by each who takes part; in seconds from the first request to the commit."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass, field
from typing import Any

from bench.rest.place import TARGET, Place, pipeline, system
from tests.flow.installation import ROOT

DLT = ROOT / ".tools/dlt/bin/python"


@dataclass(frozen=True)
class Kind:
    """How the API is asked, and how long an answer takes (seconds)."""

    style: str
    latency: float

    @property
    def title(self) -> str:
        return f"{self.style} pages, {self.latency * 1000:.0f} ms"


@dataclass
class Load:
    """How long a load took, and what else was seen."""

    seconds: float
    more: dict[str, Any] = field(default_factory=dict)


async def load_bare(place: Place, kind: Kind) -> Load:
    """The bare client."""
    table = await place.make_table("bare")
    await place.api.control(latency=kind.latency)
    out = await _program(
        sys.executable, "-m", "bench.rest.bare", "--port", str(place.api.port), "--dsn", place.dsn,
        "--table", table, "--style", kind.style,
    )  # fmt: skip
    return await _finish(place, table, float(out))


async def load_dlt(place: Place, kind: Kind) -> Load:
    """dlt, out of its own environment; it makes its table itself."""
    table = f"dlt_{len(place.names)}"
    place.names.append(table)
    await place.api.control(latency=kind.latency)
    out = await _program(
        str(DLT), str(ROOT / "bench/rest/dlt_load.py"), "--port", str(place.api.port), "--dsn", place.dsn,
        "--table", table, "--style", kind.style,
    )  # fmt: skip
    told = json.loads(out.splitlines()[-1])
    load = await _finish(place, f"dlt.{table}", told["end"])
    load.more["version"] = told["version"]
    return load


async def load_ours(place: Place, kind: Kind) -> Load:
    """A pipeline of documents, worked by the worker that runs all the time; it is paused behind its first round."""
    table = await place.make_table("nms")
    name = table.replace("_", "-")
    await place.api.control(latency=kind.latency)
    meter = place.meter()
    await place.apply([system(place.api.port), TARGET, pipeline(name, kind.style, table)])
    await place.wait_round(name)
    end = asyncio.get_running_loop().time()
    usage = meter.read()
    load = await _finish(place, table, end)
    await place.installation.call("pause", name)
    load.more |= {"cpu": usage.cpu_seconds, "peak MiB": usage.peak_mib}
    return load


async def _finish(place: Place, table: str, end: float) -> Load:
    told = await place.api.control()
    rows = await place.at_target(f"select count(*) from {table}")
    if rows != place.records:
        raise AssertionError(f"{table} has {rows} rows of {place.records}")
    return Load(end - told["first"], {"requests": told["asked"]})


async def _program(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, "RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "WARNING"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    if process.returncode != 0:
        raise AssertionError(f"{command[1:3]} ended with {process.returncode}: {errors.decode()[-2000:]}")
    return out.decode()

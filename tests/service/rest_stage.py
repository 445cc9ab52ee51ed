"""A stage for pipelines from a hostile API into tables: documents, a worker, and what arrives."""

from collections.abc import Mapping
from typing import Any

from tests.service.stage import PREPARE, Stage
from tests.services.hostile.api import HostileApi

TABLES = """
create table public.things (id bigint primary key, reference text, name text, "group" int, updated_at timestamptz);
create table public.parts (id bigint primary key, things_id bigint, name text)
"""
FOLLOWING: dict[str, dict[str, Any]] = {
    "none": {"style": "none"},
    "page": {"style": "page", "parameter": "page", "size_parameter": "per_page", "total": "total"},
    "offset": {"style": "offset", "parameter": "offset", "size_parameter": "limit", "total": "total"},
    "cursor": {"style": "cursor", "parameter": "cursor", "next": "next_cursor"},
    "cursor-header": {"style": "cursor", "parameter": "cursor", "next_header": "X-Next-Cursor"},
    "link": {"style": "link"},
    "next-url": {"style": "next-url", "next": "next"},
}
SINCE = {"parameter": "updated_since", "field": "updated_at"}
IDS = "select id from public.things order by id"


def things(paging: str = "page", **more: Any) -> dict[str, Any]:
    """A resource `things` as a document declares it."""
    return {"path": "/things", "records": "data", "record": "/things/{id}", "paging": FOLLOWING[paging], **more}


def api(url: str, resources: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The document of the remote."""
    declared = {"things": things()} if resources is None else dict(resources)
    return {"kind": "system", "name": "api", "type": "rest", "url": url, "resources": declared, **more}


def pull(*names: str, **more: Any) -> dict[str, Any]:
    """The document of a pipeline `items` from resources into the tables of their names."""
    datasets = [{"source": name, "target": f"public.{name}"} for name in names or ("things",)]
    return {
        "kind": "pipeline", "name": "items", "source": "api", "target": "target", "capture": "pull", "every": "1s",
        "datasets": datasets, **more,
    }  # fmt: skip


async def make_stage(settings: Any, target: str) -> Stage:
    """A stage with a prepared target and empty tables."""
    stage = Stage(settings, "", target)
    await stage.at("target", TABLES)
    await stage.at("target", PREPARE.read_text())
    return stage


async def begin(stage: Stage, *documents: dict[str, Any]) -> None:
    """Apply the target's system and documents."""
    await stage.apply(*stage.systems(target=stage.target), *documents)


def lists(remote: HostileApi, name: str = "things") -> list[str]:
    """The lists that were asked for, in order."""
    return [one.target for one in remote.journal.entries if one.target.split("?")[0].endswith("/" + name)]

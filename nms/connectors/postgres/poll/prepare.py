"""The change log of a source: made, and removed with all that belongs to it."""

from collections.abc import Sequence
from pathlib import Path

import asyncpg

from nms.connectors.postgres import catalog
from nms.connectors.postgres.catalog import Connection, Table, queries
from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.facts import keyed
from nms.connectors.postgres.poll import statements as asking
from nms.connectors.postgres.poll.check import CHANGES
from nms.connectors.postgres.problems import translate

UNPREPARE = Path(__file__).with_name("unprepare.sql").read_text()
# Whoever waits for a table keeps everybody behind it waiting.
_LOCK_WAIT = "10s"


async def prepare_source(spec: PipelineSpec) -> list[str]:
    """Have the changes of a pipeline's tables noted where our login may; says what was made."""
    if spec.capture != "poll" or not spec.change_log:
        return []
    source = await catalog.connect(spec.source, name=f"nms-prepare:{spec.name}")
    try:
        tables = await catalog.read_tables(source, [one.source for one in spec.datasets])
        wanted = [
            (tables[one.source], one.key) for one in keyed(spec.datasets, tables) if one.source in tables and one.key
        ]
        if not wanted or await _is_noted(source, spec.name, [table for table, _ in wanted]):
            return []
        async with source.transaction():
            await queries.update_lock_wait(source, wait=_LOCK_WAIT)
            await source.execute(CHANGES)
            for table, key in wanted:
                await source.execute(asking.follow_table(spec.name, table.quoted, key or ()))
        return [f"the change log of {spec.source.system}"]
    except asyncpg.InsufficientPrivilegeError:
        # The check that follows prints the SQL for whoever may.
        return []
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise translate(error, at=spec.source.system) from error
    finally:
        source.terminate()


async def forget(spec: PipelineSpec) -> list[str]:
    """Remove the triggers that note changes for a pipeline alone, and the change log with its last reader.

    Says what was removed. What our login may not drop stays, empty and without triggers.
    """
    source = await catalog.connect(spec.source, name=f"nms-release:{spec.name}")
    try:
        there = await queries.get_change_log(source)
        if not (there["there"] and there["usable"]) or not await queries.count_readers(source, pipeline=spec.name):
            return []
        async with source.transaction():
            await queries.update_lock_wait(source, wait=_LOCK_WAIT)
            await queries.delete_reader(source, pipeline=spec.name)
        return [f"the triggers of {spec.name} at {spec.source.system}", *await _clear(source, spec)]
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise translate(error, at=spec.source.system) from error
    finally:
        source.terminate()


async def _clear(source: Connection, spec: PipelineSpec) -> list[str]:
    try:
        await source.execute(UNPREPARE)
    except asyncpg.InsufficientPrivilegeError:
        return []
    there = await queries.get_change_log(source)
    return [] if there["there"] else [f"the change log of {spec.source.system}"]


async def _is_noted(source: Connection, pipeline: str, tables: Sequence[Table]) -> bool:
    there = await queries.get_change_log(source)
    if not (there["there"] and there["usable"]):
        return False
    oids = [table.oid for table in tables]
    rows = await queries.list_followed(source, pipeline=pipeline, oids=oids)
    return len(rows) == len(set(oids)) and all(row["triggers"] == 4 and not row["lacking"] for row in rows)

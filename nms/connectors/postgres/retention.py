"""How much log a source retains for slots, whoever reads them, and giving slots up before they fill its disk."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from nms.connectors.postgres import catalog, slot
from nms.connectors.postgres.catalog import queries
from nms.connectors.postgres.libpq import Access
from nms.connectors.postgres.problems import translate


@dataclass(frozen=True, slots=True)
class Retained:
    """A slot that is there, and the bytes of log that the source keeps for it."""

    slot: str
    bytes: int


async def measure_slots(access: Access, slots: Sequence[str]) -> list[Retained]:
    """What a source retains for those of the slots that are there; raises a Problem."""
    source = await catalog.connect(access, name="nms-guard")
    try:
        rows = await queries.list_retained(source, names=list(slots))
        return [Retained(row["name"], row["retained"]) for row in rows]
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise translate(error, at=access.system) from error
    finally:
        source.terminate()


async def release_slot(access: Access, name: str) -> None:
    """Give a slot up: what is not read by now will never be read; its publications stay for the next one."""
    source = await catalog.connect(access, name="nms-guard")
    try:
        await slot.end_reader(source, name)
        await queries.delete_slot(source, name=name)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise translate(error, at=access.system) from error
    finally:
        source.terminate()

"""What a plan says of entities is what the worker of the warehouse does, case by case beside a real one."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from nms.cfg.documents import apply_changeset, plan_changeset
from nms.cfg.models import Changeset
from nms.cfg.repository import DocumentRepository
from nms.common.document import short_form
from nms.common.settings import Settings
from nms.warehouse import document as following
from tests.service.inbox import declare
from tests.service.test_cfg_effects import effects
from tests.service.test_entity_evolution import reach, working
from tests.service.warehouse import connected, entity

ITEMS: dict[str, Any] = {"id": "bigint", "name": "text", "size": "integer"}
ANEW = "entity items has its records written anew, beside readers and writers"
INDEXED = "select exists (select from pg_indexes where schemaname = 'entity' and indexdef ~ '\\(name, id\\)')"
COLUMN = "select data_type from information_schema.columns where table_name = 'items' and column_name = $1"


@pytest.fixture
def shared_dwh(dwh_database: str) -> str:
    return dwh_database


@pytest.fixture
async def psql(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncpg.Connection]:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.2)
    async with connected(settings) as connection, working():
        yield connection


async def turn(state: str, **fields: Any) -> list[str]:
    """Declare the entity with these fields besides its usual ones, and wait for a state; gives what the plan said."""
    document = entity("items", {name: said for name, said in (ITEMS | fields).items() if said is not None})
    told = await effects(short_form(document))
    await declare(short_form(document))
    await reach("items", state, document if state == "ready" else None)
    return told


async def test_what_is_added_and_left_out_is_told(psql: asyncpg.Connection) -> None:
    assert await turn("ready") == ["entity items is made"]
    await psql.execute("insert into entity.items (id, name) values (1, 'a')")
    note = {"note": "text"}
    assert await turn("ready", **note) == ["entity items gets the field note", ANEW]
    assert '"note":null' in await psql.fetchval("select _json::text from entity.items")
    assert await turn("ready", **note, name={"type": "text", "index": True}) == ["entity items gets an index on name"]
    assert await psql.fetchval(INDEXED)
    assert await turn("ready", **note) == ["entity items loses an index on name"]
    assert not await psql.fetchval(INDEXED)
    assert await turn("ready") == ["entity items no longer shows the field note; its data are kept", ANEW]
    assert await psql.fetchval(COLUMN, "note") == "text"
    assert "note" not in await psql.fetchval("select _json::text from entity.items")
    plan = await plan_changeset(await DocumentRepository.open(), Changeset([], prune=True))
    assert plan.differences[0].effects == ("entity items is hidden; its data are kept",)
    await apply_changeset(await DocumentRepository.open(), Changeset([], prune=True))
    await reach("items", "hidden")
    assert await psql.fetchval("select count(*) from entity.items") == 1


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"size": "bigint"}, "entity items needs a plan: size becomes bigint"),
        ({"size": "text"}, "entity items needs a plan: size becomes text"),
        ({"size": {"type": "integer", "required": True}},
         "entity items needs a plan where records lack it: size is required"),
    ],
)  # fmt: skip
async def test_what_needs_a_plan_halts(psql: asyncpg.Connection, fields: dict[str, Any], told: str) -> None:
    await turn("ready")
    await psql.execute("insert into entity.items (id, name) values (1, 'a')")
    assert await turn("halted", **fields) == [told]

"""A mapping as documents say it, worked by a worker: what cannot be cast waits with its reason, the rest goes on."""

from typing import Any

from nms.common.settings import Settings
from tests.contract.pipelines import MakeDatabase
from tests.service.stage import Stage

SOURCE = "create table public.paid (id bigint primary key, status text, amount text, note text)"
TARGET = "create table public.sale (id bigint primary key, total integer, origin text not null)"
MAPPED: dict[str, Any] = {
    "source": "public.paid",
    "target": "public.sale",
    "fields": {"id": "id", "amount": "total"},
    "where": {"status": ["paid", "open"], "id": {"gt": 0}},
    "constants": {"origin": "shop"},
    "casts": {"amount": "integer"},
}
SALES = "select id || ':' || coalesce(total::text, 'none') || ':' || origin from public.sale order by id"


async def test_what_cannot_be_cast_is_held_with_its_reason_and_the_rest_goes_on(
    settings: Settings, make_database: MakeDatabase
) -> None:
    stage = await Stage.set(settings, await make_database(), await make_database())
    await stage.at(
        "source", SOURCE + "; insert into paid values (1, 'paid', '10'), (2, 'paid', 'ten'), (3, 'lost', '3')"
    )
    await stage.at("target", TARGET)
    await stage.apply(*stage.systems(), {**stage_pipeline(), "datasets": [MAPPED]})
    async with stage.working():
        halted = await stage.reach("halted")
        assert halted.problem is not None
        assert halted.problem["code"] == "not-prepared"
        told = await stage.nms("doctor", "items")
        assert "public.paid: values of" in told.stdout
        (sql,) = [line.strip() for line in told.stdout.splitlines() if "replica identity full;" in line]
        await stage.at("source", sql)
        await stage.nms("resume", "items")
        await stage.arrive(SALES, ["1:10:shop"])
        await stage.at("source", "insert into paid values (4, 'open', '4'), (5, 'open', '5 EUR'), (-1, 'open', '1')")
        await stage.at(
            "source", "update paid set status = 'paid' where id = 3; update paid set amount = '2' where id = 2"
        )
        await stage.arrive(SALES, ["1:10:shop", "3:3:shop", "4:4:shop"])
        held = await stage.answer("quarantine", "list", "items")
        assert sorted((one["key"], one["op"]) for one in held) == [("2", "insert"), ("2", "update"), ("5", "insert")]
        (first,) = [one for one in held if one["op"] == "insert" and one["key"] == "2"]
        assert "invalid input syntax for type integer" in first["problem"]["detail"]


def stage_pipeline() -> dict[str, Any]:
    """The document of the pipeline without its datasets."""
    return {"kind": "pipeline", "name": "items", "source": "source", "target": "target"}

"""Comparing both sides: the target ends equal to the source, whatever stood on either before and happens meanwhile."""

from dataclasses import replace
from pathlib import Path

from tests.conftest import MakeDatabase
from tests.contract.compared import apart, going, rule

ITEM = "create table item (id bigint primary key, name text, n numeric, doc jsonb, at timestamptz)"
FILL = """
insert into item select n, 'name ' || n, n / 7.0, jsonb_build_object('n', n), to_timestamp(n)
from generate_series(1, 500) n
"""


async def test_missing_differing_and_extra_rows_are_mended(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with apart(make_database, tmp_path, ITEM, ["item"]) as both:
        for side in (both.source, both.target):
            await side.execute(FILL)
        await both.source.execute("update item set name = null where id = 7; update item set n = null where id = 8")
        await both.source.execute("delete from item where id in (9, 10); insert into item (id) values (-1)")
        await both.target.execute("update item set doc = '{}' where id = 20; delete from item where id = 21")
        async with going(replace(both.spec, every=60.0)) as rounds:
            facts = await rounds.pass_round(1)
            await both.equal("item")
            assert len(rounds.batches) == 2
            found = facts["compared"]["public.item"]
            assert found["source"]["rows"] == 499
            assert found["target"] == {"rows": 499, "apart": 2, "insert": 2, "update": 3, "delete": 2}
        facts = await both.run("item")
        assert facts["compared"]["public.item"]["target"] == {
            "rows": 499, "apart": 0, "insert": 0, "update": 0, "delete": 0
        }  # fmt: skip


async def test_a_first_round_fills_an_empty_target(make_database: MakeDatabase, tmp_path: Path) -> None:
    async with apart(make_database, tmp_path, ITEM, ["item"]) as both:
        await both.source.execute(FILL.replace("500", "12000"))
        await both.run("item")


SUBSCRIPTION = "create table subscription (email text primary key, status text, plan text)"
STATES = ("active", "inactive", "trial", None)


async def test_every_combination_of_states_ends_right(make_database: MakeDatabase, tmp_path: Path) -> None:
    rules = {"public.subscription": rule(status="inactive")}
    async with apart(make_database, tmp_path, SUBSCRIPTION, ["subscription"], rules=rules) as both:
        for left in (*STATES, "absent"):
            for right in (*STATES, "absent"):
                for side, state in ((both.source, left), (both.target, right)):
                    if state != "absent":
                        name = f"{left}-{right}"
                        await side.execute(
                            "insert into subscription values ($1, $2, $3)", name, state, str(side is both.source)
                        )
        async with going(both.spec) as rounds:
            await rounds.pass_round()
        for side, at, other in ((both.source, 0, 1), (both.target, 1, 0)):
            for email, status, plan in await side.fetch("select * from subscription"):
                states = [None if one == "None" else one for one in email.split("-")]
                takes = states[at] == "inactive" and states[other] != "absent"
                assert status == (states[other] if takes else states[at]), email
                assert plan == str(side is both.source)

"""One write at a time against an API that misbehaves: what it does, and what is known afterwards."""

import asyncio
from typing import Any

import pytest

from nms.common.ledger import Link
from nms.common.problem import Problem, Retry
from nms.common.settings import Settings
from nms.common.strict_json import Number, write
from nms.connectors.rest import sending
from nms.connectors.rest.ask import key_of_location
from nms.connectors.rest.order import Act, Order
from nms.connectors.rest.sending import Means, Refusal
from nms.connectors.rest.write import Write
from tests.service.desk import KEY, VALUES, Desk
from tests.service.remote_writes import VERBS
from tests.services.hostile.api import HostileApi
from tests.services.hostile.behaviour import BEHAVIOURS, Behaviour, Call

PUT = {"method": "PUT", "path": "/items/{id}"}


@pytest.fixture
async def desk(asking: Settings, hostile_api: HostileApi) -> Desk:
    del asking
    hostile_api.add("items")
    return Desk(hostile_api)


async def test_answers_that_tell_no_key_are_looked_up(desk: Desk) -> None:
    for number, behaviour in enumerate(("no-content", "html", "truncated-json", "accepted", "key-missing")):
        desk.api.plan(behaviour, method="POST", times=1)
        key = {"reference": Number(number)}
        outcome = await desk.do(Act.CREATE, key=key, values={**key, "name": "n"})
        assert outcome.state == "sent"
        assert (outcome.links[0].remote or "").replace('"', "") == f"{{id:{number + 1}}}"
    assert len(desk.api.records("items")) == 5


async def test_a_record_that_is_there_is_not_made_again(desk: Desk) -> None:
    desk.api.configure("items", unique=True)
    number = desk.there()
    outcome = await desk.do(Act.CREATE)
    assert (outcome.state, outcome.method) == ("sent", "PATCH")
    assert [(one["id"], one["name"]) for one in desk.api.records("items").values()] == [(number, "ours")]


async def test_effects_without_an_answer_are_found(desk: Desk) -> None:
    for behaviour in ("reset-after", "close-after", "500-after-effect", "504-after-effect", "length-twice"):
        desk.api.add("items")
        desk.api.plan(behaviour, method="POST", times=1)
        outcome = await desk.do(Act.CREATE)
        assert (outcome.state, outcome.attempts, len(desk.api.records("items"))) == ("sent", 1, 1)


async def test_what_cannot_be_looked_up_is_held_and_not_made_twice(desk: Desk) -> None:
    desk.writes |= {"lookup": None, "assigned": False}
    desk.record = None
    desk.api.plan("timeout-after", method="POST", times=1)
    with pytest.raises(Refusal) as refusal:
        await desk.do(Act.CREATE)
    assert refusal.value.problem.code == "outcome-unresolved"
    with pytest.raises(Refusal):
        await desk.do(Act.CREATE, doubtful=True)
    assert len(desk.api.records("items")) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [("400", "write-refused"), ("422", "write-refused"), ("409", "write-refused"), ("412", "write-refused")],
)
async def test_what_is_wrong_with_one_record_is_a_refusal(desk: Desk, status: str, code: str) -> None:
    desk.api.plan(status, method="POST")
    with pytest.raises(Refusal) as refusal:
        await desk.do(Act.CREATE)
    assert refusal.value.problem.code == code
    assert refusal.value.problem.facts["answered"] == int(status)


@pytest.mark.parametrize("method", ["PATCH", "GET"])
async def test_one_record_that_is_forbidden_is_a_refusal(desk: Desk, method: str) -> None:
    desk.writes |= {"precondition": "compare"}
    desk.api.plan("403", method=method, path="/items/")
    with pytest.raises(Refusal) as refusal:
        await desk.do(Act.UPDATE, link=desk.link(desk.there()))
    assert refusal.value.problem.code == "write-forbidden"


@pytest.mark.parametrize("status", ["401", "404", "501"])
async def test_what_is_wrong_with_all_of_them_holds_none(desk: Desk, status: str) -> None:
    desk.api.plan(status, method="POST")
    with pytest.raises(Problem):
        await desk.do(Act.CREATE)


async def test_without_a_verb_a_change_is_refused(desk: Desk) -> None:
    desk.writes |= {"delete": None}
    with pytest.raises(Refusal) as refusal:
        await desk.do(Act.DELETE, link=desk.link(1))
    assert refusal.value.problem.code == "verb-missing"


@pytest.mark.parametrize("options", [{}, {"delete": "gone"}], ids=["404", "410"])
async def test_what_is_gone_is_deleted(desk: Desk, options: dict[str, Any]) -> None:
    desk.api.configure("items", **options)
    number = desk.there()
    desk.api.delete("items", number)
    outcome = await desk.do(Act.DELETE, link=desk.link(number))
    assert (outcome.state, outcome.links) == ("sent", [Link("public.item", write(KEY), None)])


async def test_a_delete_of_what_was_never_there_asks_nothing(desk: Desk) -> None:
    outcome = await desk.do(Act.DELETE)
    assert (outcome.state, outcome.attempts) == ("saved", 0)


async def test_put_sends_all_and_fills_in_what_did_not_change(desk: Desk) -> None:
    desk.writes |= {"update": PUT}
    number = desk.there(note="long")
    outcome = await desk.do(Act.UPDATE, link=desk.link(number), whole=False)
    assert outcome.state == "sent"
    kept = desk.api.records("items")[number]
    assert (kept["name"], kept["note"]) == ("ours", "long")


async def test_patch_sends_what_differs_and_nothing_when_nothing_does(desk: Desk) -> None:
    number = desk.there(note="x")
    base = write({"reference": Number("7"), "name": "old"})
    outcome = await desk.do(Act.UPDATE, link=desk.link(number, base=base))
    assert outcome.body == '{"name":"ours"}'
    again = await desk.do(Act.UPDATE, link=desk.link(number, base=outcome.links[0].base))
    assert (again.state, again.attempts) == ("saved", 0)


async def test_an_update_that_meets_nothing_creates_or_is_counted(desk: Desk) -> None:
    outcome = await desk.do(Act.UPDATE, link=desk.link(99))
    assert (outcome.state, outcome.method) == ("sent", "POST")
    desk.api.delete("items", 1)
    async with desk.open() as means:
        silent = Means(means.client, means.dataset, means.resource, means.looker, heals=False)
        missed = await Write(silent, Order(Act.UPDATE, KEY, VALUES, link=desk.link(98))).run()
    assert (missed.state, missed.missing) == ("saved", True)


async def test_a_new_key_is_a_new_record_where_the_key_is_ours(desk: Desk) -> None:
    desk.api.configure("items", upsert=True)
    desk.writes = {**VERBS, "create": PUT, "precondition": "none"}
    old, new = {"id": Number("3")}, {"id": Number("4")}
    await desk.do(Act.CREATE, key=old, values={**old, "name": "n", "note": "x"})
    link = Link("public.item", write(old), write(old), write({**old, "name": "n", "note": "x"}))
    outcome = await desk.do(Act.MOVE, key=new, old=old, values={**new, "name": "m"}, whole=False, link=link)
    assert {number: (one["name"], one["note"]) for number, one in desk.api.records("items").items()} == {4: ("m", "x")}
    assert {one.key: one.remote for one in outcome.links} == {write(new): write(new), write(old): None}


async def test_a_key_that_cannot_stand_in_a_path_is_refused(desk: Desk) -> None:
    desk.writes = {**VERBS, "precondition": "none"}
    with pytest.raises(Refusal) as refusal:
        await desk.do(Act.DELETE, key={"id": ".."})
    assert refusal.value.problem.code == "value-unwritable"


async def test_a_remote_that_moves_on_for_ever_is_given_up(desk: Desk) -> None:
    number = desk.there()
    desk.api.plan("412", method="PATCH")
    with pytest.raises(Refusal):
        await desk.do(Act.UPDATE, link=desk.link(number))
    desk.api.unplan()
    desk.api.plan("reset-before", method="PATCH")
    with pytest.raises(Problem) as unknown:
        await desk.do(Act.UPDATE, link=desk.link(number))
    assert unknown.value.retry is Retry.LATER


@pytest.mark.parametrize(
    ("writes", "options"),
    [
        ({"precondition": "etag"}, {"etag": "strong", "require_match": True}),
        ({"precondition": "etag"}, {"etag": "weak-lenient"}),
        ({"precondition": "etag"}, {"etag": "weak"}),
        ({"precondition": "version", "version": "version"}, {"version_field": "version"}),
        ({"precondition": "compare"}, {}),
        ({"precondition": "compare", "update": PUT}, {}),
    ],
    ids=["etag", "weak, lenient", "weak", "version", "compare", "put"],
)
async def test_ours_wins_where_somebody_else_wrote(desk: Desk, writes: dict[str, Any], options: dict[str, Any]) -> None:
    desk.api.configure("items", **options)
    desk.writes |= writes
    (link,) = (await desk.do(Act.CREATE)).links
    for name in ("theirs", "theirs again"):
        desk.api.write("items", {"name": name}, 1)
        (link,) = (await desk.do(Act.UPDATE, link=link, values={**VALUES, "name": f"over {name}"})).links
        assert desk.api.records("items")[1]["name"] == f"over {name}"
    desk.api.write("items", {"name": "theirs"}, 1)
    assert (await desk.do(Act.DELETE, link=link)).state == "sent"
    assert desk.api.records("items") == {}


async def test_a_create_by_put_replaces_nothing_that_came_meanwhile(desk: Desk) -> None:
    desk.api.configure("items", upsert=True, etag="strong")
    desk.writes = {**VERBS, "create": PUT, "precondition": "etag"}
    desk.api.write("items", {"name": "theirs", "owner": "another"})
    key = {"id": Number("1")}
    assert (await desk.do(Act.CREATE, key=key, values={**key, "name": "ours"})).method == "PATCH"
    desk.api.plan("500-after-effect", method="PUT", times=1)
    key = {"id": Number("2")}
    await desk.do(Act.CREATE, key=key, values={**key, "name": "new"})
    found = [(one["name"], one.get("owner")) for one in desk.api.records("items").values()]
    assert found == [("ours", "another"), ("new", None)]


@pytest.mark.parametrize("precondition", ["none", "compare"])
async def test_one_answer_that_a_record_is_not_there_is_not_believed(desk: Desk, precondition: str) -> None:
    desk.writes |= {"precondition": precondition}
    number = desk.there()
    desk.api.plan("404", path="/items/1$", times=1)
    assert (await desk.do(Act.UPDATE, link=desk.link(number))).state == "sent"
    assert [one["name"] for one in desk.api.records("items").values()] == ["ours"]
    desk.api.plan("404", path="/items/1$", times=1)
    assert (await desk.do(Act.DELETE, link=desk.link(number))).state == "sent"
    assert desk.api.records("items") == {}


async def test_a_record_that_has_another_key_now_is_not_made_again(desk: Desk) -> None:
    number = desk.there()
    outcome = await desk.do(Act.UPDATE, link=desk.link(number + 40))
    assert outcome.links[0].remote == write({"id": Number(str(number))})
    assert [one["name"] for one in desk.api.records("items").values()] == ["ours"]


async def test_a_record_that_has_another_key_than_ours_is_left_alone(desk: Desk) -> None:
    desk.writes |= {"precondition": "compare"}
    number = desk.there(reference=9)
    outcome = await desk.do(Act.UPDATE, link=desk.link(number))
    assert (outcome.state, outcome.method) == ("sent", "POST")
    found = [(one["reference"], one["name"]) for one in desk.api.records("items").values()]
    assert found == [(9, "theirs"), (7, "ours")]


async def test_a_key_that_the_remote_writes_otherwise_is_ours(desk: Desk) -> None:
    desk.writes |= {"precondition": "compare"}
    number = desk.there(reference="  ABC ")
    key = {"reference": "abc"}
    link = Link("public.item", write(key), write({"id": Number(str(number))}))
    assert (await desk.do(Act.UPDATE, key=key, values={**key, "name": "ours"}, link=link)).method == "PATCH"


async def test_an_update_that_is_always_answered_404_is_held_where_the_record_is_there(desk: Desk) -> None:
    number = desk.there()
    desk.api.plan("404", method="PATCH")
    with pytest.raises(Refusal) as refusal:
        await desk.do(Act.UPDATE, link=desk.link(number))
    assert (refusal.value.problem.code, len(desk.api.records("items"))) == ("write-refused", 1)


async def test_a_lookup_that_finds_only_others_holds_the_change(desk: Desk) -> None:
    # An API that does not know the parameter answers with a page of all.
    desk.writes |= {"lookup": {"parameter": "per_page", "field": "reference"}}
    desk.api.write("items", {"reference": 8, "name": "another"})
    with pytest.raises(Refusal) as refusal:
        await desk.do(Act.ENSURE)
    assert refusal.value.problem.code == "lookup-unfit"
    desk.api.plan("timeout-before", method="POST", times=1)
    with pytest.raises(Refusal) as unresolved:
        await desk.do(Act.CREATE, key={"reference": Number("6")}, values={"reference": Number("6")})
    assert unresolved.value.problem.code == "outcome-unresolved"
    assert "`lookup`" in unresolved.value.problem.remedy


async def test_a_record_without_our_key_is_not_looked_up(desk: Desk) -> None:
    desk.writes |= {"assigned": False}
    desk.record = None
    desk.api.write("items", {"reference": None, "name": "another"})
    await desk.do(Act.ENSURE, key={"name": "n"}, values={"reference": None, "name": "n"})
    assert [one["name"] for one in desk.api.records("items").values()] == ["another", "n"]


async def test_a_record_that_is_there_twice_is_told(desk: Desk) -> None:
    desk.there()
    desk.there()
    with pytest.raises(Refusal) as refusal:
        await desk.do(Act.ENSURE)
    assert refusal.value.problem.code == "record-doubled"


async def test_what_was_put_off_and_done_all_the_same_is_found(desk: Desk) -> None:
    desk.api.plan("429-after-effect", method="POST", times=1)
    outcome = await desk.do(Act.CREATE)
    assert (outcome.state, len(desk.api.records("items"))) == ("sent", 1)
    desk.api.plan("408", method="POST", times=1)
    assert (await desk.do(Act.CREATE, key={"reference": Number("8")}, values={"reference": Number("8")})).attempts == 2
    assert len(desk.api.records("items")) == 2


async def test_a_text_that_the_remote_cut_in_two_can_be_kept(desk: Desk) -> None:
    desk.writes |= {"verify": True}
    number = desk.there()
    desk.api.plan("nul-characters", method="GET")
    outcome = await desk.do(Act.UPDATE, link=desk.link(number), values={**VALUES, "name": "Name"})
    assert outcome.state == "unkept"
    assert (outcome.links[0].base or "").encode().count(b"?") == 1


async def test_an_effect_that_comes_late_is_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def behave(call: Call) -> bool:
        # This server works on although nobody waits for its answer.
        await asyncio.sleep(1.2)
        await call.effect()
        return False

    monkeypatch.setitem(BEHAVIOURS, "late-effect", Behaviour("late-effect", "the effect comes late", behave))
    monkeypatch.setattr(sending, "LATE_SECONDS", 3.0)
    desk.api.plan("late-effect", method="POST", times=1)
    outcome = await desk.do(Act.CREATE)
    assert (outcome.attempts, len(desk.api.records("items"))) == (1, 1)


@pytest.mark.parametrize("precondition", ["none", "compare", "etag"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_what_only_others_changed_stays_theirs(desk: Desk, precondition: str, method: str) -> None:
    desk.api.configure("items", etag="strong")
    desk.writes |= {"precondition": precondition, "update": {"method": method, "path": "/items/{id}"}}
    (link,) = (await desk.do(Act.CREATE, values={**VALUES, "note": "old"})).links
    desk.api.write("items", {"note": "theirs", "owner": "another"}, 1)
    await desk.do(Act.UPDATE, link=link, values={**VALUES, "name": "new", "note": "old"})
    kept = desk.api.records("items")[1]
    read = method == "PATCH" or precondition != "none"
    assert (kept["name"], kept["note"], kept.get("owner")) == (
        "new",
        *(("theirs", "another") if read else ("old", None)),
    )


@pytest.mark.parametrize(
    ("location", "key"),
    [("/items/1%2Fa", "1/a"), ("/items/1?version=2#x", "1"), ("https://api/items/7/", "7"), ("", "")],
)
def test_the_key_in_a_location_is_decoded(location: str, key: str) -> None:
    assert key_of_location(location) == key

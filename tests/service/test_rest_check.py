"""What the doctor says of a REST API before a pipeline begins."""

from collections.abc import Mapping
from typing import Any

import pytest

from nms.common.finding import Finding
from nms.common.flow import DatasetSpec
from nms.connectors.rest import connector
from tests.service.rest_stage import FOLLOWING, SINCE
from tests.service.rest_systems import system_of
from tests.services.hostile.api import HostileApi

pytestmark = pytest.mark.usefixtures("outbound")

THINGS: dict[str, Any] = {"path": "/things", "records": "data", "record": "/things/{id}", "paging": FOLLOWING["page"]}
WRITES: dict[str, Any] = {
    "create": {"method": "POST", "path": "/things"},
    "update": {"method": "PATCH", "path": "/things/{id}"},
    "delete": {"method": "DELETE", "path": "/things/{id}"},
}
PARENT = {"resource": "things", "fields": {"thing": "id"}}
PARTS = {"path": "/things/{thing}/parts", "records": "data", "parent": PARENT}
FRIENDLY = {"count": 45, "page_size": 20}


async def look(
    url: str, things: Mapping[str, Any], dataset: DatasetSpec | None = None, *, reads: bool = True, writes: bool = False
) -> list[Finding]:
    system = system_of(url, resources={"things": {**THINGS, **things}, "parts": PARTS})
    return await connector.check(system, [dataset or DatasetSpec("things", "things")], reads=reads, writes=writes)


def codes(found: list[Finding]) -> list[tuple[str, bool]]:
    assert all(one.system == "shop" and one.remedy and one.pointer for one in found)
    return [(one.code, one.fatal) for one in found]


async def test_what_is_as_declared_gives_no_finding_and_nothing_is_written(hostile_api: HostileApi) -> None:
    for paging in FOLLOWING:
        hostile_api.add("things", count=45, paging=paging, page_size=20, etag="strong")
        declared = {"paging": FOLLOWING[paging], "since": SINCE, "writes": {**WRITES, "precondition": "etag"}}
        for reads, writes in ((True, False), (False, True), (True, True)):
            assert codes(await look(hostile_api.url, declared, reads=reads, writes=writes)) == [], paging
    hostile_api.add("things", count=0)
    assert codes(await look(hostile_api.url, {"since": SINCE})) == []
    assert {one["method"] for one in hostile_api.requests()} <= {"GET", "OPTIONS"}


async def test_children_are_looked_at_below_the_first_parent_that_has_some(hostile_api: HostileApi) -> None:
    hostile_api.add("things", count=3)
    hostile_api.add("parts", count=0)
    hostile_api.write("parts", {"things_id": 2, "name": "wheel"})
    dataset = DatasetSpec("parts", "parts", fields={"id": "id", "thing": "thing", "nmae": "name"})
    [found] = await look(hostile_api.url, {}, dataset)
    assert (found.code, found.fatal) == ("field-unseen", False)
    assert "did you mean `name`" in found.sentence


# What is declared wrongly, of a remote that is otherwise than usual -> what is found first.
READING: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, bool]]] = {
    "path": ({"path": "/thing"}, {}, ("remote-missing", True)),
    "records": ({"records": "items"}, {}, ("records-missing", True)),
    "records of no objects": ({"records": "data[].id"}, {}, ("records-no-objects", True)),
    "key": ({"key": ["ident"], "record": None}, {}, ("key-missing", True)),
    "key of many": ({"key": ["group"], "record": None}, {}, ("key-repeated", True)),
    "page parameter": ({"paging": {**FOLLOWING["page"], "parameter": "offset"}}, {}, ("paging-ignored", True)),
    "total": ({"paging": {**FOLLOWING["page"], "total": "meta.total"}}, {}, ("total-untold", False)),
    "no paging": ({"paging": {"style": "none"}}, {"paging": "link"}, ("paging-undeclared", True)),
    "next": (
        {"paging": {**FOLLOWING["cursor"], "next": "nxt", "size": 20}}, {"paging": "cursor"}, ("next-untold", False)
    ),
    "since parameter": ({"since": {**SINCE, "parameter": "deleted"}}, {}, ("since-ignored", False)),
    "since form": ({"since": {**SINCE, "parameter": "offset"}}, {}, ("since-refused", False)),
    "since field": ({"since": {**SINCE, "field": "name"}}, {}, ("since-unreadable", True)),
    "no since field": ({"since": {**SINCE, "field": "changed_at"}}, {}, ("field-unseen", False)),
    "record": ({"record": "/thing/{id}"}, {}, ("remote-missing", True)),
    "record at": ({"record_at": "data"}, {}, ("record-misplaced", True)),
    "record of another": ({"record": "/be/wrong-id/things/{id}"}, {}, ("record-another", True)),
}  # fmt: skip


async def test_what_is_declared_otherwise_than_it_is_is_named(hostile_api: HostileApi) -> None:
    for case, (declared, options, expected) in READING.items():
        hostile_api.add("things", **{**FRIENDLY, **options})
        found = await look(hostile_api.url, declared)
        assert codes(found)[:1] == [expected], (case, found)
        assert found[0].pointer == "/datasets/0/source"


WRITING: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, bool]]] = {
    "no etag": ({"precondition": "etag"}, {}, ("etag-missing", True)),
    "weak etag": ({"precondition": "etag"}, {"etag": "weak"}, ("etag-weak", False)),
    "version": ({"precondition": "version", "version": "rev"}, {}, ("version-missing", True)),
    "lookup": ({"lookup": {"parameter": "fields", "field": "reference"}}, {}, ("lookup-ignored", True)),
}


async def test_what_writing_would_rely_on_is_looked_at(hostile_api: HostileApi) -> None:
    for case, (writes, options, expected) in WRITING.items():
        hostile_api.add("things", **{**FRIENDLY, **options})
        found = await look(hostile_api.url, {"writes": {**WRITES, **writes}}, reads=False, writes=True)
        assert codes(found) == [expected], (case, found)
        assert found[0].pointer == "/datasets/0/target"
    assert codes(await look(hostile_api.url, {}, reads=False, writes=True)) == [("writes-missing", True)]
    looked_up = {**WRITES, "lookup": {"parameter": "reference", "field": "reference"}}
    assert codes(await look(hostile_api.url, {"writes": looked_up}, reads=False, writes=True)) == []


async def test_a_remote_that_is_away_or_lets_nobody_in_is_told_once(
    hostile_api: HostileApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile_api.add("things", count=1, login="header")
    monkeypatch.setenv("SHOP_KEY", "wrong-s3cret")
    key = {"type": "header", "header": "X-API-Key", "prefix": "", "key": "env://SHOP_KEY"}
    datasets = [DatasetSpec(name, name) for name in ("things", "parts")]
    for url, login, code in (
        ("http://127.0.0.1:9", {"type": "none"}, "remote-unreachable"),
        (hostile_api.url, key, "remote-login-refused"),
        (hostile_api.url, {**key, "key": "env://SHOP_KEY_UNSET"}, "secret-missing"),
    ):
        system = system_of(url, resources={"things": THINGS, "parts": PARTS}, login=login)
        found = await connector.check(system, datasets, reads=True, writes=False)
        assert [(one.code, one.pointer) for one in found] == [(code, "/source")], found
        assert "s3cret" not in str(found)


async def test_a_resource_that_is_not_declared_is_named_with_the_nearest(hostile_api: HostileApi) -> None:
    [found] = await look(hostile_api.url, {}, DatasetSpec("thing", "thing"))
    assert found.code == "resource-missing"
    assert "did you mean `things`" in found.sentence

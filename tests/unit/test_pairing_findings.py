"""What the facts of two servers mean, where no server here can show it: old versions, standbys, circles, encodings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nms.connectors.postgres.config import PipelineSpec
from nms.connectors.postgres.facts import Bond, Facts, Server, Side
from nms.connectors.postgres.findings import find_circle, judge_servers, judge_source, judge_target
from nms.connectors.postgres.libpq import Access

SERVER = Server(
    version=180000, wal_level="logical", max_slots=10, max_senders=10, slots=0, standby=False, database="billing",
    login="sync", encoding="UTF8", can_create=True, can_replicate=True, superuser=False, system_identifier="1",
)  # fmt: skip


def facts(source: dict[str, Any] | None = None, target: dict[str, Any] | None = None, **parts: Any) -> Facts:
    access = Access("billing", "postgresql://sync@a/billing"), Access("crm", "postgresql://sync@b/crm")
    spec = PipelineSpec(
        name="p", slot="nms_p", source=access[0], target=access[1], datasets=(), generation=1, copy=True, heals=True,
        batch_changes=100, wal_budget=4 << 30, spool=Path("spool"), spool_budget=1 << 30,
    )  # fmt: skip
    left = Side("billing", replace(SERVER, **(source or {})))
    right = Side("crm", replace(SERVER, database="crm", system_identifier="2", **(target or {})))
    return Facts(spec, left, right, **{"same_database": False, **parts})


def test_a_server_that_is_too_old_or_a_standby_is_refused_at_once() -> None:
    assert list(judge_servers(facts())) == []
    (old,) = judge_servers(facts(source={"version": 130012}))
    assert (old.code, old.pointer, old.fatal) == ("server-too-old", "/source", True)
    (standby,) = judge_servers(facts(target={"standby": True}))
    assert (standby.code, standby.pointer) == ("server-is-standby", "/target")
    (same,) = judge_servers(facts(same_database=True))
    assert (same.code, same.remedy != "") == ("same-database", True)


def test_a_source_needs_logical_log_the_right_to_replicate_and_room() -> None:
    assert list(judge_source(facts())) == []
    found = judge_source(facts(source={"wal_level": "replica", "can_replicate": False, "slots": 10, "senders": 10}))
    codes = {finding.code: finding for finding in found}
    assert set(codes) == {"wal-level", "replication-right", "slots-full", "senders-full"}
    assert codes["replication-right"].sql == 'alter role "sync" replication;'
    assert all(finding.fatal and finding.sql and finding.run_as == "a superuser" for finding in codes.values())


def test_a_pipeline_at_work_is_not_ended_by_a_server_that_is_full_meanwhile() -> None:
    begun = {"position": {"generation": 1, "lsn": "0/1"}}
    mine = {"own": True, "active": False, "active_pid": None}
    found = list(judge_source(facts(source={"slots": 10, "senders": 10}, slot=mine, **begun)))
    assert [(finding.code, finding.fatal) for finding in found] == [("senders-full", False)]


@pytest.mark.parametrize(
    ("left", "right", "told"),
    [
        ("UTF8", "UTF8", False), ("LATIN1", "UTF8", False), ("UTF8", "LATIN1", True), ("SQL_ASCII", "UTF8", True),
        ("SQL_ASCII", "SQL_ASCII", False), ("LATIN1", "WIN1252", True),
    ],
)  # fmt: skip
def test_encodings_that_may_refuse_a_text_are_noted(left: str, right: str, told: bool) -> None:
    found = [
        (one.code, one.fatal) for one in judge_target(facts(source={"encoding": left}, target={"encoding": right}))
    ]
    assert found == ([("encoding-differs", False)] if told else [])


def bonds(*pairs: tuple[int, int]) -> list[Bond]:
    return [Bond(child, parent, f"{child}{parent}", deferred=False) for child, parent in pairs]


def test_a_circle_among_tables_is_found_wherever_it_hangs() -> None:
    assert find_circle(bonds((1, 2), (2, 3), (1, 3), (4, 4))) == []
    assert [one.name for one in find_circle(bonds((1, 2), (2, 1)))] == ["12", "21"]
    assert {one.name for one in find_circle(bonds((1, 2), (5, 6), (2, 3), (3, 4), (4, 2)))} == {"23", "34", "42"}

"""Our own writes are known again at the remote, and nobody else's are taken for ours."""

import pytest

from nms.connectors.postgres.twoway.side import UnderWay
from nms.sync.echo import own_write
from nms.sync.merge import Common, Rules, State, merge

BEFORE = {"id": "1", "name": "before", "note": "n"}
BASE = Common(BEFORE, BEFORE, 1)
FIRST = UnderWay("a", {"name": "First"})


def record(**values: str) -> dict[str, str]:
    return {**BEFORE, **values}


@pytest.mark.parametrize("policy", ["merge", "source", "target", "manual"])
@pytest.mark.parametrize("there", ["First", "first"], ids=["as sent", "rewritten"])
def test_an_edit_behind_a_write_without_an_answer_is_no_conflict(policy: str, there: str) -> None:
    local, remote = record(name="second"), record(name=there)
    own = own_write(BASE, (FIRST,), local, remote)
    decision = merge(own, local, remote, Rules(policy))  # type: ignore[arg-type]
    assert (decision.local, decision.remote, decision.conflict) == (local, local, None)


def test_what_the_remote_made_of_a_write_is_taken_over_where_the_row_still_is_what_was_sent() -> None:
    local, remote = record(name="First"), record(name="first")
    decision = merge(own_write(BASE, (FIRST,), local, remote), local, remote, Rules())
    assert (decision.local, decision.conflict) == (remote, None)


def test_what_others_wrote_beside_and_behind_our_write_is_theirs() -> None:
    local, remote = record(name="second"), record(name="First", note="theirs")
    decision = merge(own_write(BASE, (FIRST,), local, remote), local, remote, Rules())
    assert decision.local == decision.remote == record(name="second", note="theirs")


@pytest.mark.parametrize("remote", [record(), record(name="theirs"), record(note="theirs"), None])
def test_a_write_that_is_not_there_is_not_taken_for_one(remote: State) -> None:
    assert own_write(BASE, (FIRST,), record(name="First"), remote) is None


def test_deletions_and_new_records_are_known_again() -> None:
    gone, made = UnderWay("b", None), UnderWay("c", BEFORE)
    assert own_write(BASE, (gone,), None, None) == Common(None, None, 1)
    assert own_write(BASE, (gone,), None, record()) is None
    assert own_write(None, (made,), record(name="second"), record()) == Common(BEFORE, BEFORE, 0)
    assert own_write(None, (made,), record(), record(name="theirs", note="theirs")) is None


def test_of_several_writes_the_newest_that_is_there_counts() -> None:
    second = UnderWay("d", {"name": "second"})
    own = own_write(BASE, (FIRST, second), record(name="second"), record(name="First"))
    assert own is not None
    assert own.local == record(name="First")


@pytest.mark.parametrize("policy", ["merge", "source", "target", "manual"])
@pytest.mark.parametrize("name", ["ours", "BEFORE"], ids=["another", "another spelling"])
def test_a_field_that_others_set_alike_takes_none_of_the_write_for_done(policy: str, name: str) -> None:
    sent = UnderWay("e", {"name": name, "note": "closed"})
    local, remote = record(name=name, note="closed"), record(note="closed")
    decision = merge(own_write(BASE, (sent,), local, remote), local, remote, Rules(policy))  # type: ignore[arg-type]
    assert (decision.local, decision.remote, decision.conflict) == (local, local, None)


def test_what_a_new_record_of_ours_lacks_there_is_told_again() -> None:
    local, remote = record(), {**BEFORE, "note": None}
    decision = merge(own_write(None, (UnderWay("f", BEFORE),), local, remote), local, remote, Rules())
    assert (decision.local, decision.remote) == (local, local)

"""Records that both sides changed: what either should have is the same wherever it is asked, and it ends."""

from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nms.sync.merge import Common, Kind, Policy, Rules, State, merge

NAMES = ("a", "b", "n")
RECORD = st.fixed_dictionaries(dict.fromkeys(NAMES, st.sampled_from([None, "1", "2", "10"])))
STATE = st.none() | RECORD
RULES = st.builds(
    Rules,
    st.sampled_from(get_args(Policy)),
    st.just("n"),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["source", "target"])),
)
ALIKE = st.builds(lambda state: Common(state, state, 1), RECORD)
MERGE = Rules("merge")


@given(st.none() | ALIKE, STATE, STATE, RULES)
def test_both_sides_become_equal_or_wait_for_somebody(
    base: Common | None, local: State, remote: State, rules: Rules
) -> None:
    decision = merge(base, local, remote, rules)
    assert decision.waits or decision.local == decision.remote


@given(st.none() | ALIKE, STATE, STATE, RULES)
def test_what_was_decided_is_an_echo_afterwards(base: Common | None, local: State, remote: State, rules: Rules) -> None:
    first = merge(base, local, remote, rules)
    assume(not first.waits)
    again = merge(Common(first.local, first.remote, 2), first.local, first.remote, rules)
    assert (again.local, again.remote, again.conflict) == (first.local, first.remote, None)


@given(ALIKE, STATE, RULES)
def test_a_change_of_one_side_is_no_conflict(base: Common, state: State, rules: Rules) -> None:
    for decision in (merge(base, state, base.remote, rules), merge(base, base.local, state, rules)):
        assert (decision.local, decision.remote, decision.conflict) == (state, state, None)


@given(ALIKE, STATE, STATE, RULES)
def test_one_decision_after_the_other_side_was_told_changes_nothing_more(
    base: Common, local: State, remote: State, rules: Rules
) -> None:
    decision = merge(base, local, remote, rules)
    assume(not decision.waits)
    # A crash behind the write of the remote, before the database has it: asked again, nothing else comes out.
    assert merge(base, local, decision.remote, rules).remote == decision.remote


@given(ALIKE, RECORD, RECORD)
def test_merging_loses_a_field_only_where_both_changed_it(base: Common, local: State, remote: State) -> None:
    decision = merge(base, local, remote, MERGE)
    fought = decision.conflict.fields if decision.conflict else ()
    assert local is not None
    assert remote is not None
    assert decision.local is not None
    assert base.local is not None
    for name in NAMES:
        assert (name in fought) == (len({base.local[name], local[name], remote[name]}) == 3)
        changed = [side[name] for side in (remote, local) if side[name] != base.local[name]]
        assert decision.local[name] == (changed[0] if changed else base.local[name])


BASE = Common({"a": "0", "n": "0"}, {"a": "0", "n": "0"}, 1)


@pytest.mark.parametrize(
    ("rules", "wins"),
    [
        (Rules("source"), "remote"),
        (Rules("target"), "local"),
        (Rules("newest", "n"), "local"),
        (Rules("merge"), "remote"),
        (Rules("merge", fields={"a": "target"}), "local"),
    ],
)
def test_each_policy_has_its_winner(rules: Rules, wins: str) -> None:
    decision = merge(BASE, {"a": "local", "n": "10"}, {"a": "remote", "n": "9"}, rules)
    assert decision.local is not None
    assert decision.local["a"] == wins
    assert decision.conflict is not None
    assert "a" in decision.conflict.fields


@pytest.mark.parametrize(
    ("policy", "edit_wins"), [("source", False), ("target", True), ("newest", True), ("merge", True)]
)
def test_an_edit_wins_over_a_deletion_unless_a_side_does(policy: Policy, edit_wins: bool) -> None:
    edit = {"a": "local", "n": "1"}
    decision = merge(BASE, edit, None, Rules(policy, "n"))
    assert decision.local == decision.remote == (edit if edit_wins else None)
    assert decision.conflict is not None
    assert decision.conflict.kind is Kind.DELETED_AT_SOURCE


def test_what_waits_is_left_as_it_is_and_equal_edits_are_no_conflict() -> None:
    local, remote = {"a": "local", "n": "1"}, {"a": "remote", "n": "1"}
    decision = merge(BASE, local, remote, Rules("manual"))
    assert decision.waits
    assert (decision.local, decision.remote) == (local, remote)
    assert merge(BASE, local, dict(local), Rules("manual")).conflict is None
    assert merge(BASE, None, None, Rules("manual")).conflict is None


def test_a_remote_that_forgot_a_write_is_not_asked_again() -> None:
    ours = {"a": "new", "n": "0"}
    kept = Common(ours, {"a": "0", "n": "0"}, 2)
    decision = merge(kept, ours, {"a": "0", "n": "0"}, MERGE)
    assert (decision.local, decision.remote, decision.conflict) == (ours, {"a": "0", "n": "0"}, None)


@pytest.mark.parametrize("policy", get_args(Policy))
@pytest.mark.parametrize("base", [None, Common({"a": "1"}, {"a": "1"}, 1)])
def test_what_only_the_table_has_is_told_to_a_remote_that_never_had_it(base: Common | None, policy: Policy) -> None:
    decision = merge(base, {"a": "2", "b": "3", "n": None}, {"a": "2"}, Rules(policy, "n"))
    assert not decision.waits
    assert decision.remote == {"a": "2", "b": "3"}
    assert decision.local == {"a": "2", "b": "3", "n": None}

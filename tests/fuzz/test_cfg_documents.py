"""Whatever documents say: an export applied again changes nothing, and what is told of two revisions is all of it."""

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from nms.cfg.difference import compare_bodies
from nms.cfg.documents import apply_changeset
from nms.cfg.models import Changeset, Rollback, StoredDocument
from nms.cfg.plan import draw_plan
from nms.cfg.repository import DocumentRepository
from nms.cfg.revisions import roll_back
from nms.cfg.standing import Standing
from nms.cfg.text import read_drafts, write_text
from nms.common.document import normal_form, parse_document, short_form
from nms.common.settings import Settings
from tests.fuzz.differences import Bodies, carry_out, leave_out_each, with_new_ones_last
from tests.fuzz.documents import History
from tests.fuzz.extent import Extent
from tests.service.stage import Stage

PIPELINE = {"kind": "pipeline", "name": "a", "source": "a", "target": "b"}


@pytest.mark.fuzz
def test_any_two_revisions_differ_by_what_is_told_and_exports_by_nothing(extent: Extent) -> None:
    count, taken, kinds = extent.choose(4, 1_000), 0, set[str]()
    with extent.telling(f"{count} histories of four revisions, each exported, each compared with each"):
        for seed in range(count):
            history = History.make(seed)
            taken += history.taken
            for before, after in permutations(history.revisions, 2):
                assert_same(carry_out(before, compare_bodies(before, after)), after, before)
            for bodies in history.revisions:
                kinds |= {kind for kind, _ in bodies}
                assert_exported(bodies)
    assert kinds == {"system", "pipeline", "endpoint", "entity"}
    assert taken > 8 * count, "too few of the changes are documents"


def assert_same(made: Bodies, after: Bodies, before: Bodies) -> None:
    assert made.keys() == after.keys()
    for identity, body in after.items():
        was = before.get(identity)
        assert with_new_ones_last(made[identity], was) == with_new_ones_last(body, was)


def assert_exported(bodies: Bodies) -> None:
    stored = [StoredDocument(*identity, 1, body) for identity, body in bodies.items()]
    text = write_text(short_form(parse_document(dict(body))) for body in bodies.values())
    assert draw_plan(Standing.of(1, stored), Changeset(read_drafts(text), prune=True)).differences == ()


def test_a_difference_that_is_not_told_is_noticed() -> None:
    before, after = History.make(1, revisions=2, changes=40).revisions[1:]
    fewer = list(leave_out_each(compare_bodies(before, after)))
    assert len(fewer) > 5
    for differences in fewer:
        with pytest.raises(AssertionError):
            assert_same(carry_out(before, differences), after, before)


@pytest.mark.parametrize(
    ("before", "after"), [({"a": 1}, {"a": 1, "b": None}), ({"a": 1, "b": None}, {"a": 1, "b": 2})]
)
def test_a_condition_that_asks_for_null_is_told_as_such(before: dict[str, Any], after: dict[str, Any]) -> None:
    bodies = [{**PIPELINE, "datasets": [{"source": "public.a", "where": each}]} for each in (before, after)]
    stored = [{("pipeline", "a"): normal_form(parse_document(body))} for body in bodies]
    [found] = compare_bodies(*stored)
    assert [each.to_dict() for each in found.fields] == [
        {"path": "datasets[public.a].where", "before": before, "after": after}
    ]


async def test_what_was_exported_is_in_force_again_and_any_revision_comes_back(
    settings: Settings, tmp_path: Path
) -> None:
    history, stage, repository = History.make(2), Stage(settings, "", ""), await DocumentRepository.open()
    for number in range(1, len(history.revisions)):
        assert (await apply_changeset(repository, history.changeset(number))).revision == number
        folder = tmp_path / str(number)
        exported = await stage.nms("export", "-o", folder)
        assert exported.exit_code == 0, exported.output
        plan = await stage.answer("plan", "--prune", "-f", folder)
        assert (plan["revision"], plan["differences"]) == (number, [])
    for number in (1, 3, 2, 1):
        await roll_back(repository, Rollback(number))
        found = {(each.kind, each.name): each.body for each in await repository.list_documents()}
        assert found == history.revisions[number]
        again = await stage.answer("apply", "--prune", "-f", tmp_path / str(number))
        assert again["differences"] == []

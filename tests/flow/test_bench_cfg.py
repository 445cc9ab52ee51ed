"""The benchmark of cfg runs: few writers and watchers; how many it bears, `make bench-cfg` says."""

import json
from pathlib import Path

import pytest

from bench.cfg.__main__ import main
from bench.cfg.place import read_history
from bench.cfg.writers import NAME, document
from nms.cfg.repository import DocumentRepository
from nms.common.settings import Settings


def test_no_update_is_lost_no_revision_is_missing_and_every_watcher_hears_all(tmp_path: Path) -> None:
    assert main(["--short", "--results", str(tmp_path)]) == 0
    (stored,) = tmp_path.glob("cfg-*.json")
    figures = {one["name"]: one for one in json.loads(stored.read_text())["figures"]}
    assert {name: one["bar"] for name, one in figures.items() if one["bar"] is not None} == {
        "20 watchers x 41 changes: watchers that missed one": 0,
        "20 watchers: p99 from stored to heard": 1000,
        "4 writers x 10 change sets: updates lost": 0,
        "41 revisions: gaps in their numbers": 0,
    }
    assert all(one["median"] == 0 for one in figures.values() if one["bar"] == 0)


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ((0, 1, 2, 3), {"revisions": 4, "gaps": 0, "lost": 0}),
        ((0, 1, 2, 2), {"revisions": 4, "gaps": 0, "lost": 1}),
        ((0, 1, 1, 2), {"revisions": 4, "gaps": 0, "lost": 1}),
        ((0, 1, None, 2), {"revisions": 4, "gaps": 0, "lost": 2}),
        ((1, 2), {"revisions": 2, "gaps": 0, "lost": 1}),
    ],
)
async def test_a_planted_lost_update_is_found(
    settings: Settings, numbers: tuple[int | None, ...], found: dict[str, int]
) -> None:
    repository = await DocumentRepository.open()
    for number in numbers:
        await repository.insert_revision("a", "", {} if number is None else {("system", NAME): document(number)})
    assert await read_history(repository.connection, 0) == found


@pytest.mark.parametrize(("numbers", "gaps"), [((1, 2, 4), 1), ((3, 4), 2), ((1, 2), 0), ((), 0)])
async def test_a_planted_gap_is_found(settings: Settings, numbers: tuple[int, ...], gaps: int) -> None:
    repository = await DocumentRepository.open()
    for number in numbers:
        await repository.connection.execute("insert into cfg.revision (id, author) values ($1, 'a')", number)
    assert (await read_history(repository.connection, 0))["gaps"] == gaps

"""The house is built as drawn: nothing stands where nobody would look for it."""

import pytest

from tests.house.layout import strangers_in_package, strangers_in_rooms, strangers_on_top
from tests.house.tree import File, files, paths, refuse


def test_nothing_unnamed_stands_at_the_top() -> None:
    refuse(strangers_on_top(paths()))


def test_the_package_holds_floors_and_rooms() -> None:
    refuse(strangers_in_package(paths()))


def test_a_room_holds_its_frame_and_words() -> None:
    refuse(strangers_in_rooms(paths()))


def test_every_folder_of_the_package_is_a_package() -> None:
    refuse(without_init(files("nms")))


def without_init(package: tuple[File, ...]) -> list[str]:
    """Folders with modules and no `__init__.py`: a namespace package hides from linters and from the wheel."""
    known = {file.path for file in package}
    folders = {file.path.rpartition("/")[0] for file in package}
    return [f"{folder}: no __init__.py" for folder in sorted(folders) if f"{folder}/__init__.py" not in known]


def test_a_stranger_at_the_top_is_seen() -> None:
    assert strangers_on_top(["setup.cfg", "nms/__init__.py"]) == ["setup.cfg: nothing else stands at the top"]


def test_a_stranger_in_the_package_is_seen() -> None:
    assert strangers_in_package(["nms/lounge/main.py", "nms/sync/main.py", "nms/tool.py"])
    assert not strangers_in_package(["nms/sync/main.py", "nms/__main__.py"])


@pytest.mark.parametrize(
    "path",
    [
        "nms/sync/thing.py",
        "nms/sync/api/thing.py",
        "nms/sync/api/main.py",
        "nms/sync/engine/part.py",
        "nms/sync/queries/run.py",
        "nms/sync/run.sql",
        "nms/auth/compact.py",
        "nms/inbox/templates/page.html",
    ],
)
def test_a_stranger_in_a_room_is_seen(path: str) -> None:
    assert strangers_in_rooms([path])


@pytest.mark.parametrize(
    "path",
    [
        "nms/sync/main.py",
        "nms/sync/capture.py",
        "nms/sync/api/pipelines.py",
        "nms/cfg/queries/document.sql",
        "nms/console/templates/page.html",
        "nms/common/anything.py",
    ],
)
def test_frame_and_words_are_fine(path: str) -> None:
    assert not strangers_in_rooms([path])


def test_a_folder_without_init_is_seen() -> None:
    assert without_init((File("nms/sync/run.py", ""),))

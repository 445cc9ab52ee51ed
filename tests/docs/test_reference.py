"""The reference is what the program says of itself."""

import re
from collections import Counter

import pytest
from pydantic_settings import BaseSettings

from nms.common.problem import Problem
from tests.docs.generate import REFERENCE, below, load_everything, pages
from tests.house.tree import refuse


@pytest.fixture(scope="module")
def kinds() -> list[type[Problem]]:
    """Every class of problem."""
    load_everything()
    return list(below(Problem))


def test_the_reference_is_up_to_date() -> None:
    written = pages()
    refuse(
        f"docs/reference/{name} is out of date: run `make docs`"
        for name, text in written.items()
        if not (REFERENCE / name).is_file() or (REFERENCE / name).read_text() != text
    )
    assert {file.name for file in REFERENCE.iterdir()} == set(written)


def test_a_problem_has_one_code_of_its_own(kinds: list[type[Problem]]) -> None:
    refuse(
        f"{code}: the code of {count} problems" for code, count in Counter(k.code for k in kinds).items() if count > 1
    )
    refuse(f"{kind.__name__}: {kind.code}" for kind in kinds if not re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.code))


def test_a_problem_has_a_status_a_sentence_and_a_remedy(kinds: list[type[Problem]]) -> None:
    refuse(
        f"{kind.__name__}: status {kind.status}, meaning {kind.__doc__!r}, remedy {kind.remedy!r}"
        for kind in kinds
        if not (400 <= kind.status <= 599 and kind.__doc__ and kind.remedy.endswith("."))
    )


def test_a_setting_has_a_meaning() -> None:
    load_everything()
    refuse(
        f"{kind.__name__}.{name}: no description"
        for kind in below(BaseSettings)
        if kind.__module__.startswith("nms.")
        for name, field in kind.model_fields.items()
        if not field.description
    )

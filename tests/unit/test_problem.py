"""Problems: one form, stable members, facts that cannot hide them."""

import pytest

from nms.common.problem import Malformed, Pointer, Problem, Retry, Unavailable
from nms.common.rendering import render_problem


class Late(Problem):
    """For these tests."""

    status, code, retry, title = 409, "late", Retry.LATER, "Too late"
    remedy = "Come earlier."


def test_a_problem_says_what_rfc_9457_and_the_operator_ask_for() -> None:
    assert Late("The train has left.", platform=7).to_dict() == {
        "type": "urn:nms:problem:late",
        "title": "Too late",
        "status": 409,
        "detail": "The train has left.",
        "code": "late",
        "retry": "later",
        "remedy": "Come earlier.",
        "platform": 7,
    }


def test_a_fact_never_replaces_a_standard_member() -> None:
    body = Late("The run has ended.", status="succeeded", code=7).to_dict()
    assert (body["status"], body["code"]) == (409, "late")


def test_facts_are_attributes_and_unknown_ones_are_not() -> None:
    assert Late("The train has left.", platform=7).platform == 7
    with pytest.raises(AttributeError):
        _ = Late("The train has left.").platform


def test_one_raise_may_have_a_better_remedy() -> None:
    assert Late("Gone.", remedy="Take the bus.").to_dict()["remedy"] == "Take the bus."
    assert Late("Gone.").to_dict()["remedy"] == "Come earlier."


def test_a_pointer_names_its_place_unless_it_is_the_body() -> None:
    problem = Malformed(
        "Two faults.", pointers=[Pointer("/a~1b/0", "missing"), Pointer("/limit", "too large", "query")]
    )
    assert problem.to_dict()["errors"] == [
        {"pointer": "/a~1b/0", "detail": "missing"},
        {"pointer": "/limit", "in": "query", "detail": "too large"},
    ]


def test_who_comes_too_early_is_told_when_to_come_again() -> None:
    assert render_problem(Unavailable("Later.")).headers["retry-after"] == "1"
    assert render_problem(Unavailable("Later."), {"Retry-After": "5"}).headers["retry-after"] == "5"
    assert render_problem(Unavailable("Later.", retry_after=7)).headers["retry-after"] == "7"
    assert "retry-after" not in render_problem(Malformed("Never.")).headers

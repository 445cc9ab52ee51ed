"""The OpenAPI documents of auth and the inbox are part of the product: words, examples and every answer."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from nms.auth import problems
from nms.auth.main import create_app
from nms.common.problem import Problem
from nms.common.settings import Settings, read_settings
from nms.inbox import problems as inbox_problems
from nms.inbox.main import create_app as create_inbox
from nms.inbox.reference import describe
from tests.docs.openapi import gaps_of, lacking_answers, lacking_examples, lacking_words
from tests.house.tree import refuse

ELSEWHERE: dict[str, str] = {}
"""Problems of auth that no route answers with, and where they are told."""

OF_THE_INBOX = {
    "secret-unfit": "`nms endpoints`",
    "scheme-forbidden": "`nms endpoints`",
    "caller-gone": "nobody hears it",
}
"""Problems of the inbox that no route answers with, and where they are told."""


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return create_app(read_settings(Settings, environment="test", data_dir=tmp_path_factory.mktemp("data"))).openapi()


def test_every_route_says_what_it_takes_and_answers(document: dict[str, Any]) -> None:
    refuse(gaps_of(document))


def test_every_problem_of_auth_is_an_answer_of_some_route(document: dict[str, Any]) -> None:
    codes = {kind.code for kind in vars(problems).values() if isinstance(kind, type) and issubclass(kind, Problem)}
    shown = {
        code
        for operations in document["paths"].values()
        for operation in operations.values()
        for status, answer in operation["responses"].items()
        if status[0] in "45"
        for code in answer["content"].get("application/problem+json", {}).get("examples", ())
    }
    silent = {"internal", problems.GrantProblem.code, *ELSEWHERE}
    refuse(f"{code}: no route of auth documents it" for code in codes - shown - silent)


def test_every_problem_of_the_inbox_is_an_answer_of_some_route(tmp_path: Path) -> None:
    document = create_inbox(read_settings(Settings, environment="test", data_dir=tmp_path)).openapi()
    codes = {
        kind.code for kind in vars(inbox_problems).values() if isinstance(kind, type) and issubclass(kind, Problem)
    }
    told = {
        code
        for operations in document["paths"].values()
        for operation in operations.values()
        for answer in operation["responses"].values()
        for code in answer.get("content", {}).get("application/problem+json", {}).get("examples", ())
    }
    refuse(f"{code}: no route of the inbox documents it" for code in codes - told - {"internal", *OF_THE_INBOX})


@pytest.mark.parametrize("role", ["auth", "cfg", "sync", "inbox", "warehouse"])
def test_no_header_is_null_and_times_that_are_bounded_say_so(role: str, tmp_path: Path) -> None:
    create = import_module(f"nms.{role}.main").create_app
    document = create(read_settings(Settings, environment="test", data_dir=tmp_path)).openapi()
    parameters = {
        f"{method} {path}: {one['name']}": one
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for one in operation.get("parameters", ())
    }
    nulls = {name for name, one in parameters.items() if one["in"] == "header" and "null" in str(one["schema"])}
    refuse(f"{name}: who reads this document would send the word null" for name in nulls)
    times = {name: one for name, one in parameters.items() if "/audit: " in name and "date-time" in str(one["schema"])}
    refuse(
        f"{name}: does not tell its years" for name, one in times.items() if "2000 to 2299" not in one["description"]
    )


def test_what_the_receiver_answers_is_described_though_no_route_does(tmp_path: Path) -> None:
    document = create_inbox(read_settings(Settings, environment="test", data_dir=tmp_path)).openapi()
    operations = [one for path in describe() for one in document["paths"][path].values()]
    assert len({one["operationId"] for one in operations}) == len(operations) == 16
    refuse(gap for one in operations for gap in (*lacking_words(one), *lacking_examples(one, document)))
    refuse(gap for one in operations for gap in lacking_answers(one) if not gap.startswith("no answer"))


def test_gaps_of_a_planted_document_are_found() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "examples": ["x"]}},
    }
    operation = {
        "summary": "Read", "description": "Reads.", "security": [{"bearer": []}],
        "parameters": [{"name": "id", "in": "path"}],
        "responses": {
            "200": {"content": {"application/json": {"schema": schema}}},
            "201": {"content": {"application/json": {"schema": schema["properties"]["age"]}}},
            "401": {"description": "Unknown", "content": {"application/problem+json": {}}},
        },
    }  # fmt: skip
    assert list(gaps_of({"components": {}, "paths": {"/planted": {"get": operation}}})) == [
        f"GET /planted: {gap}"
        for gap in (
            "no tags",
            "no description of the parameter id",
            *(f"no answer {status}" for status in (403, 404, 422, 503)),
            "answer 401 without words or example",
            "no example of answer 200: /name",
            "example of answer 201: $: 'x' is not of type 'integer'",
        )
    ]

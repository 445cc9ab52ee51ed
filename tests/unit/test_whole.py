"""A whole number in a body is what JSON Schema calls an integer."""

from typing import Annotated

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from nms.common.whole import WHOLE

NUMBER: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=-9, lt=9), WHOLE])


@pytest.mark.parametrize("text", ["3", "3.0", "3e0"])
def test_every_spelling_of_a_whole_number_is_taken(text: str) -> None:
    assert NUMBER.validate_json(text) == 3


@pytest.mark.parametrize("text", ["true", "false", '"3"', "3.5", "null", "[3]"])
def test_nothing_else_is(text: str) -> None:
    with pytest.raises(ValidationError):
        NUMBER.validate_json(text)


def test_it_is_an_integer_in_the_document() -> None:
    assert NUMBER.json_schema() == {"type": "integer", "minimum": -9, "exclusiveMaximum": 9}

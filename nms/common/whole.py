"""Whole numbers in bodies, as JSON Schema understands `integer`: 3 and 3.0, and no text or truth value."""

from typing import Any

from pydantic import BeforeValidator


def _refuse_others(value: Any) -> Any:
    if isinstance(value, (bool, str, bytes)):
        raise ValueError("this is not a whole number")
    return value


WHOLE = BeforeValidator(_refuse_others)
"""For `Annotated[int, Field(ge=1), WHOLE]`: pydantic's int takes "3" and true as well, its strict one refuses 3.0.

It stands last, since the OpenAPI document tells only bounds that stand before it.
"""

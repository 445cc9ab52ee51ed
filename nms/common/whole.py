"""Whole numbers in bodies, as JSON Schema understands `integer`: 3 and 3.0, and no text or truth value."""

from typing import Annotated, Any

from pydantic import BeforeValidator


def _refuse_others(value: Any) -> Any:
    if isinstance(value, (bool, str, bytes)):
        raise ValueError("this is not a whole number")
    return value


Whole = Annotated[int, BeforeValidator(_refuse_others)]
"""pydantic's int takes "3" and true as well, its strict one refuses 3.0."""

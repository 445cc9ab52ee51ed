"""JMESPath expressions in documents (jmespath.org, specification): checked before anything is asked by them."""

import warnings
from collections.abc import Iterator
from typing import Any, Final, cast

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions

from nms.common.document.values import refusal

LENGTH: Final = 1_000
DEPTH: Final = 100
"""Expressions are read and evaluated by recursion, which must not run out in the middle of a page."""
_FUNCTIONS: Final[dict[str, Any]] = Functions.FUNCTION_TABLE


def check_expression(text: str) -> str:
    """An expression that parses, is not too deep and calls functions that there are, with as many values as they take.

    Texts between backticks that are no JSON, which JMESPath gave up, are refused.
    """
    if len(text) > LENGTH:
        raise refusal(f"an expression has at most {LENGTH} characters")
    for node, depth in _walk(_parse(text)):
        if depth > DEPTH:
            raise refusal(f"an expression is nested at most {DEPTH} levels deep")
        if node.get("type") == "function_expression":
            _check_call(node)
        if node.get("type") == "slice" and node["children"][2:] == [0]:
            raise refusal("a slice has a step, and 0 is none")
    return text


def _parse(text: str) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PendingDeprecationWarning)
            return cast(dict[str, Any], jmespath.compile(text).parsed)
    except JMESPathError as error:
        raise refusal(f"this is no JMESPath expression: {' '.join(str(error).split())[:200]}") from None
    except RecursionError:
        raise refusal(f"an expression is nested at most {DEPTH} levels deep") from None
    except PendingDeprecationWarning:
        raise refusal('what stands between backticks is JSON, a text in its quotes: `"active"`') from None


def _walk(root: dict[str, Any]) -> Iterator[tuple[dict[str, Any], int]]:
    waiting = [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        waiting.extend((child, depth + 1) for child in node.get("children", ()) if isinstance(child, dict))


def _check_call(node: dict[str, Any]) -> None:
    name, given = node["value"], len(node["children"])
    known = _FUNCTIONS.get(name)
    if known is None:
        raise refusal(f"there is no function `{name[:60]}`; these are: {', '.join(sorted(_FUNCTIONS))}")
    taken = len(known["signature"])
    variadic = bool(known["signature"]) and known["signature"][-1].get("variadic", False)
    if given < taken or (given > taken and not variadic):
        raise refusal(f"`{name}` takes {taken}{' or more' if variadic else ''} values, not {given}")

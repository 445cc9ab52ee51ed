"""Records in the body of an answer: strict enough to be handed on, and where they stand (pure)."""

from typing import Any, Final

import orjson

from nms.common.egress.exchange import Answer
from nms.common.search import search
from nms.common.strict_json import Number, TooDeep, parse
from nms.connectors.rest.problems import BodyNotJson, BodyTooDeep, RecordsMissing

AROUND_BYTES: Final = 4_096
_BOM: Final = b"\xef\xbb\xbf"


def parse_body(answer: Answer) -> Any:
    """The JSON value of an answer, whatever its Content-Type says; raises BodyNotJson, BodyTooDeep.

    Refused are NaN and Infinity, half of surrogate pairs, bytes that are no UTF-8, more than one value and more
    than 1,024 levels. Numbers become int and float (all are `Number` where one is too large for a double), the last
    of two members with one name counts: who needs digits and strictness reads with `parse_strictly`.
    """
    body = json_bytes(answer)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error):
            raise BodyTooDeep("The answer is not read: it is nested deeper than 1,024 levels.") from None
        if "infinity" in str(error):
            return parse_strictly(answer)
        raise _refused(answer, body, str(error)) from None


def parse_strictly(answer: Answer) -> Any:
    """The same with numbers as they were written and no member twice; raises BodyNotJson, BodyTooDeep."""
    body = json_bytes(answer)
    try:
        return parse(body)
    except TooDeep as error:
        raise BodyTooDeep(f"The answer is not read: {error}.") from None
    except UnicodeDecodeError:
        raise _refused(answer, body, "it is not UTF-8") from None
    except ValueError as error:
        raise _refused(answer, body, str(error)) from None


def json_bytes(answer: Answer) -> bytes:
    """The body without a byte order mark (RFC 8259 section 8.1 lets readers ignore it)."""
    return answer.body.removeprefix(_BOM)


def find_records(body: Any, expression: str) -> list[Any]:
    """The list of records in a parsed body; raises RecordsMissing. That each is an object with its key is not checked.

    Nothing where a list should be is no empty list: a schema that changed must not look like a remote without records.
    """
    found = search(body, expression)
    if not isinstance(found, list):
        kind = "nothing" if found is None else "an object" if isinstance(found, dict) else "a single value"
        raise RecordsMissing(f"At `{expression}` of the answer stands {kind}, no list.", expression=expression)
    return found


def list_text(text: bytes, name: str, body: Any) -> bytes | None:
    """The text of the list that a member of the body is, where it is nearly all of it; None where that is not certain.

    What stands around it is read once more with null in its place: only then it is what was cut out.
    """
    begin, end = text.find(b"["), text.rfind(b"]") + 1
    around = text[:begin] + b"null" + text[end:] if 0 <= begin < end else b""
    if not around or len(around) > AROUND_BYTES or not isinstance(body, dict):
        return None
    try:
        left = orjson.loads(around)
    except orjson.JSONDecodeError:
        return None
    return text[begin:end] if left == {**body, name: None} and isinstance(body.get(name), list) else None


def _refused(answer: Answer, body: bytes, why: str) -> BodyNotJson:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    head = body[:200].lstrip().lower()
    if not body.strip():
        why = "it is empty"
    elif head.startswith((b"<!doctype", b"<html")) or kind == "text/html":
        why = "it is HTML"
    return BodyNotJson(f"The answer is no JSON: {why[:200]}.", answered=answer.status)


def number(value: Any) -> int | None:
    """A count as remotes write it, in a number or a text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str | Number):
        return None
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None

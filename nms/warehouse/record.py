"""Records as callers send them: strict JSON, held against the document of their entity, all faults at once (pure)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from nms.common.document import EntityDocument
from nms.common.document.fault import escape_pointer
from nms.common.problem import Malformed, Pointer
from nms.common.rendering import BadRequest
from nms.common.strict_json import parse
from nms.warehouse.member import read_value

MOST_FAULTS: Final = 100
Texts = Mapping[str, str | None]
"""Values of fields as PostgreSQL reads them."""
Key = tuple[str, ...]
"""The values of the key, in its order, as PostgreSQL reads them."""


def read_body(body: bytes) -> dict[str, Any]:
    """The members of the object that a request sends; raises BadRequest, Malformed."""
    try:
        value = parse(body)
    except UnicodeDecodeError:
        raise BadRequest("The body is not text in UTF-8.") from None
    except ValueError as error:
        raise Malformed("The body is not JSON.", pointers=[Pointer("", str(error))]) from None
    if not isinstance(value, dict):
        raise Malformed("The body is no record.", pointers=[Pointer("", "a record is an object")])
    return value


def read_new(document: EntityDocument, members: Mapping[str, Any], *, made: bool) -> dict[str, str | None]:
    """All fields of a record that is to be; what is left out is null. Raises Malformed.

    `made` says that the key may be left out, and is made.
    """
    texts, faults = _read(document, members)
    for name, field in document.fields.items():
        needed = field.required or (name in document.key and not made)
        if needed and members.get(name) is None:
            faults.append(Pointer(f"/{name}", "this is required"))
    _refuse(faults)
    return {name: texts.get(name) for name in document.fields}


def read_whole(document: EntityDocument, members: Mapping[str, Any], key: Key) -> dict[str, str | None]:
    """All fields of the record that stands under a key; raises Malformed."""
    texts, faults = _read(document, members)
    faults += _moved(document, texts, key, "the path names another record")
    for name, field in document.fields.items():
        if field.required and name not in document.key and members.get(name) is None:
            faults.append(Pointer(f"/{name}", "this is required"))
    _refuse(faults)
    return {name: texts.get(name) for name in document.fields} | dict(zip(document.key, key, strict=True))


def read_patch(document: EntityDocument, members: Mapping[str, Any], key: Key, was: bytes) -> dict[str, str | None]:
    """The fields that a merge patch (RFC 7396) gives, merged with the record as it was; raises Malformed."""
    merged = dict(members)
    deep = {name for name, field in document.fields.items() if field.type == "json"}
    inner = [name for name, value in members.items() if isinstance(value, dict) and name in deep]
    if inner:
        before = parse(was)
        merged |= {name: merge(before[name], members[name]) for name in inner}
    texts, faults = _read(document, merged)
    faults += _moved(document, texts, key, "the key of a record stays as it is")
    for name, value in members.items():
        field = document.fields.get(name)
        if field is not None and field.required and value is None and name not in document.key:
            faults.append(Pointer(f"/{name}", "this is required"))
    _refuse(faults)
    return {name: text for name, text in texts.items() if name not in document.key}


def merge(value: Any, patch: Any) -> Any:
    """A value after a merge patch (RFC 7396, section 2)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for name, one in patch.items():
        if one is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), one)
    return merged


def write_key(key: Sequence[str]) -> str:
    """The last part of the path of a record."""
    return ",".join(quote(part, safe="") for part in key)


def _read(document: EntityDocument, members: Mapping[str, Any]) -> tuple[dict[str, str | None], list[Pointer]]:
    texts: dict[str, str | None] = {}
    faults: list[Pointer] = []
    for name, value in members.items():
        field = document.fields.get(name)
        pointer = f"/{escape_pointer(name)}"
        if field is None:
            faults.append(Pointer(_shown(pointer), _refuse_member(name)))
            continue
        try:
            texts[name] = read_value(field, value)
            if texts[name] == "" and name in document.key:
                raise ValueError("a key is not empty")
        except ValueError as error:
            faults.append(Pointer(pointer, str(error)))
    return texts, faults


def _refuse_member(name: str) -> str:
    return "what begins with `_` is the warehouse's own" if name.startswith("_") else "there is no such field"


def _shown(pointer: str) -> str:
    """A pointer to what a stranger named: as much of it as an answer can tell."""
    return pointer[:200].encode(errors="replace").decode()


def _moved(document: EntityDocument, texts: Texts, key: Key, told: str) -> Iterator[Pointer]:
    for name, text in zip(document.key, key, strict=True):
        if texts.get(name, text) != text:
            yield Pointer(f"/{name}", told)


def _refuse(faults: Sequence[Pointer]) -> None:
    count = len(faults)
    if count:
        told = "one fault" if count == 1 else f"{count} faults"
        more = f"; the first {MOST_FAULTS} are told" if count > MOST_FAULTS else ""
        raise Malformed(f"The record has {told}{more}.", pointers=list(_first(faults)))


def _first(faults: Sequence[Pointer]) -> Iterable[Pointer]:
    return faults[:MOST_FAULTS]

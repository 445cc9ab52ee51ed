"""How two states of documents differ, field by field."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nms.cfg.models import Action, Difference, FieldDifference, Identity
from nms.common.document import shorten

Bodies = Mapping[Identity, Mapping[str, Any]]
_NAMED = ("kind", "name")
_OF_VALUES = frozenset({"where", "when", "constants"})
"""Parts in which null is a value, and not that nothing is said: field by field the one would be taken for the other."""


def compare_bodies(before: Bodies, after: Bodies) -> tuple[Difference, ...]:
    """What makes `after` of `before`, both in normal form: systems first, then by name; equal ones are left out."""
    kinds = sorted(before.keys() | after.keys(), key=lambda each: (each[0] != "system", *each))
    found = (_compare(each, before.get(each), after.get(each)) for each in kinds)
    return tuple(each for each in found if each is not None)


def _compare(
    identity: Identity, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> Difference | None:
    if after is None:
        return Difference(Action.REMOVE, *identity)
    if before is None:
        return Difference(Action.ADD, *identity, tuple(_list_added(after)))
    if before is after or before == after:
        return None
    written = (shorten(before), shorten(after))
    found = _compare_values("", before, after)
    return Difference(Action.CHANGE, *identity, tuple(_shorten(each, *written) for each in found))


def _list_added(body: Mapping[str, Any]) -> Iterator[FieldDifference]:
    for key, value in shorten(body).items():
        if key not in _NAMED:
            yield FieldDifference(key, None, value)


def _shorten(found: FieldDifference, before: Mapping[str, Any], after: Mapping[str, Any]) -> FieldDifference:
    """Whole parts, such as a resource that is added, without what is the default in them anyway."""
    if found.path.startswith("datasets"):
        return found
    parts = [
        _part_of(written, found.path) if isinstance(value, Mapping) else value
        for value, written in ((found.before, before), (found.after, after))
    ]
    return FieldDifference(found.path, *parts)


def _part_of(body: Mapping[str, Any], path: str) -> Any:
    """What stands at a path; the names of resources may have dots in them."""
    if path in body:
        return body[path]
    heads = [key for key in body if path.startswith(f"{key}.") and isinstance(body[key], Mapping)]
    return next((_part_of(body[key], path.removeprefix(f"{key}.")) for key in heads), None)


def _compare_values(path: str, before: Any, after: Any) -> Iterator[FieldDifference]:
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping) and _variant(path, before) == _variant(path, after):
        if path.rpartition(".")[2] in _OF_VALUES and None in (*before.values(), *after.values()):
            yield FieldDifference(path, before, after)
            return
        for key in dict.fromkeys((*before, *after)):
            yield from _compare_values(f"{path}.{key}" if path else key, before.get(key), after.get(key))
    elif path == "datasets" and isinstance(before, list) and isinstance(after, list):
        yield from _compare_datasets(before, after)
    elif path != "order" or not _is_same_order(before, after):
        yield FieldDifference(path, before, after)


def _is_same_order(before: Any, after: Any) -> bool:
    """Whether what was there and stays has kept its order; what comes and goes is told of apart, wherever it stands."""
    if not isinstance(before, list) or not isinstance(after, list):
        return False
    return [name for name in before if name in after] == [name for name in after if name in before]


def _variant(path: str, part: Mapping[str, Any]) -> Any:
    """Which of several forms a part has, such as the `style` of paging: fields of different ones say nothing alike."""
    return path and (part.get("style"), part.get("type"))


def _compare_datasets(before: Sequence[Any], after: Sequence[Any]) -> Iterator[FieldDifference]:
    """By target table, which names a dataset within its pipeline; the order is one more field."""
    old, new = ({each["target"]: each for each in datasets} for datasets in (before, after))
    for target in dict.fromkeys((*old, *new)):
        yield from _compare_values(f"datasets[{target}]", _stated(old.get(target)), _stated(new.get(target)))
    if not _is_same_order(list(old), list(new)):
        yield FieldDifference("datasets (order)", list(old), list(new))


def _stated(dataset: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return None if dataset is None else {name: value for name, value in dataset.items() if value is not None}

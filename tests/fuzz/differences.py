"""What differences make of documents: each put where its path says, as somebody would who has nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from nms.cfg.models import Action, Difference, FieldDifference, Identity
from nms.common.document import normal_form, parse_document

Bodies = Mapping[Identity, Mapping[str, Any]]
ORDER = "datasets (order)"


def carry_out(before: Bodies, differences: Sequence[Difference]) -> dict[Identity, Any]:
    """The documents, in normal form, that the differences make of those before; new tables and fields come last."""
    made = {identity: deepcopy(dict(body)) for identity, body in before.items()}
    for each in differences:
        identity = (each.kind, each.name)
        if each.action is Action.REMOVE:
            del made[identity]
            continue
        body = made.get(identity, {"kind": each.kind, "name": each.name})
        for field in each.fields:
            _put(body, field)
        if "order" in body:
            there = [name for name in body["order"] if name in body["fields"]]
            body["order"] = list(dict.fromkeys([*there, *body["fields"]]))
        made[identity] = normal_form(parse_document(body))
    return made


def with_new_ones_last(body: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """A body whose new tables and fields stand behind those that were there: no difference tells where they stand."""
    was = before or {}
    if body["kind"] == "pipeline":
        known = {each["target"]: "" for each in was.get("datasets", ())}
        return {
            **body,
            "datasets": sorted(body["datasets"], key=lambda each: known.get(each["target"], each["target"])),
        }
    if "order" in body:
        names = dict.fromkeys(was.get("order", ()), "")
        return {**body, "order": sorted(body["order"], key=lambda each: names.get(each, each))}
    return dict(body)


def leave_out_each(differences: Sequence[Difference]) -> Iterator[list[Difference]]:
    """The differences without one of their fields, for each that changes a document."""
    for number, each in enumerate(differences):
        for place in range(len(each.fields) if each.action is Action.CHANGE else 0):
            fields = (*each.fields[:place], *each.fields[place + 1 :])
            fewer = Difference(each.action, each.kind, each.name, fields)
            yield [*differences[:number], fewer, *differences[number + 1 :]]


def _put(body: dict[str, Any], field: FieldDifference) -> None:
    if field.path == ORDER:
        datasets = {each["target"]: each for each in body["datasets"]}
        body["datasets"] = [datasets.pop(target) for target in field.after if target in datasets] + [*datasets.values()]
    elif field.path.startswith("datasets["):
        _put_dataset(body, field)
    else:
        _put_value(body, field.path, field.after)


def _put_dataset(body: dict[str, Any], field: FieldDifference) -> None:
    rest = field.path.removeprefix("datasets[")
    for dataset in body["datasets"]:
        if rest.startswith(f"{dataset['target']}]."):
            _put_value(dataset, rest.removeprefix(f"{dataset['target']}]."), field.after)
            return
    others = [each for each in body["datasets"] if each["target"] != rest[:-1]]
    body["datasets"] = others if field.after is None else [*others, dict(field.after)]


def _put_value(body: dict[str, Any], path: str, value: Any) -> None:
    """Names of resources and fields may have dots in them: the longest that is there is meant."""
    heads = [key for key, below in body.items() if path.startswith(f"{key}.") and isinstance(below, dict)]
    if heads and path not in body:
        head = max(heads, key=len)
        _put_value(body[head], path.removeprefix(f"{head}."), value)
    elif value is None:
        body.pop(path, None)
    else:
        body[path] = value

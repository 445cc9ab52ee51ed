"""What a pipeline asks of the resources of a REST API, or of the inbox, at one of its ends."""

from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches

from nms.common.document import (
    DatasetMapping,
    InboxSystem,
    PipelineDocument,
    Resource,
    RestSystem,
    SystemDocument,
    received_key,
)
from nms.common.document.fault import escape_pointer
from nms.common.document.inbox import FACTS, HEADER, OWN, is_fact
from nms.common.document.rest import Verb, Writes, placeholders
from nms.common.problem import Pointer


def check_reading(pipeline: PipelineDocument, system: RestSystem) -> Iterator[Pointer]:
    """Faults of a pipeline that reads a REST API; pointers are those within its document."""
    for number, dataset in enumerate(pipeline.datasets):
        at = f"/datasets/{number}"
        resource = system.resources.get(dataset.source)
        if resource is None:
            yield _unknown(f"{at}/source", dataset.source, system)
            continue
        yield from _check_key(at, dataset, resource.key)
        if pipeline.direction == "two-way":
            yield from _check_return(at, dataset, resource)
    if pipeline.direction == "two-way":
        yield from _check_conflicts(pipeline)


def check_writing(pipeline: PipelineDocument, system: RestSystem) -> Iterator[Pointer]:
    """Faults of a pipeline that writes to a REST API; pointers are those within its document."""
    targets = [dataset.target for dataset in pipeline.datasets]
    for number, dataset in enumerate(pipeline.datasets):
        pointer = f"/datasets/{number}/target"
        resource = system.resources.get(dataset.target)
        if resource is None:
            yield _unknown(pointer, dataset.target, system)
        elif dataset.target in targets[:number]:
            yield Pointer(pointer, f"{dataset.target} is the target of two datasets; each record has one source")
        elif resource.writes is None:
            yield Pointer(pointer, f"`{dataset.target}` of `{system.name}` has no `writes`: it says not how to write")
        elif dataset.fields is not None:
            yield from _check_sent(f"/datasets/{number}/fields", set(dataset.fields.values()), resource)


def check_receiving(pipeline: PipelineDocument, system: InboxSystem, endpoints: Collection[str]) -> Iterator[Pointer]:
    """Faults of a pipeline that reads the inbox; pointers are those within its document."""
    for number, dataset in enumerate(pipeline.datasets):
        at, resource = f"/datasets/{number}", system.resource(dataset.source)
        if resource.endpoint not in endpoints:
            yield _no_endpoint(f"{at}/source", dataset.source, system, endpoints)
        if resource.key is not None:
            yield from _check_key(at, dataset, resource.key)
        for name in dataset.fields or ():
            if name.startswith(FACTS) and not is_fact(name):
                told = ", ".join(OWN)
                yield Pointer(f"{at}/fields", f"an event has no `{name}`; it has {told} and {HEADER}NAME")


def check_passing(pipeline: PipelineDocument, source: InboxSystem, target: SystemDocument) -> Iterator[Pointer]:
    """Faults of a pipeline from the inbox to where no table tells the fields; pointers are those in its document."""
    if target.is_database or isinstance(target, InboxSystem):
        return
    for number, dataset in enumerate(pipeline.datasets):
        if dataset.fields is None:
            yield Pointer(f"/datasets/{number}", "no table tells which fields there are; name them in `fields`")
        elif isinstance(target, RestSystem) and received_key(dataset, source, target) is None:
            yield Pointer(
                f"/datasets/{number}",
                f"nothing tells records of `{dataset.source}` apart; name the fields that do in `key`",
            )


def _no_endpoint(pointer: str, name: str, system: InboxSystem, endpoints: Collection[str]) -> Pointer:
    asked = system.resource(name).endpoint
    known = ", ".join(sorted(endpoints))[:300] or "none"
    if name in system.resources:
        return Pointer(pointer, f"`{name}` reads the endpoint `{asked}`, and there is none; known endpoints: {known}")
    close = get_close_matches(name, [*system.resources, *endpoints], n=1)
    hint = f"did you mean `{close[0]}`?" if close else f"known endpoints: {known}"
    return Pointer(pointer, f"`{name}` is neither a resource of `{system.name}` nor an endpoint; {hint}")


def _unknown(pointer: str, name: str, system: RestSystem) -> Pointer:
    close = get_close_matches(name, system.resources, n=1)
    known = ", ".join(sorted(system.resources))
    hint = f"did you mean `{close[0]}`?" if close else f"its resources: {known[:300]}"
    return Pointer(pointer, f"`{system.name}` has no resource `{name}`; {hint}")


def _check_key(at: str, dataset: DatasetMapping, key: tuple[str, ...]) -> Iterator[Pointer]:
    """Records are told apart by the key of their resource, on both sides."""
    words = ", ".join(key)
    if dataset.key is not None and set(dataset.key) != set(key):
        yield Pointer(f"{at}/key", f"the key of `{dataset.source}` is {words}, as its resource says; leave `key` out")
    missing = [] if dataset.fields is None else [name for name in key if name not in dataset.fields]
    if missing:
        yield Pointer(f"{at}/fields", f"`{missing[0]}` is part of the key of `{dataset.source}` and goes nowhere")


def _check_return(at: str, dataset: DatasetMapping, resource: Resource) -> Iterator[Pointer]:
    """What changes at the target goes back: record by record, each read before it is written."""
    if resource.writes is None:
        yield Pointer(f"{at}/source", f"`{dataset.source}` has no `writes`, and two-way writes to it")
        return
    if resource.writes.assigned:
        yield Pointer(
            f"{at}/source",
            f"new records of `{dataset.source}` get their key at the remote (`assigned`), so that a row made here "
            "would come back as another one; two-way takes resources that keep the key they are given",
        )
    strange = set(placeholders(resource.record or "")) - set(resource.key)
    if resource.record is None or strange:
        yield Pointer(
            f"{at}/source", f"two-way reads single records: `record` of `{dataset.source}` is asked by its key"
        )
    if dataset.version is not None:
        yield Pointer(f"{at}/version", "two-way goes by what both sides had last and by `conflicts`, not by a version")


def _check_conflicts(pipeline: PipelineDocument) -> Iterator[Pointer]:
    """Fields that a policy names travel in one of the datasets."""
    conflicts = pipeline.conflicts
    if conflicts is None or any(dataset.fields is None for dataset in pipeline.datasets):
        return
    known = {name for dataset in pipeline.datasets for name in dataset.fields or ()}
    if conflicts.newest is not None and any(conflicts.newest not in (one.fields or ()) for one in pipeline.datasets):
        yield Pointer("/conflicts/newest", f"`{conflicts.newest}` is not among `fields` of each dataset")
    for name in conflicts.fields:
        if name not in known:
            yield Pointer(f"/conflicts/fields/{escape_pointer(name)}", f"`{name}` is among `fields` of no dataset")


def _check_sent(pointer: str, sent: set[str], resource: Resource) -> Iterator[Pointer]:
    """What a request needs is among the fields that are sent."""
    writes = resource.writes
    assert writes is not None
    missing = [] if writes.assigned else [name for name in resource.key if name not in sent]
    if missing:
        yield Pointer(pointer, f"no column goes to `{missing[0]}`, part of the key there")
    if writes.lookup is not None and writes.lookup.field not in sent:
        yield Pointer(pointer, f"no column goes to `{writes.lookup.field}`, by which records are looked up")
    known = sent | set(resource.key)
    for word, verb in _verbs(writes):
        # A new record has only what is sent.
        strange = [name for name in placeholders(verb.path) if name not in (sent if word == "create" else known)]
        if strange:
            yield Pointer(pointer, f"no column goes to `{strange[0]}`, which stands in the path of `{word}`")


def _verbs(writes: Writes) -> Sequence[tuple[str, Verb]]:
    verbs = (("create", writes.create), ("update", writes.update), ("delete", writes.delete))
    return [(word, verb) for word, verb in verbs if verb is not None]

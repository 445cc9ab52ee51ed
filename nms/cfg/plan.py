"""What a changeset would make of what is stored, or everything that is wrong with it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from nms.cfg.condition import check_base
from nms.cfg.consistency import find_faults
from nms.cfg.difference import compare_bodies
from nms.cfg.effect import tell_effects
from nms.cfg.exposure import find_exposures, find_unknown
from nms.cfg.models import Changeset, Difference, Exposure, Identity, Plan
from nms.cfg.secret import StoredSecret
from nms.cfg.standing import Standing
from nms.common.document import Document, normal_form, parse_document
from nms.common.problem import Malformed, Pointer

T = TypeVar("T")


def draw_plan(standing: Standing, changeset: Changeset, secrets: Sequence[StoredSecret] = ()) -> Plan:
    """The plan of a changeset on what stands.

    Raises Malformed with every fault, and RevisionMoved or RevisionUnmatched where it was made for another revision.
    """
    check_base(standing.revision, changeset)
    places = _Places(changeset)
    fresh = places.read()
    bodies, documents = standing.bodies, standing.documents
    after = _without(documents, changeset) | fresh
    places.refuse(_find_faults(after, secrets), lambda: _find_faults(documents, secrets))
    bodies_after = _without(bodies, changeset) | {each: normal_form(document) for each, document in fresh.items()}
    differences = tell_effects(compare_bodies(bodies, bodies_after), documents, after)
    exposures = find_exposures(secrets, documents, after)
    return Plan(standing.revision, _with_drops(differences, exposures), after, tuple(exposures))


def _find_faults(
    documents: Mapping[Identity, Document], secrets: Iterable[StoredSecret]
) -> dict[Identity, list[Pointer]]:
    faults = find_faults(documents)
    for identity, unknown in find_unknown(documents, [secret.name for secret in secrets]).items():
        faults.setdefault(identity, []).extend(unknown)
    return faults


def _with_drops(differences: Iterable[Difference], exposures: Sequence[Exposure]) -> tuple[Difference, ...]:
    """Differences with the sentences on secrets that they drop."""
    told: dict[Identity, tuple[str, ...]] = {}
    for each in exposures:
        if each.identity is not None:
            told[each.identity] = (*told.get(each.identity, ()), each.sentence)
    return tuple(replace(each, effects=(*each.effects, *told.get((each.kind, each.name), ()))) for each in differences)


def _without(stored: Mapping[Identity, T], changeset: Changeset) -> dict[Identity, T]:
    """What is stored and no part of the changeset takes away."""
    if changeset.prune:
        return {}
    return {identity: one for identity, one in stored.items() if identity not in changeset.removed}


class _Places:
    """Where the documents of a changeset stand, so that a fault names file and line."""

    def __init__(self, changeset: Changeset) -> None:
        self._drafts = changeset.drafts
        self._numbers: dict[Identity, int] = {}

    def read(self) -> dict[Identity, Document]:
        """Every draft as a document; raises Malformed with the faults of all of them."""
        documents: dict[Identity, Document] = {}
        faults: list[Pointer] = []
        for number, draft in enumerate(self._drafts):
            try:
                document = parse_document(draft.data)
            except Malformed as problem:
                faults.extend(self._point(number, each) for each in problem.pointers)
                continue
            identity = (document.kind, document.name)
            if identity in documents and self._repeats(identity, number, documents[identity] == document):
                continue
            if identity in documents:
                first = self._drafts[self._numbers[identity]].place("/name") or f"/documents/{self._numbers[identity]}"
                twice = Pointer("/name", f"the {document.kind} `{document.name}` is there already, see {first}")
                faults.append(self._point(number, twice))
            else:
                documents[identity], self._numbers[identity] = document, number
        self._raise(faults)
        return documents

    def _repeats(self, identity: Identity, number: int, equal: bool) -> bool:
        """Files that can be applied alone may state the same document; one file may not."""
        earlier = self._drafts[self._numbers[identity]].file
        return equal and earlier != self._drafts[number].file

    def refuse(
        self, found: Mapping[Identity, Sequence[Pointer]], find_earlier: Callable[[], Mapping[Identity, list[Pointer]]]
    ) -> None:
        """Raise Malformed for faults between documents: those of the changeset, and new ones of those stored before."""
        faults: list[Pointer] = []
        earlier = find_earlier() if found.keys() - self._numbers.keys() else {}
        for identity, pointers in found.items():
            number = self._numbers.get(identity)
            if number is not None:
                faults.extend(self._point(number, each) for each in pointers)
                continue
            known = {each.pointer for each in earlier.get(identity, ())}
            for each in pointers:
                if each.pointer not in known:
                    faults.append(Pointer("", f"stored {identity[0]} `{identity[1]}`, {each.pointer}: {each.detail}"))
        self._raise(faults)

    def _point(self, number: int, fault: Pointer) -> Pointer:
        place = self._drafts[number].place(fault.pointer)
        detail = f"{place}: {fault.detail}" if place else fault.detail
        return Pointer(f"/documents/{number}{fault.pointer}", detail)

    def _raise(self, faults: Sequence[Pointer]) -> None:
        if faults:
            count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
            raise Malformed(
                f"The documents have {count}; nothing was stored.",
                remedy="Correct the places named, then `nms plan -f FILE` shows what would be done.",
                pointers=faults,
            )

"""What stands at a revision. A process keeps it, so that documents are parsed once, and then what moved is read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from nms.cfg.models import Identity, Mark, StoredDocument
from nms.cfg.repository import Bodies, DocumentRepository
from nms.common.document import Document, normal_form, parse_document
from nms.common.problem import Malformed

MOST: Final = 2_000
"""Documents that are kept at most; of more than that all are read each time."""
STATES: Final = 2
"""The newest, and the one that a transaction under way would make."""


@dataclass(frozen=True, slots=True)
class Standing:
    """All documents of a revision: their bodies in today's normal form, and parsed.

    What this version cannot read stays as it is and is no document.
    """

    revision: int
    bodies: Mapping[Identity, Mapping[str, Any]]
    documents: Mapping[Identity, Document]

    @classmethod
    def of(cls, revision: int, stored: Iterable[StoredDocument] = ()) -> Self:
        """What was read."""
        nothing: Mapping[Identity, Any] = {}
        return cls(0, nothing, nothing).after(revision, {(each.kind, each.name): each.body for each in stored})

    def after(self, revision: int, changed: Bodies) -> Self:
        """The same with what came and went up to a later revision."""
        bodies, documents = dict(self.bodies), dict(self.documents)
        for identity, body in changed.items():
            for each in (bodies, documents):
                each.pop(identity, None)
            if body is not None:
                bodies[identity], document = read_body(body)
                if document is not None:
                    documents[identity] = document
        return type(self)(revision, dict(sorted(bodies.items())), dict(sorted(documents.items())))


def read_body(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], Document | None]:
    """A stored body in today's normal form, and its document; as it is, and None, where this version cannot read it."""
    try:
        document = parse_document(dict(body))
    except Malformed:
        return body, None
    return normal_form(document), document


_kept: dict[Mark, Standing] = {}


async def read_standing(repository: DocumentRepository, newest: Mark | None) -> Standing:
    """What stands at the newest revision; None is that there was none yet.

    Outside of a transaction with locked revisions it may have some of what was stored since.
    """
    if newest is None:
        return Standing.of(0, await repository.list_documents())
    for mark, standing in tuple(reversed(_kept.items())):
        if mark == newest:
            return standing
        if mark.id < newest.id and await repository.get_mark(mark.id) == mark:
            changed = await repository.list_documents_between(mark.id, newest.id)
            return keep_standing(
                newest, standing.after(newest.id, {name: after for name, (_, after) in changed.items()})
            )
    found = Standing.of(newest.id, await repository.list_documents())
    return keep_standing(newest, found) if (await repository.get_head())[0] == newest else found


def keep_standing(mark: Mark, standing: Standing) -> Standing:
    """Remember what stands at a revision, or would: where that is not committed no revision ever has its mark."""
    if len(standing.bodies) <= MOST:
        _kept.pop(mark, None)
        _kept[mark] = standing
    while len(_kept) > STATES:
        del _kept[next(iter(_kept))]
    return standing

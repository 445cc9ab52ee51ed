"""What follows from a change of documents, in words: what the rooms will do because of it (pure).

A teller looks at the documents before and after, without those that this version cannot read, and says sentences, each
under a document that changes. A further one is one more line of TELLERS.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from nms.cfg.endpoints import tell_endpoints
from nms.cfg.entities import tell_entities
from nms.cfg.models import Difference, Identity
from nms.cfg.pipelines import tell_pipelines
from nms.cfg.systems import tell_systems
from nms.common.document import Document

Documents = Mapping[Identity, Document]


Teller = Callable[[Documents, Documents], Iterator[tuple[Identity, str]]]

TELLERS: Final[tuple[Teller, ...]] = (tell_systems, tell_pipelines, tell_endpoints, tell_entities)


def tell_effects(differences: Sequence[Difference], before: Documents, after: Documents) -> tuple[Difference, ...]:
    """The differences with what follows from each."""
    told: dict[Identity, list[str]] = {}
    for teller in TELLERS:
        for identity, sentence in teller(before, after):
            told.setdefault(identity, []).append(sentence)
    return tuple(replace(each, effects=tuple(told.get((each.kind, each.name), ()))) for each in differences)

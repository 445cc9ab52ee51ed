"""What follows from a change of an endpoint, in words."""

from collections.abc import Iterator, Mapping

from nms.cfg.models import Identity
from nms.common.document import Document, EndpointDocument


def tell_endpoints(
    before: Mapping[Identity, Document], after: Mapping[Identity, Document]
) -> Iterator[tuple[Identity, str]]:
    """What the inbox will do where an endpoint comes, changes or goes; a sentence for each."""
    for identity in before.keys() | after.keys():
        old, new = before.get(identity), after.get(identity)
        for sentence in _tell(old, new):
            yield identity, sentence


def _tell(old: Document | None, new: Document | None) -> Iterator[str]:
    if isinstance(new, EndpointDocument) and isinstance(old, EndpointDocument):
        yield from _tell_change(old, new)
    elif isinstance(new, EndpointDocument):
        yield f"endpoint {new.name} receives at /in/{new.name}"
    elif isinstance(old, EndpointDocument):
        yield f"endpoint {old.name} receives no more; what it received is kept for a week as if it were there"


def _tell_change(old: EndpointDocument, new: EndpointDocument) -> Iterator[str]:
    name = new.name
    if old.scheme.type != new.scheme.type:
        yield f"endpoint {name} believes other requests: its scheme becomes {new.scheme.type}"
    elif (told := _tell_secrets(old, new)) is not None:
        yield f"endpoint {name} changes its secret: {told}"
    elif old.scheme != new.scheme:
        yield f"endpoint {name} changes how it checks signatures"
    if old.id != new.id:
        yield f"endpoint {name} tells duplicates by something else from now on"
    if old.keep > new.keep:
        yield f"endpoint {name} keeps events for less time: days that no endpoint keeps go within minutes"


def _tell_secrets(old: EndpointDocument, new: EndpointDocument) -> str | None:
    """By their references; what they stand for is told nowhere."""
    before, now = (getattr(one.scheme, "secrets", ()) for one in (old, new))
    gone, come = [one for one in before if one not in now], [one for one in now if one not in before]
    told = [f"{one} is believed from now on" for one in come] + [f"{one} is believed no more" for one in gone]
    return "; ".join(told) or None

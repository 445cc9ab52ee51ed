"""How a resource is declared, as a mark: what was noted of its reading holds for that declaration only (pure)."""

import json
from hashlib import sha256
from typing import Any

from nms.common.document.rest import Resource, RestSystem

Form = tuple[str, str]
"""Marks of what is read (another one: all is to be read again) and of how its pages come (a round begins anew)."""

_WHAT = {"path", "records", "key", "query", "derive", "parent", "absent"}
_SINCE = {"parameter", "field", "form"}


def form_of(system: RestSystem, name: str) -> Form:
    """The form of a resource, with those that it hangs below; another place or header may mean other records."""
    resources, line = system.resources, [system.resources[name]]
    while (parent := line[-1].parent) is not None:
        line.append(resources[parent.resource])
    since = line[0].since
    what = [one.model_dump(mode="json", include=_WHAT, exclude_defaults=True) for one in line]
    pages = [one.paging.model_dump(mode="json") for one in line]
    place = [system.url, dict(system.headers)]
    return _mark([place, what, since and since.model_dump(mode="json", include=_SINCE)]), _mark(pages)


def place_of(system: RestSystem, resource: Resource) -> str:
    """A mark of where the records of a resource are: keys that records have elsewhere mean nothing there."""
    return _mark([system.url, resource.path])


def _mark(told: Any) -> str:
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

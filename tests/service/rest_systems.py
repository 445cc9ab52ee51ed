"""Documents of REST systems for tests."""

from typing import Any

from nms.common.document import RestSystem

THINGS = {"things": {"path": "/things", "records": "data"}}


def system_of(url: str, **more: Any) -> RestSystem:
    """A system at a URL, with a resource `things` unless told otherwise."""
    document = {"kind": "system", "name": "shop", "type": "rest", "url": url, "resources": THINGS, **more}
    return RestSystem.model_validate(document)

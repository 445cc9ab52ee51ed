"""What tells records apart that the inbox received, where no table says it."""

from nms.common.document.inbox import InboxSystem
from nms.common.document.mapping import DatasetMapping
from nms.common.document.rest import RestSystem
from nms.common.document.system import SystemDocument


def received_key(dataset: DatasetMapping, source: InboxSystem, target: SystemDocument) -> tuple[str, ...] | None:
    """The fields of the key by their names in events: those that are named, else those that feed the key of an API.

    None where a table has to tell, or nothing does.
    """
    named = dataset.key or source.resource(dataset.source).key
    resource = target.resources.get(dataset.target) if isinstance(target, RestSystem) else None
    if named is not None or resource is None:
        return named
    fed = {there: here for here, there in (dataset.fields or {}).items()}
    names = resource.sent_key
    return tuple(fed[name] for name in names) if names and all(name in fed for name in names) else None

"""What the room `cfg` tells."""

from nms.common.event import Event


class DocumentsPublished(Event):
    """A new revision of the configuration is in force; `kinds` names the kinds of documents that changed."""

    type = "cfg.documents.published"

    revision: int
    kinds: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """All revisions in order."""
        return "cfg"

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


class SecretSet(Event):
    """A secret has a new value, its version of this number; pipelines take it up at their next connection."""

    type = "cfg.secret.set"

    name: str
    number: int

    @property
    def key(self) -> str:
        """By secret."""
        return self.name


class SecretDropped(Event):
    """The value of a secret was forgotten, for what uses it leads elsewhere than before; `reason` is a sentence."""

    type = "cfg.secret.dropped"

    name: str
    reason: str

    @property
    def key(self) -> str:
        """By secret."""
        return self.name


class SecretRemoved(Event):
    """A secret is gone."""

    type = "cfg.secret.removed"

    name: str

    @property
    def key(self) -> str:
        """By secret."""
        return self.name

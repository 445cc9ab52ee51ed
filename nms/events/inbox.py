"""What the room `inbox` tells."""

from nms.common.event import Event


class IdReused(Event):
    """An id of an endpoint came again with another body: the provider is mistaken, or somebody tampers.

    `event` is the one that has the id; the digests are SHA-256 of its body and of the one that was refused, in
    hexadecimal digits. It is told once in a while for an id, and not of every id when there are many.
    """

    type = "inbox.id.reused"

    endpoint: str
    event: str
    digest: str
    refused_digest: str
    quarantine: str

    @property
    def key(self) -> str:
        """In order per endpoint."""
        return self.endpoint

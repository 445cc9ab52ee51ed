"""Where a record comes from: what `?lineage=1` tells beside its fields (pure)."""

from dataclasses import dataclass
from typing import Final

LINEAGE: Final = "_lineage"
"""The member that tells it; no field has such a name."""
_MEMBERS: Final = ("source", "external_id", "sequence", "created_at", "updated_at")
TOLD: Final = (
    "'{' || "
    + " || ',' || ".join(f"'\"{name}\":' || coalesce(to_json(_{name})::text, 'null')" for name in _MEMBERS)
    + " || '}'"
)
"""The SQL of what it tells."""


def tag_record(sequence: int, build: str) -> str:
    """The entity tag of a record (RFC 9110, section 8.8.3): strong, as what it was built to tells its text."""
    return f'"{sequence}-{build}"'


def sequence_of(tag: str) -> str:
    """The part of a tag, without its quotes, that only a change of the record makes another one."""
    return tag.partition("-")[0]


@dataclass(frozen=True, slots=True)
class Held:
    """A record as it is stored: its ready JSON text, its place in the order of changes, and its lineage as JSON.

    `build` is what its entity was built from.
    """

    json: str
    sequence: int
    lineage: str
    build: str

    @property
    def etag(self) -> str:
        """The entity tag of the record."""
        return tag_record(self.sequence, self.build)

    def shown(self, *, lineage: bool) -> str:
        """The JSON text of the record, with its lineage where it is asked for."""
        return f'{self.json[:-1]},"{LINEAGE}":{self.lineage}}}' if lineage else self.json

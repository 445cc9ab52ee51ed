"""Looking a record up at the remote: by its own path, or by a field that holds our key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nms.common.document.rest import Resource
from nms.common.search import search
from nms.connectors.rest.ask import Ask, fill
from nms.connectors.rest.client import Client
from nms.connectors.rest.problems import RecordsMissing, RemoteMissing
from nms.connectors.rest.records import find_records, parse_strictly
from nms.connectors.rest.refusals import LookupUnfit, RecordDoubled
from nms.connectors.rest.values import Record, as_text


@dataclass(frozen=True, slots=True)
class Found:
    """A record as the remote has it now: its fields, its key there, its ETag."""

    record: Record
    remote: Record
    tag: str | None = None


class Looker:
    """Reads single records of one resource."""

    def __init__(self, client: Client, resource: Resource) -> None:
        self._client = client
        self._resource = resource

    def can_look(self, key: Mapping[str, Any], remote: Record | None) -> bool:
        """Whether a record can be found: by the key it has there, or by the field that holds ours."""
        writes = self._resource.writes
        # A record without our key is nobody's: a look-up by nothing would find all of those.
        by_field = writes is not None and writes.lookup is not None and as_text(key.get(writes.lookup.field)) != ""
        return by_field or (remote is not None and self._resource.record is not None)

    async def find(self, known: Mapping[str, Any], remote: Record | None) -> Found | None:
        """The record, or None where the remote has none; `known` are our key and values, `remote` its key there.

        Raises the Problems of the client, LookupUnfit and RecordDoubled.
        """
        if remote is not None and self._resource.record is not None:
            return await self._read(known, remote)
        return await self._search(known, remote)

    async def _read(self, known: Mapping[str, Any], remote: Record) -> Found | None:
        texts = {name: as_text(value) for name, value in {**known, **remote}.items()}
        try:
            answer = await self._client.get(Ask("GET", fill(self._resource.record or "", texts)))
        except RemoteMissing:
            return None
        record = search(parse_strictly(answer), self._resource.record_at)
        if not isinstance(record, dict):
            raise RecordsMissing(f"At `{self._resource.record_at}` of the answer stands no object.")
        return Found(record, remote, answer.headers.get("etag"))

    async def _search(self, known: Mapping[str, Any], remote: Record | None) -> Found | None:
        writes = self._resource.writes
        if writes is None or writes.lookup is None:
            return None
        field, wanted = writes.lookup.field, as_text(known.get(writes.lookup.field))
        texts = {name: as_text(value) for name, value in known.items()}
        query = {**self._resource.query, writes.lookup.parameter: wanted}
        answer = await self._client.get(Ask("GET", fill(self._resource.path, texts), query))
        listed = find_records(parse_strictly(answer), self._resource.records)
        ours = [one for one in listed if isinstance(one, dict) and as_text(one.get(field)) == wanted]
        if not ours and listed:
            # Remotes that do not know the parameter answer with all, and ours may stand on another page.
            text = f"asked for {field} {wanted}, the remote answers {len(listed)} records without it"
            raise LookupUnfit(text, field=field)
        keys = {name: [one.get(name) for one in ours] for name in self._resource.key}
        if len(ours) > 1 and any(values.count(values[0]) < len(values) for values in keys.values()):
            raise RecordDoubled(f"the remote has {len(ours)} records whose {field} is {wanted}", field=field)
        return Found(ours[0], remote or {name: values[0] for name, values in keys.items()}) if ours else None

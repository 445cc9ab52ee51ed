"""Takes what the stream sends and has the tables learn what it tells of them, before anything is read by it."""

from collections.abc import Awaitable

from nms.connectors.postgres import pgoutput
from nms.connectors.postgres.pgoutput import Decoder, Message, Relation
from nms.connectors.postgres.tables import Tables
from nms.connectors.postgres.transactions import Assembler

_TELLING = frozenset((pgoutput.RELATION, pgoutput.MESSAGE, pgoutput.STREAM_COMMIT))


class Reader:
    """Hands payloads to the assembler; `session` tells our own marks from those of others."""

    def __init__(self, assembler: Assembler, decoder: Decoder, tables: Tables, session: str) -> None:
        self._assembler = assembler
        self._decoder = decoder
        self._tables = tables
        self._session = session

    def take(self, payload: bytes) -> Awaitable[None] | None:
        """Take one payload; what is given back must be awaited before the next."""
        kind = payload[0]
        if kind not in _TELLING or self._assembler.streaming:
            self._assembler.feed(payload)
            return None
        return self._learn(kind, payload)

    async def _learn(self, kind: int, payload: bytes) -> None:
        try:
            told = self._parse(kind, payload)
        except pgoutput.MALFORMED as cause:
            raise pgoutput.refuse(payload, cause) from cause
        for one in told:
            if isinstance(one, Relation):
                await self._tables.learn(one)
            else:
                await self._mark(one)
        self._assembler.feed(payload)

    def _parse(self, kind: int, payload: bytes) -> list[Relation | Message]:
        if kind == pgoutput.RELATION:
            return [pgoutput.parse_relation(payload)]
        if kind == pgoutput.MESSAGE:
            return [pgoutput.parse_message(payload)]
        schema = self._assembler.schema_of(pgoutput.parse_xid(payload))
        return [pgoutput.parse_relation(told, 5) for told in schema]

    async def _mark(self, message: Message) -> None:
        # From the low mark of its first chunk on changes of a table count, and so does how it looks.
        session, _, rest = message.content.decode(errors="replace").partition(":")
        if message.prefix != "nms.low" or session != self._session:
            return
        oid = self._tables.begin(rest.partition(":")[2])
        told = None if oid is None else self._decoder.told(oid)
        if oid is not None and told is not None:
            await self._tables.learn(told, late=True)
            self._decoder.ask_again(oid)

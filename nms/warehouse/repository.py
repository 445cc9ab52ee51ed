"""Statements of the warehouse: what is built of each entity, single records, the feed, rounds that `sync` publishes."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

from nms.common.db.pool import connect
from nms.common.db.problems import DRIVER_ERRORS, translated
from nms.common.db.queries import load
from nms.common.db.repositories import BaseDwhRepository, BaseNmsRepository
from nms.common.document import EntityDocument
from nms.common.run import Run, RunRepository
from nms.warehouse.alteration import Standing
from nms.warehouse.change import LARGEST_PAGE, Changes, Span, compose_changes, compose_newest
from nms.warehouse.format import Closing
from nms.warehouse.lineage import Held
from nms.warehouse.models import Entity, Export, Rounded
from nms.warehouse.record import Key, Texts
from nms.warehouse.table import has_null, lock_table, rewrite_records
from nms.warehouse.write import Writing

queries = load("nms.warehouse")
CLOSE_SECONDS = 5.0


class EntityRepository(BaseDwhRepository):
    """The registry of entities, and their tables."""

    @classmethod
    @asynccontextmanager
    async def apart(cls) -> AsyncIterator[Self]:
        """Over a connection of its own, for statements that take long and stand in no transaction."""
        connection = await connect(cls._dsn_type)
        try:
            yield cls(connection)
        finally:
            # A statement that was cancelled is first told to the server.
            with suppress(*DRIVER_ERRORS):
                await connection.close(timeout=CLOSE_SECONDS)

    async def lock_adoption(self) -> None:
        """Keep other workers from following the documents until the end of the transaction."""
        await queries.lock_adoption(self.connection)

    async def get_entity(self, name: str) -> Entity | None:
        """One entity as it is registered."""
        row = await queries.get_entity(self.connection, name=name)
        return None if row is None else Entity(**row)

    async def list_entities(self) -> list[Entity]:
        """All entities that were ever declared, by name."""
        return [Entity(**row) for row in await queries.list_entities(self.connection)]

    async def lock_building(self, name: str) -> bool:
        """Whether an entity is being built, and stays so until the end of the transaction."""
        return await queries.lock_building(self.connection, name=name) is not None

    async def page_entities(self, after: str | None, size: int) -> list[Entity]:
        """The next entities behind a name."""
        return [Entity(**row) for row in await queries.list_entity_page(self.connection, after=after, size=size)]

    async def upsert_wanted(self, name: str, wanted: Mapping[str, Any], revision: int) -> None:
        """Note what the configuration wants an entity to be."""
        await queries.upsert_wanted(self.connection, name=name, wanted=wanted, revision=revision)

    async def mark_altering(self, name: str) -> None:
        """Note that the triggers of an entity are about to be others."""
        await queries.mark_altering(self.connection, name=name)

    async def mark_built(self, name: str, document: Mapping[str, Any], revision: int, form: str) -> None:
        """Note what an entity now is."""
        await queries.mark_built(self.connection, name=name, document=document, revision=revision, form=form)

    async def mark_halted(self, name: str, revision: int, problem: Mapping[str, Any]) -> None:
        """Note why an entity cannot become what the configuration of this revision wants."""
        await queries.mark_halted(self.connection, name=name, revision=revision, problem=problem)

    async def mark_hidden(self, name: str, revision: int) -> None:
        """Note that the configuration of this revision has no such entity; its table stays."""
        await queries.mark_hidden(self.connection, name=name, revision=revision)

    async def get_table(self, name: str) -> Standing | None:
        """The table of an entity as it stands."""
        row = await queries.get_table(self.connection, name=name)
        if row is None:
            return None
        return Standing.of(
            {"columns": row["columns"], "key": row["key"], "indexes": row["indexes"], "rows": row["rows"]}
        )

    async def get_last_sequence(self) -> int:
        """The last sequence that was taken."""
        return int(await queries.get_last_sequence(self.connection))

    async def lock_table(self, name: str, seconds: float, *, alone: bool) -> None:
        """Wait for the writers of a table, so many seconds at most; raises LockTimeout."""
        await self.run_statements([f"set local lock_timeout = {round(seconds * 1000)}", lock_table(name, alone=alone)])

    async def rewrite_records(self, name: str, span: tuple[int, int], size: int, seconds: float) -> tuple[int, int]:
        """Write the first records of a span (after, upto) anew; gives the last one's sequence, and how many were read.

        Waits so long for others that hold one of them; raises LockTimeout. Behind the last one: (upto, 0).
        """
        async with self.transaction() as tx:
            await tx.run_statements([f"set local lock_timeout = {round(seconds * 1000)}"])
            with translated():
                row = await tx.connection.fetchrow(rewrite_records(name), *span, size)
        return (span[1], 0) if row["last"] is None else (row["last"], row["count"])

    async def has_null(self, name: str, field: str) -> bool:
        """Whether any record lacks a field."""
        with translated():
            return bool(await self.connection.fetchval(has_null(name, field)))

    async def get_settled(self) -> int:
        """Up to which sequence everything is written or never will be, for statements that come later."""
        return int(await queries.get_settled(self.connection))

    async def run_statements(self, statements: Iterable[str]) -> None:
        """Run statements of `table` one after the other; raises Problems."""
        with translated():
            for statement in statements:
                await self.connection.execute(statement)


class RecordRepository(BaseDwhRepository):
    """Single records, to be written in a transaction."""

    async def begin(self, seconds: float) -> None:
        """Wait for no lock longer than this, until the end of the transaction."""
        await queries.get_begun(self.connection, milliseconds=str(round(seconds * 1_000)))

    async def lock(self, writing: Writing, key: Key) -> Held | None:
        """The record of a key, held until the end of the transaction."""
        return await self._fetch(writing.lock, key)

    async def insert(self, writing: Writing, texts: Texts) -> Held | None:
        """Add a record; None where there is one of this key."""
        return await self._fetch(writing.insert, [texts[name] for name in writing.names])

    async def update(self, writing: Writing, key: Key, texts: Texts) -> Held | None:
        """Change some fields of a record; None where that changes nothing."""
        names = tuple(texts)
        return await self._fetch(writing.update(names), [*key, *texts.values()]) if names else None

    async def delete(self, writing: Writing, key: Key) -> None:
        """Delete the record of a key."""
        with translated():
            await self.connection.execute(writing.delete, *key)

    async def take_key(self, entity: str) -> int:
        """A number for the key of a new record."""
        return int(await queries.take_key(self.connection, entity=entity))

    async def mark_keys(self, entity: str, field: str) -> None:
        """Take numbers behind those that records came with from now on."""
        await queries.mark_keys(self.connection, entity=entity, field=field)

    async def _fetch(self, sql: str, values: Sequence[str | None]) -> Held | None:
        with translated():
            row = await self.connection.fetchrow(sql, *values)
        return None if row is None else Held(*row)


class FeedRepository(BaseDwhRepository):
    """Changes of all entities, in one order."""

    async def get_tide(self) -> tuple[int, int]:
        """Up to which sequence everything is settled, and the newest one."""
        row = await queries.get_tide(self.connection)
        return row["settled"], row["newest"]

    async def list_changes(self, documents: Sequence[EntityDocument], span: Span) -> Changes:
        """Changes of these entities, and which ones are built by then."""
        most, names = span.offset + span.limit + 1, [document.name for document in documents]
        with translated():
            row = await self.connection.fetchrow(
                compose_changes(documents),
                *(span.after, span.upto, most, names, span.offset, span.limit, LARGEST_PAGE),
            )
        return Changes(row["items"], row["count"], row["last"], row["is_whole"], frozenset(row["built"]))

    async def get_newest(self, entities: Iterable[str], upto: int) -> int:
        """The newest change up to a sequence that was committed; 0 without any."""
        with translated():
            return int(await self.connection.fetchval(compose_newest(entities), upto))


class PullRepository(BaseNmsRepository):
    """What `sync` publishes of rounds, in the database `nms`."""

    async def list_rounded(self, source: str) -> list[Rounded]:
        """The pipelines from a system into the warehouse, by name."""
        return [Rounded(**row) for row in await queries.list_rounded(self.connection, source=source)]

    async def ask_round(self, pipeline: str) -> None:
        """Ask for a round that begins after now; the caller orders the run that follows it."""
        await queries.claim_round(self.connection, pipeline=pipeline)

    async def get_rounds(self, ids: Mapping[str, int]) -> dict[str, Run]:
        """The runs of rounds, by pipeline."""
        runs = RunRepository(self.connection)
        return {name: await runs.get(id_) for name, id_ in ids.items()}


class ExportRepository(BaseDwhRepository):
    """Exports that were ordered, and what their runs ask."""

    async def estimate_rows(self, entity: str) -> int | None:
        """About how many records an entity has; None where nobody has looked."""
        rows: int | None = await queries.get_row_estimate(self.connection, entity=entity)
        return rows

    async def insert_export(self, run: int, asked: tuple[str, str, str], author: str, keep: float) -> None:
        """Note what a run exports: entity, format, compression; kept for so many seconds."""
        await queries.insert_export(
            self.connection,
            run=run,
            entity=asked[0],
            format=asked[1],
            compression=asked[2],
            author=author,
            keep=keep,
        )

    async def update_exported(self, run: int, file: tuple[str, str, int], closing: Closing, keep: float) -> None:
        """Note the file of an export: machine, name, bytes; kept for so many seconds from now."""
        await queries.update_exported(
            self.connection,
            run=run,
            host=file[0],
            file=file[1],
            size=file[2],
            rows=closing.rows,
            sequence=closing.sequence,
            sha256=closing.sha256,
            content_sha256=closing.content_sha256,
            keep=keep,
        )

    async def get_export(self, run: int) -> Export | None:
        """An export with its run."""
        row = await queries.get_export(self.connection, run=run)
        return None if row is None else Export(**row)

    async def list_exports(
        self, entities: Sequence[str] | None, entity: str | None, before: int | None, size: int
    ) -> list[Export]:
        """Exports of these entities (None: all) with their runs, of ids below `before`, the newest first."""
        rows = await queries.list_exports(self.connection, entities=entities, entity=entity, before=before, size=size)
        return [Export(**row) for row in rows]

    async def delete_export(self, run: int) -> bool:
        """Forget an export; tells whether it was there."""
        return bool(await queries.delete_export(self.connection, run=run))

    async def delete_expired(self) -> int:
        """Forget exports that expired; gives how many."""
        return int(await queries.delete_expired_exports(self.connection))

    async def list_wanted(self, runs: Sequence[int]) -> dict[int, tuple[str | None, int | None]]:
        """Of each export the name of its file, and the epoch of who is writing it."""
        rows = await queries.list_wanted_files(self.connection, runs=list(runs))
        return {row["run"]: (row["file"], row["epoch"] if row["writing"] else None) for row in rows}

"""Statements of the sync room, bound to the database `nms`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from nms.common.db.queries import load
from nms.common.db.repositories import BaseNmsRepository
from nms.common.ledger import Captured, Link, State
from nms.sync.models import (
    ChangeFilter,
    Conflicted,
    Pipeline,
    Quarantined,
    Resolution,
    Selection,
    SentChange,
)

queries = load("nms.sync")
Keys = set[tuple[str, str]]


class SyncRepository(BaseNmsRepository):
    """Pipelines and their quarantine."""

    async def upsert_pipeline(self, name: str, revision: int, checksum: str, documents: Mapping[str, Any]) -> Pipeline:
        """Take over the documents of a pipeline."""
        row = await queries.upsert_pipeline(
            self.connection, name=name, revision=revision, checksum=checksum, documents=dict(documents)
        )
        return Pipeline.model_validate(dict(row))

    async def get_pipeline(self, name: str) -> Pipeline | None:
        """A pipeline, or None."""
        return _pipeline(await queries.get_pipeline(self.connection, name=name))

    async def get_documents(self, name: str) -> dict[str, Any] | None:
        """The documents a pipeline was last started with."""
        documents: dict[str, Any] | None = await queries.get_pipeline_documents(self.connection, name=name)
        return documents

    async def list_pipelines(self, after: str = "", size: int = 1000) -> list[Pipeline]:
        """Pipelines by name, after a name."""
        rows = await queries.list_pipelines(self.connection, after=after, size=size)
        return [Pipeline.model_validate(dict(row)) for row in rows]

    async def claim_adoption(self) -> None:
        """Wait for other adoptions to end; until the transaction ends, this one is alone."""
        await queries.claim_adoption(self.connection)

    async def mark_adopted(self, revision: int) -> None:
        """Note that the pipelines follow this revision."""
        await queries.mark_adopted(self.connection, revision=revision)

    async def get_adopted(self) -> int | None:
        """The revision that the pipelines follow; None before any."""
        revision: int | None = await queries.get_adopted(self.connection)
        return revision

    async def read_clock(self) -> datetime:
        """The clock of the own database, by which `updated_at` was written."""
        moment: datetime = await queries.get_clock(self.connection)
        return moment

    async def list_checksums(self) -> dict[str, tuple[str, str]]:
        """Checksum and wanted state by name."""
        rows = await queries.list_checksums(self.connection)
        return {row["name"]: (row["checksum"], row["wanted"]) for row in rows}

    async def update_wanted(self, name: str, wanted: str) -> Pipeline | None:
        """Say what is wanted of a pipeline."""
        return _pipeline(await queries.update_wanted(self.connection, name=name, wanted=wanted))

    async def update_generation(self, name: str) -> Pipeline | None:
        """Begin a new generation."""
        return _pipeline(await queries.update_generation(self.connection, name=name))

    async def mark_removed(self, name: str) -> Pipeline | None:
        """Begin to remove a pipeline."""
        return _pipeline(await queries.mark_removed(self.connection, name=name))

    async def update_status(
        self, name: str, phase: str, position: Mapping[str, Any] | None, facts: tuple[Any, Any, int]
    ) -> int:
        """Write where a pipeline stands; `facts` are its status, its problem and the newest ask that was served.

        Gives the number of the newest ask.
        """
        status, problem, rounded = facts
        asked: int | None = await queries.update_status(
            self.connection, name=name, phase=phase, position=position, status=status, problem=problem, rounded=rounded
        )
        return asked or 0

    async def get_capture(self, name: str) -> str | None:
        """How a pipeline captures changes; None when there is none of this name."""
        capture: str | None = await queries.get_capture(self.connection, name=name)
        return capture

    async def claim_round(self, name: str) -> None:
        """Ask for a round; who asks at the same time waits until the transaction ends."""
        await queries.claim_round(self.connection, name=name)

    async def get_asked(self, name: str) -> int | None:
        """The number of the newest ask, when everybody who asks just now has done so."""
        asked: int | None = await queries.get_asked(self.connection, name=name)
        return asked

    async def get_round(self, name: str) -> tuple[int, int] | None:
        """The numbers of the newest ask, and of the newest that was served."""
        row = await queries.get_round(self.connection, name=name)
        return None if row is None else (row["asked"], row["rounded"])

    async def mark_withdrawn(self, name: str, number: int) -> bool:
        """Have an ask that nobody waits for count as served; gives whether a round must be broken off for it."""
        return bool(await queries.mark_withdrawn(self.connection, name=name, number=number))

    async def claim_guard(self) -> bool:
        """Whether this transaction is the one that looks at the slots now."""
        claimed: bool = await queries.claim_guard(self.connection)
        return claimed

    async def list_guarded(self) -> list[tuple[str, int, dict[str, Any], dict[str, Any] | None]]:
        """Pipelines that may have a slot: name, generation, documents, alarm."""
        rows = await queries.list_guarded(self.connection)
        return [(row["name"], row["generation"], row["documents"], row["alarm"]) for row in rows]

    async def claim_guarded(self, name: str, generation: int) -> bool | None:
        """Keep a pipeline in its generation until this transaction ends: whether it was told that its slot is given up.

        None when another generation has begun or the pipeline is being removed.
        """
        row = await queries.claim_guarded(self.connection, name=name, generation=generation)
        return None if row is None else bool(row["told"])

    async def update_alarm(self, name: str, alarm: Mapping[str, Any] | None) -> None:
        """Raise an alarm of a pipeline, or end it."""
        await queries.update_alarm(self.connection, name=name, alarm=alarm)

    async def mark_released(self, name: str, problem: Mapping[str, Any]) -> None:
        """Halt a pipeline whose slot is given up."""
        await queries.mark_released(self.connection, name=name, problem=dict(problem))

    async def get_position(self, pipeline: str) -> dict[str, Any] | None:
        """Where a pipeline stands whose target cannot keep it."""
        position: dict[str, Any] | None = await queries.get_position(self.connection, pipeline=pipeline)
        return position

    async def upsert_position(self, pipeline: str, position: Mapping[str, Any]) -> None:
        """Write where such a pipeline stands."""
        await queries.upsert_position(self.connection, pipeline=pipeline, position=dict(position))

    async def delete_pipeline(self, name: str) -> None:
        """Forget a removed pipeline, its position, its quarantine and its changes."""
        await queries.delete_position(self.connection, pipeline=name)
        await queries.delete_quarantine(self.connection, pipeline=name)
        # A pipeline of the same name begins with the first generation again: it must not take over what was sent.
        await queries.delete_changes(self.connection, pipeline=name)
        await queries.delete_change_counts(self.connection, pipeline=name)
        await queries.delete_all_records(self.connection, pipeline=name)
        await queries.delete_conflicts(self.connection, pipeline=name)
        await queries.delete_pipeline(self.connection, name=name)

    async def insert_quarantined(self, values: Mapping[str, Any]) -> int:
        """Hold a change; gives how many were written: with `once` none that is equal to the one held before it."""
        count: int = await queries.insert_quarantined(self.connection, **values)
        return count

    async def insert_message(self, values: Mapping[str, Any]) -> int:
        """Hold a message that cannot be read, unless it is held already; gives how many were written."""
        count: int = await queries.insert_held_message(self.connection, **values)
        return count

    async def list_held_keys(self, pipeline: str) -> Keys:
        """Dataset and key of everything held."""
        rows = await queries.list_held_keys(self.connection, pipeline=pipeline)
        return {(row["dataset"], row["key"]) for row in rows}

    async def delete_unwritten(self, pipeline: str, place: int) -> int:
        """Forget what was held for batches that the target never committed."""
        count: int = await queries.delete_unwritten(self.connection, pipeline=pipeline, place=place)
        return count

    async def mark_truncated(self, pipeline: str, dataset: str) -> int:
        """Drop what is held of a dataset that the source emptied; gives how many changes that were."""
        count: int = await queries.mark_truncated(self.connection, pipeline=pipeline, dataset=dataset)
        return count

    async def mark_superseded(self, pipeline: str, generation: int) -> None:
        """Drop what older generations held."""
        await queries.mark_superseded(self.connection, pipeline=pipeline, generation=generation)

    async def list_quarantine(
        self, pipeline: str, state: str | None = None, before: int | None = None, size: int = 100
    ) -> list[Quarantined]:
        """Held changes, newest first."""
        rows = await queries.list_quarantine(self.connection, pipeline=pipeline, state=state, before=before, size=size)
        return [Quarantined.model_validate(dict(row)) for row in rows]

    async def count_held(self, pipeline: str) -> int:
        """How many changes are held."""
        count: int = await queries.count_held(self.connection, pipeline=pipeline)
        return count

    async def mark_asked(self, pipeline: str, selection: Selection, state: str) -> int:
        """Ask for the replay or drop of a key and those that moves connect to it, or of all; gives how many changes."""
        count: int = await queries.mark_asked(
            self.connection, pipeline=pipeline, dataset=selection.dataset, key=selection.key, state=state
        )
        return count

    async def list_asked(self, pipeline: str) -> list[dict[str, Any]]:
        """Changes that somebody asked to replay or drop, oldest first."""
        return [dict(row) for row in await queries.list_asked(self.connection, pipeline=pipeline)]

    async def mark_settled(self, ids: Sequence[int], state: str) -> None:
        """Write that changes were replayed or dropped."""
        await queries.mark_settled(self.connection, ids=list(ids), state=state)

    async def mark_held_again(self, ids: Sequence[int], problem: Mapping[str, Any]) -> None:
        """Write that a replay was refused again."""
        await queries.mark_held_again(self.connection, ids=list(ids), problem=dict(problem))

    async def list_known(self, pipeline: str, identities: Sequence[str]) -> dict[str, State]:
        """The states of those of these changes that need not be sent again."""
        rows = await queries.list_known(self.connection, pipeline=pipeline, identities=list(identities))
        return {row["identity"]: row["state"] for row in rows}

    async def insert_changes(self, pipeline: str, generation: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write changes down before they are sent."""
        await queries.insert_changes(self.connection, pipeline=pipeline, generation=generation, rows=list(rows))

    async def mark_changes(self, pipeline: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write what became of changes that were sent."""
        await queries.mark_changes(self.connection, pipeline=pipeline, rows=list(rows))

    async def delete_unsent(self, pipeline: str, identities: Sequence[str]) -> None:
        """Forget changes that were begun and not sent, with those folded into them."""
        await queries.delete_unsent(self.connection, pipeline=pipeline, identities=list(identities))

    async def list_unanswered(self, pipeline: str) -> list[Captured]:
        """Changes that were begun and not settled, oldest first."""
        rows = await queries.list_unanswered(self.connection, pipeline=pipeline)
        return [
            Captured(
                row["identity"], row["dataset"], row["key"], row["op"], plan=row["plan"], into=row["folded_into"]
            )
            for row in rows
        ]  # fmt: skip

    async def list_forbidden(self, pipeline: str, dataset: str, method: str) -> list[str]:
        """Marks of the newest writes that were answered 403 or 405, with none answered well after them."""
        rows = await queries.list_forbidden(self.connection, pipeline=pipeline, dataset=dataset, method=method)
        return [row["mark"] for row in rows]

    async def list_change_counts(self, pipeline: str) -> dict[str, int]:
        """How many changes there were, by state."""
        rows = await queries.list_change_counts(self.connection, pipeline=pipeline)
        return {row["state"]: row["changes"] for row in rows}

    async def list_changes(
        self, pipeline: str, wanted: ChangeFilter, before: int | None, size: int
    ) -> list[SentChange]:
        """Changes of a pipeline, the newest first, those before an id."""
        rows = await queries.list_changes(
            self.connection, pipeline=pipeline, dataset=wanted.dataset, key=wanted.key, state=wanted.state,
            since=wanted.since, until=wanted.until, text=wanted.text, before=before, size=size,
        )  # fmt: skip
        return [SentChange.model_validate(dict(row)) for row in rows]

    async def get_change(self, pipeline: str, change: int) -> SentChange | None:
        """One change of a pipeline, or None."""
        row = await queries.get_change(self.connection, pipeline=pipeline, id=change)
        return None if row is None else SentChange.model_validate(dict(row))

    async def delete_old_changes(self, age: float, size: int) -> int:
        """Forget changes that were settled so many seconds ago, at most `size`; gives how many that were."""
        count: int = await queries.delete_old_changes(self.connection, age=age, size=size)
        return count

    async def list_records(self, pipeline: str, dataset: str, place: str, keys: Sequence[str]) -> list[Link]:
        """What is known of records at a place of the remote."""
        found = queries.list_records(self.connection, pipeline=pipeline, dataset=dataset, place=place, keys=list(keys))
        return [Link(dataset, row["key"], row["remote"], row["base"], row["tag"], place) for row in await found]

    async def list_keys_elsewhere(self, pipeline: str, dataset: str, place: str, keys: Sequence[str]) -> set[str]:
        """Those of some keys whose records are known at another place of the remote."""
        found = queries.list_keys_elsewhere(
            self.connection, pipeline=pipeline, dataset=dataset, place=place, keys=list(keys)
        )
        return {row["key"] for row in await found}

    async def upsert_records(self, pipeline: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep what is known of records at the remote."""
        await queries.upsert_records(self.connection, pipeline=pipeline, rows=list(rows))

    async def delete_records(self, pipeline: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Forget records that are gone."""
        await queries.delete_records(self.connection, pipeline=pipeline, rows=list(rows))

    async def insert_conflicts(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Keep conflicts that are settled, those that are kept already once."""
        await queries.insert_conflicts(self.connection, entries=list(entries))

    async def upsert_waiting(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Keep conflicts that wait, one a record."""
        await queries.upsert_waiting(self.connection, entries=list(entries))

    async def list_waiting(self, pipeline: str) -> list[tuple[str, tuple[str, ...], dict[str, Any] | None]]:
        """Dataset, key and decision (None: not yet) of what waits."""
        rows = await queries.list_waiting(self.connection, pipeline=pipeline)
        return [(row["dataset"], tuple(row["key"]), row["take"]) for row in rows]

    async def mark_conflicts_settled(self, pipeline: str, dataset: str, keys: Sequence[Sequence[str]]) -> None:
        """Write that what waited of these records is settled."""
        listed = [list(key) for key in keys]
        await queries.mark_conflicts_settled(self.connection, pipeline=pipeline, dataset=dataset, keys=listed)

    async def list_conflicts(
        self, pipeline: str | None, state: str | None, before: int | None, size: int
    ) -> list[Conflicted]:
        """Conflicts, newest first."""
        rows = await queries.list_conflicts(self.connection, pipeline=pipeline, state=state, before=before, size=size)
        return [Conflicted.model_validate(dict(row)) for row in rows]

    async def get_conflict(self, number: int) -> Conflicted | None:
        """A conflict, or None."""
        row = await queries.get_conflict(self.connection, id=number)
        return None if row is None else Conflicted.model_validate(dict(row))

    async def mark_settling(self, number: int, take: Resolution) -> Conflicted | None:
        """Write what somebody decided; None where the conflict no longer waits."""
        told = take.model_dump(exclude_none=True)
        row = await queries.mark_settling(self.connection, id=number, take=told)
        return None if row is None else Conflicted.model_validate(dict(row))


def _pipeline(row: Any) -> Pipeline | None:
    return None if row is None else Pipeline.model_validate(dict(row))

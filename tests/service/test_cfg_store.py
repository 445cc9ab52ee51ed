"""The document store on a real database: revisions, all or nothing, one writer at a time."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from nms.cfg import standing
from nms.cfg.documents import apply_changeset, get_document, plan_changeset, store_changeset
from nms.cfg.models import Action, Changeset, Mark, Plan
from nms.cfg.problems import RevisionMoved
from nms.cfg.repository import DocumentRepository, checksum
from nms.cfg.text import Draft
from nms.cfg.turn import in_turn
from nms.common.configuration import current_documents
from nms.common.db.pool import MAX_SIZE
from nms.common.db.problems import LockTimeout
from nms.common.document import normal_form, parse_document
from nms.common.problem import Malformed, NotFound
from nms.common.settings import Settings
from tests.waiting import eventually

BILLING = {"kind": "system", "name": "billing", "type": "postgres", "dsn": "env://BILLING_DSN"}
CRM = {"kind": "system", "name": "crm", "type": "postgres", "dsn": "env://CRM_DSN"}
PIPELINE: dict[str, Any] = {
    "kind": "pipeline",
    "name": "subscriptions",
    "source": "billing",
    "target": "crm",
    "datasets": [{"source": '"My ""odd"" schema"."Täble"', "fields": {"z": "a", "a": "🙂", "é/~": "b"}, "key": ["z"]}],
}


def changeset(*bodies: dict[str, Any], **parts: Any) -> Changeset:
    return Changeset([Draft(body) for body in bodies], **parts)


async def is_waited_for(repository: DocumentRepository, count: int = 1) -> bool:
    """Whether so many writers wait for another one in the database."""
    waiting = "select count(*) from pg_locks where not granted and relation = 'cfg.revision'::regclass"
    return bool(await repository.connection.fetchval(waiting) == count)


@pytest.fixture
async def repository(settings: Settings) -> DocumentRepository:
    return await DocumentRepository.open()


async def test_what_is_applied_is_what_other_rooms_read(repository: DocumentRepository) -> None:
    assert (await current_documents(repository)).revision == 0
    plan = await apply_changeset(repository, changeset(PIPELINE, CRM, BILLING, message="first", author="ada"))
    configuration = await current_documents(repository)
    assert configuration.revision == plan.revision
    assert set(configuration.systems) == {"billing", "crm"}
    assert configuration.pipeline("subscriptions") == plan.documents["pipeline", "subscriptions"]
    assert configuration.pipeline("subscriptions").datasets[0].fields == PIPELINE["datasets"][0]["fields"]
    revision = await repository.get_revision(plan.revision)
    assert revision is not None
    assert (revision.author, revision.message) == ("ada", "first")


async def test_an_entity_is_named_as_a_path_and_keeps_the_order_of_its_fields(repository: DocumentRepository) -> None:
    fields = {"status": {"type": "text"}, "id": {"type": "bigint"}}
    entity = {"kind": "entity", "name": "subscription_status", "key": "id", "fields": fields}
    await apply_changeset(repository, changeset(entity))
    stored = (await current_documents(repository)).entities["subscription_status"]
    assert list(stored.fields) == ["status", "id"]


async def test_applying_the_same_again_makes_no_revision(repository: DocumentRepository) -> None:
    first = await apply_changeset(repository, changeset(BILLING, CRM, PIPELINE))
    again = await apply_changeset(repository, changeset(PIPELINE, BILLING))
    assert (again.revision, again.differences) == (first.revision, ())
    assert len(await repository.list_revisions(None, 10)) == 1
    assert await repository.connection.fetchval("select count(*) from common.outbox") == 1


async def test_one_fault_keeps_everything_out(repository: DocumentRepository) -> None:
    with pytest.raises(Malformed):
        await apply_changeset(repository, changeset(BILLING, {**CRM, "password": "plain"}))
    with pytest.raises(Malformed):
        await apply_changeset(repository, changeset(BILLING, message="zero \0 byte"))
    assert (await current_documents(repository)).revision == 0
    assert await repository.connection.fetchval("select count(*) from common.outbox") == 0


async def test_prune_removes_and_history_stays(repository: DocumentRepository) -> None:
    await apply_changeset(repository, changeset(BILLING, CRM, PIPELINE))
    plan = await apply_changeset(repository, changeset(BILLING, prune=True))
    assert {(each.action, each.name) for each in plan.differences} == {
        (Action.REMOVE, "crm"),
        (Action.REMOVE, "subscriptions"),
    }
    assert [each.name for each in await repository.list_documents()] == ["billing"]
    with pytest.raises(NotFound):
        await get_document(repository, "system", "crm")
    changed = await repository.list_documents_between(plan.revision - 1, plan.revision)
    assert [(name, after) for (_, name), (_, after) in changed.items()] == [("subscriptions", None), ("crm", None)]
    before, _ = changed["system", "crm"]
    assert before is not None
    assert before["dsn"] == CRM["dsn"]
    back = await apply_changeset(repository, changeset(CRM))
    assert [(each.action, each.name) for each in back.differences] == [(Action.ADD, "crm")]
    document, newest = await get_document(repository, "system", "crm")
    assert document.revision == newest == back.revision


async def test_a_stale_base_changes_nothing(repository: DocumentRepository) -> None:
    first = await apply_changeset(repository, changeset(BILLING, base=0))
    second = await apply_changeset(repository, changeset(CRM, base=first.revision))
    with pytest.raises(RevisionMoved) as caught:
        await apply_changeset(repository, changeset(PIPELINE, base=first.revision))
    assert caught.value.revision == second.revision
    assert (await current_documents(repository)).revision == second.revision


async def test_of_many_writers_on_one_base_one_wins(repository: DocumentRepository) -> None:
    bodies = [{**BILLING, "name": f"system-{number}"} for number in range(8)]
    answers = await asyncio.gather(
        *(apply_changeset(repository, changeset(body, base=0)) for body in bodies), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in answers) == ["Plan"] + ["RevisionMoved"] * 7
    assert len((await current_documents(repository)).systems) == 1


async def test_writers_without_a_base_all_get_through(repository: DocumentRepository) -> None:
    bodies = [{**BILLING, "name": f"system-{number}"} for number in range(8)]
    await asyncio.gather(*(apply_changeset(repository, changeset(body)) for body in bodies))
    configuration = await current_documents(repository)
    assert (len(configuration.systems), len(await repository.list_revisions(None, 99))) == (8, 8)


async def test_writers_cannot_slip_a_shared_table_past_each_other(repository: DocumentRepository) -> None:
    await apply_changeset(repository, changeset(BILLING, CRM))
    twins = [{**PIPELINE, "name": f"twin-{number}"} for number in range(5)]

    async def write(body: Any) -> Plan:
        # As in a process of its own, without a turn.
        async with repository.transaction() as tx:
            await tx.lock_revisions()
            return await store_changeset(tx, changeset(body))

    async with repository.transaction() as first:
        await first.lock_revisions()
        tasks = [asyncio.create_task(write(body)) for body in twins]
        await eventually(lambda: is_waited_for(repository, len(twins)))
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(type(each).__name__ for each in answers) == ["Malformed"] * 4 + ["Plan"]


async def test_writers_who_wait_leave_readers_a_connection(repository: DocumentRepository) -> None:
    async with repository.transaction() as first:
        await first.lock_revisions()
        bodies = [{**BILLING, "name": f"system-{number}"} for number in range(2 * MAX_SIZE)]
        tasks = [asyncio.create_task(apply_changeset(repository, changeset(body))) for body in bodies]
        await eventually(lambda: is_waited_for(repository))
        assert await asyncio.wait_for(repository.list_revisions(None, 1), 60) == []
    assert len(await asyncio.gather(*tasks)) == len(bodies)


async def test_what_is_kept_in_memory_is_what_is_stored(repository: DocumentRepository) -> None:
    """A revision that was rolled back comes again by number, with other documents."""
    await apply_changeset(repository, changeset(BILLING, CRM))
    with suppress(ZeroDivisionError):
        async with repository.transaction() as tx:
            await tx.lock_revisions()
            await store_changeset(tx, changeset({**CRM, "name": "undone"}))
            raise ZeroDivisionError
    # Another process makes that number, and one more.
    other = {**normal_form(parse_document(BILLING)), "dsn": "env://OTHER"}
    await repository.insert_revision("other", "", {("system", "billing"): other})
    await repository.insert_revision("other", "", {("system", "crm"): None})
    for ask in (plan_changeset, apply_changeset, plan_changeset):
        plan = await ask(repository, changeset(CRM, BILLING))
        named = {each.name: each.action.value for each in plan.differences}
        assert named == ({} if plan.revision == 4 and ask is plan_changeset else {"billing": "change", "crm": "add"})
    assert [each.name for each in (await current_documents(repository)).systems.values()] == ["billing", "crm"]


async def test_a_document_that_came_into_a_revision_past_us_is_seen(repository: DocumentRepository) -> None:
    await apply_changeset(repository, changeset(BILLING))
    foreign = "insert into cfg.document (kind, name, revision, body, checksum) values ('system', 'crm', 1, $1, 'x')"
    await repository.connection.execute(foreign, {**CRM, "dsn": "env://FOREIGN"})
    (found,) = (await plan_changeset(repository, changeset(CRM))).differences
    assert (found.action, found.name) == (Action.CHANGE, "crm")
    (gone,) = (await apply_changeset(repository, changeset(BILLING, prune=True))).differences
    assert (gone.action, gone.name) == (Action.REMOVE, "crm")


async def test_a_reader_who_is_overtaken_needs_nothing_of_what_was_rolled_back(
    repository: DocumentRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (await apply_changeset(repository, changeset(BILLING))).revision
    last = (await apply_changeset(repository, changeset(CRM))).revision
    gone = Mark(first, datetime.now(UTC), "1", 1)
    monkeypatch.setattr(standing, "_kept", {gone: standing.Standing.of(first)})

    class Overtaken(DocumentRepository):
        async def get_mark(self, revision: int) -> Mark | None:
            found = await super().get_mark(revision)
            await plan_changeset(repository, changeset(BILLING))
            return found

    plan = await plan_changeset(Overtaken(repository.connection), changeset(BILLING, CRM))
    assert (plan.revision, plan.differences) == (last, ())


async def test_who_waits_long_for_a_turn_is_told_so_and_the_turn_is_given_on(
    repository: DocumentRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nms.cfg.turn.ACQUIRE_SECONDS", 0.01)
    async with in_turn():
        with pytest.raises(LockTimeout):
            await apply_changeset(repository, changeset(BILLING))
    monkeypatch.undo()
    assert (await apply_changeset(repository, changeset(CRM))).revision == 1


async def test_documents_that_stay_are_parsed_once(repository: DocumentRepository) -> None:
    await apply_changeset(repository, changeset(BILLING, CRM, PIPELINE))
    before = (await plan_changeset(repository, changeset())).documents
    changed = await apply_changeset(repository, changeset({**CRM, "dsn": "env://OTHER"}))
    await repository.insert_revision("other", "", {("pipeline", "subscriptions"): None})
    after = (await plan_changeset(repository, changeset())).documents
    assert after["system", "billing"] is changed.documents["system", "billing"] is before["system", "billing"]
    assert after.keys() == before.keys() - {("pipeline", "subscriptions")}


async def test_a_plan_stores_nothing_and_waits_for_no_writer(repository: DocumentRepository) -> None:
    async with repository.transaction() as writer:
        await writer.lock_revisions()
        plan = await asyncio.wait_for(plan_changeset(repository, changeset(BILLING)), 60)
    assert [each.name for each in plan.differences] == ["billing"]
    assert (await current_documents(repository)).revision == 0


async def test_a_revision_is_announced_in_its_transaction(repository: DocumentRepository, database: str) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(database)
    try:
        await listener.add_listener("nms_cfg", lambda *call: heard.put_nowait(str(call[-1])))
        plan = await apply_changeset(repository, changeset(BILLING, CRM))
        assert await asyncio.wait_for(heard.get(), 60) == str(plan.revision)
    finally:
        await listener.close()
    (event,) = await repository.connection.fetch("select type, payload from common.outbox")
    assert event["type"] == "cfg.documents.published"
    assert event["payload"]["revision"] == plan.revision


async def test_history_cannot_be_rewritten(repository: DocumentRepository) -> None:
    await apply_changeset(repository, changeset(BILLING))
    for statement in (
        "update cfg.document set body = body || '{}'",
        "delete from cfg.document",
        "update cfg.revision set author = 'x'",
        "delete from cfg.revision",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await repository.connection.execute(statement)


async def test_one_unreadable_document_leaves_its_neighbours_alone(repository: DocumentRepository) -> None:
    await apply_changeset(repository, changeset(BILLING, CRM, PIPELINE))
    body = {"kind": "system", "name": "crm", "type": "teleport"}
    await repository.insert_revision("later", "", {("system", "crm"): body})
    configuration = await current_documents(repository)
    assert set(configuration.systems) == {"billing"}
    assert configuration.pipeline("subscriptions").target == "crm"
    with pytest.raises(Malformed):
        configuration.system("crm")
    with pytest.raises(NotFound, match="no system named erp"):
        configuration.system("erp")


async def test_a_stored_checksum_is_that_of_its_body(repository: DocumentRepository) -> None:
    await apply_changeset(repository, changeset(BILLING, CRM, PIPELINE))
    for record in await repository.connection.fetch("select body, checksum from cfg.current_document"):
        assert checksum(record["body"]) == record["checksum"]

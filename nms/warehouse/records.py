"""The use cases that write single records, each in one transaction."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from nms.common.db.problems import TOO_LARGE, TransactionConflict, ValueRefused
from nms.common.document import EntityDocument
from nms.common.idempotency import Answer, Once, answer_once
from nms.common.problem import NOTHING_HERE, Malformed, NotFound, Pointer
from nms.warehouse.condition import Conditions
from nms.warehouse.lineage import Held
from nms.warehouse.problems import KeysUsedUp, RecordExists
from nms.warehouse.record import Key, read_new, read_patch, read_whole, write_key
from nms.warehouse.repository import RecordRepository
from nms.warehouse.write import Writing

MADE: Final[Mapping[str, int]] = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}
"""Types of keys that are made by counting, and what is too large for them."""
LOCK_SECONDS = 5.0
"""No caller waits for longer behind a writer that holds the record."""
_TRIES: Final = 5
Members = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of the records of an entity: under which conditions, once or not, and how it is answered.

    Who may not read the entity gets no record back. `root` is what stands in front of the role's own paths.
    """

    document: EntityDocument
    writing: Writing
    conditions: Conditions
    once: Once | None
    is_reader: bool = True
    lineage: bool = False
    root: str = ""

    def path_of(self, key: Key) -> str:
        """Where a record is."""
        return f"{self.root}/{self.document.name}/{write_key(key)}"

    def answer(self, held: Held, created: Key | None = None) -> Answer:
        """The answer to a write: the record as it is now."""
        headers = {"ETag": held.etag} | ({"Location": self.path_of(created)} if created else {})
        return self.veil(Answer(201 if created else 200, held.shown(lineage=self.lineage), headers))

    def veil(self, answer: Answer) -> Answer:
        """An answer without its record for who may not read it, also where it was kept for who might."""
        if self.is_reader or answer.body is None:
            return answer
        return Answer(204 if answer.status == 200 else answer.status, None, answer.headers)


async def create_record(repository: RecordRepository, order: Order, members: Members) -> Answer:
    """Add a record; its key is made where that can be. Raises Malformed, RecordExists, KeysUsedUp."""
    document = order.document
    made = made_type(document)
    texts = read_new(document, members, made=made is not None)
    counted = made in MADE and texts[document.key[0]] is None

    async def act(tx: RecordRepository) -> Answer:
        for _ in range(_TRIES):
            if counted:
                texts[document.key[0]] = await _take_number(tx, document)
            elif made == "uuid" and texts[document.key[0]] is None:
                texts[document.key[0]] = str(uuid4())
            held = await tx.insert(order.writing, texts)
            if held is not None:
                return order.answer(held, tuple(texts[name] or "" for name in document.key))
            if not counted:
                raise RecordExists(f"There is a record of {document.name} under this key.")
            await tx.mark_keys(document.name, document.key[0])
        raise TransactionConflict("Others take the keys that are made here.")

    return await _written(repository, order, act)


async def replace_record(repository: RecordRepository, order: Order, key: Key, members: Members) -> Answer:
    """Make the record of a key be this one, whether or not there was one. Raises Malformed, PreconditionFailed."""
    texts = read_whole(order.document, members, key)
    rest = {name: texts[name] for name in order.writing.rest}

    async def act(tx: RecordRepository) -> Answer:
        for _ in range(_TRIES):
            held = await tx.lock(order.writing, key)
            order.conditions.check(held)
            if held is not None:
                return order.answer(await tx.update(order.writing, key, rest) or held)
            held = await tx.insert(order.writing, texts)
            if held is not None:
                return order.answer(held, key)
        raise TransactionConflict("Others create and delete this record all the time.")

    return await _written(repository, order, act)


async def patch_record(repository: RecordRepository, order: Order, key: Key, members: Members) -> Answer:
    """Change what a merge patch (RFC 7396) gives. Raises NotFound, Malformed, PreconditionFailed."""

    async def act(tx: RecordRepository) -> Answer:
        held = await _find(tx, order, key)
        texts = read_patch(order.document, members, key, held.json.encode())
        return order.answer(await tx.update(order.writing, key, texts) or held)

    return await _written(repository, order, act)


async def delete_record(repository: RecordRepository, order: Order, key: Key) -> Answer:
    """Delete the record of a key. Raises NotFound, PreconditionFailed."""

    async def act(tx: RecordRepository) -> Answer:
        await _find(tx, order, key)
        await tx.delete(order.writing, key)
        return Answer(204)

    return await _written(repository, order, act)


async def _find(tx: RecordRepository, order: Order, key: Key) -> Held:
    held = await tx.lock(order.writing, key)
    order.conditions.check(held)
    if held is None:
        raise NotFound(NOTHING_HERE)
    return held


async def _written(
    repository: RecordRepository, order: Order, act: Callable[[RecordRepository], Awaitable[Answer]]
) -> Answer:
    async with repository.transaction() as tx:
        await tx.begin(LOCK_SECONDS)
        try:
            return order.veil(await answer_once(tx, order.once, lambda: act(tx)))
        except ValueRefused as problem:
            raise _explained(problem, order.document) from None


def made_type(document: EntityDocument) -> str | None:
    """The type of the key where one can be made."""
    type_ = document.fields[document.key[0]].type
    return type_ if len(document.key) == 1 and (type_ == "uuid" or type_ in MADE) else None


async def _take_number(tx: RecordRepository, document: EntityDocument) -> str:
    field = document.key[0]
    try:
        number = await tx.take_key(document.name)
    except ValueRefused:
        number = MADE["bigint"]
    if number >= MADE[document.fields[field].type]:
        raise KeysUsedUp(f"All keys of {document.name} up to the greatest one are taken.")
    return str(number)


def _explained(problem: ValueRefused, document: EntityDocument) -> Malformed | ValueRefused:
    """What PostgreSQL found and we did not: a text too long for its index, by its own measure once it is packed."""
    if problem.facts.get("sqlstate") != TOO_LARGE:
        return problem
    told = "an index holds about 2,600 bytes of a text with the key behind it, packed"
    names = [name for name, field in document.fields.items()
             if field.type == "text" and (field.index or field.search or name in document.key)]  # fmt: skip
    return Malformed("A text is too long for its index.", pointers=[Pointer(f"/{name}", told) for name in names])

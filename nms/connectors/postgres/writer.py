"""Writes the changes of one table: as single statements in source order, or staged and set-based."""

from collections.abc import Iterable, Sequence
from struct import Struct

from nms.common.change import NULL, UNCHANGED, Change, Field, Op, Shape, split_key
from nms.common.flow import Page
from nms.connectors.postgres import statements
from nms.connectors.postgres.libpq import Command, Statement
from nms.connectors.postgres.pages.statements import callable_members, upsert_page
from nms.connectors.postgres.statements import TargetTable

_TEXT_OID = 25
_JSON_OID = 114
_int16 = Struct("!H")


class Writer:
    """One shape's way into one target table; `number` orders parents before children, and names what it makes.

    `heals` says that the update of a row that the target does not have writes it. `steps` are statements that the
    target needs before the first change, behind those of the shape that came before (`after`); `kept` (dataset, JSON)
    is what is stored of the table with them.
    """

    def __init__(self, number: int, shape: Shape, table: TargetTable, oids: Sequence[int], *, heals: bool) -> None:
        self.number = number
        self.shape = shape
        self.table = table
        self.steps: tuple[str, ...] = ()
        self.kept: tuple[str, str] | None = None
        self.after: Shape | None = None
        self._heals = heals
        self._oids = [_TEXT_OID] * len(oids) if table.text_form else list(oids)
        self._statements: dict[object, Statement] = {}
        self._partials: dict[tuple[bool, tuple[int, ...]], int] = {}
        self._row_head = _int16.pack(len(shape.columns) + 1)
        self._all = tuple(range(len(shape.columns)))
        names = [column.name for column in shape.columns]
        self._takes_pages = heals and table.text_form and bool(shape.key) and callable_members(names)
        self._key_oids = tuple(self._oids[at] for at in shape.key)

    # -- one at a time, in source order

    def commands(self, change: Change) -> list[Command]:
        """The statements that do one change other than a truncate."""
        if change.op is Op.DELETE:
            known = self._statements.get("delete")
            return [command_of(known or self._statement("delete", statements.delete_row(self.table), self._key_oids),
                             split_key(change.key))]  # fmt: skip
        if change.old_key is not None:
            return self._move(change, change.old_key)
        if self._only_updates(change):
            present = self._written(change)
            return [self._update(present, change.values, change.key)] if present else []
        if UNCHANGED in change.values:
            return self._insert_present(change)
        known = self._statements.get("insert")
        known = known or self._statement("insert", statements.insert_row(self.table), self._oids)
        return [command_of(known, change.values)]

    def _insert_present(self, change: Change) -> list[Command]:
        present, written = self._present(change), self._written(change)
        absent = self._lacks(present)
        sql, types = statements.insert_row(self.table, present, absent=absent), [self._oids[at] for at in present]
        insert = command_of(self._statement(("insert", present), sql, types), [change.values[at] for at in present])
        if not absent or not written:
            return [insert]
        return [self._update(written, change.values, change.key), insert]

    def _lacks(self, present: Sequence[int]) -> bool:
        """Whether a row of these columns cannot be new, but may be an update of one that is there."""
        return bool(self.shape.key) and not self.table.required <= set(present)

    def _move(self, change: Change, old_key: bytes) -> list[Command]:
        # An update, so that values left out as unchanged stay; the insert heals a row the target does not have.
        moved = [self._update(self._present(change), change.values, old_key)]
        if self._heals and not change.partial:
            insert = self._statement("new", statements.insert_new(self.table), self._oids)
            moved.append(command_of(insert, change.values))
        return moved

    def _present(self, change: Change) -> tuple[int, ...]:
        return tuple(at for at in self._all if change.values[at] is not UNCHANGED)

    def _written(self, change: Change) -> tuple[int, ...]:
        # Not the key, which stays as it is: a target may refuse any write of it (generated always as identity).
        return tuple(at for at in self._present(change) if at not in self.shape.key)

    def _update(self, present: tuple[int, ...], values: tuple[Field, ...], key: bytes) -> Command:
        known = self._statements.get(present)
        if known is None:
            types = [self._oids[at] for at in present] + list(self._key_oids)
            known = self._statement(present, statements.update_row(self.table, present), types)
        return command_of(known, [values[at] for at in present] + list(split_key(key)))

    def _statement(self, kind: object, sql: str, types: Sequence[int] = ()) -> Statement:
        if kind not in self._statements:
            name = f"{self.table.stage}_{len(self._statements)}"
            self._statements[kind] = Statement(name, sql, tuple(types))
        return self._statements[kind]

    # -- pages

    def page_command(self, page: Page) -> Command | None:
        """The statement that writes a page as it came; None where it must go by its changes."""
        present = page.members
        if present is None or not self._takes_pages or not set(self.shape.key) <= set(present):
            return None
        kind = ("page", present, page.path)
        known = self._statements.get(kind)
        if known is None:
            sql = upsert_page(self.table, [column.name for column in self.shape.columns], present, page.path)
            known = self._statement(kind, sql, [_JSON_OID])
        return Command(known, [page.body])

    # -- staged

    def stage_rows(self, changes: Iterable[Change]) -> tuple[list[bytes], set[int]]:
        """COPY rows (op and values) of folded changes, and the ops among them."""
        rows: list[bytes] = []
        ops: set[int] = set()
        for change in changes:
            op = self._op(change)
            ops.add(op)
            values = self._delete_values(change.key) if op == statements.DELETE_OP else change.values
            present = [NULL if value is UNCHANGED else value for value in values]
            rows.append(b"".join((self._row_head, b"\0\0\0\2", _int16.pack(op), *present)))
        return rows, ops

    def stage_statements(self, ops: set[int]) -> tuple[list[str], list[str]]:
        """The set-based statements for staged ops: deletes, then updates and inserts."""
        deletes = [statements.delete_staged(self.table)] if statements.DELETE_OP in ops else []
        masks = {op: mask for mask, op in self._partials.items()}
        writes = [
            sql for op in sorted(ops) if op in masks and masks[op][1] for sql in self._write_staged(op, *masks[op])
        ]
        if statements.UPSERT_OP in ops:
            writes.append(statements.insert_staged(self.table))
        return deletes, writes

    def _write_staged(self, op: int, inserts: bool, present: tuple[int, ...]) -> list[str]:
        if not inserts:
            return [statements.update_staged(self.table, op, present)]
        absent = self._lacks(present)
        insert = statements.insert_staged(self.table, op, present, absent=absent)
        written = [at for at in present if at not in self.shape.key]
        return [statements.update_staged(self.table, op, written), insert] if absent and written else [insert]

    def _op(self, change: Change) -> int:
        if change.op is Op.DELETE:
            return statements.DELETE_OP
        only_updates = self._only_updates(change)
        if not only_updates and UNCHANGED not in change.values:
            return statements.UPSERT_OP
        mask = (False, self._written(change)) if only_updates else (True, self._present(change))
        return self._partials.setdefault(mask, statements.FIRST_PARTIAL_OP + len(self._partials))

    def _only_updates(self, change: Change) -> bool:
        # A whole row of an update heals one that the target lacks, unless the pipeline is told to leave it missing.
        return change.op is not Op.INSERT and (UNCHANGED in change.values or not self._heals)

    def _delete_values(self, key: bytes) -> tuple[Field, ...]:
        values: list[Field] = [NULL] * len(self.shape.columns)
        for at, value in zip(self.shape.key, split_key(key), strict=True):
            values[at] = value
        return tuple(values)


def command_of(statement: Statement, fields: Iterable[Field]) -> Command:
    return Command(statement, [None if field is None or field == NULL else field[4:] for field in fields])

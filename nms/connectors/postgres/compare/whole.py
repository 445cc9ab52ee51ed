"""Making a dataset of the target equal to the source's: rows that differ, are missing, or are there too many."""

from collections.abc import AsyncGenerator, Sequence

from nms.common.change import Change, Op, Shape
from nms.connectors.postgres.compare import statements
from nms.connectors.postgres.compare.ends import Ends, Keys, Portion
from nms.connectors.postgres.compare.look import Look, Row
from nms.connectors.postgres.compare.statements import Form
from nms.connectors.postgres.compare.stream import Apart, Key
from nms.connectors.postgres.compare.tally import Tally
from nms.connectors.postgres.compare.writer import ComparedTarget, Guarded, Mark

# A row that was written because it was missing may have left the source meanwhile: it is looked at again.
_AGAIN = 3


class Whole:
    """One dataset, all of its fields; `forms` are those of source and target.

    `deletes` says that rows which only the target has are deleted: not where others write there too, and nothing tells
    whose they are.
    """

    def __init__(self, shape: Shape, forms: tuple[Form, Form], ends: tuple[Ends, ComparedTarget]) -> None:
        self.shape = shape
        self.tally = Tally()
        self._forms = forms
        self._ends, self._target = ends
        self._changed = Keys(self._ends.space)
        self._extra = Keys(self._ends.space)
        self.portion = Portion(1)
        self.deletes = True
        self._looks: tuple[Look, Look] | None = None

    def prepare(self, number: int, row_bytes: int, *, text_form: bool) -> None:
        """Make what is asked of both sides; numbers tell datasets apart."""
        self.portion = Portion(row_bytes)
        left, right = self._forms
        hashes = [[form.hash_of(range(len(form.names))), form.hash_of(form.key)] for form in self._forms]
        shown = statements.show if text_form else Form.columns
        self._looks = (
            Look(f"nms_look_{number}", left, [*hashes[0], *shown(left, range(len(left.names)))]),
            Look(f"nms_look_{number}", right, [statements.version(), *hashes[1], *shown(right, right.key)]),
        )

    async def scan(self) -> None:
        """Read both sides and keep the keys of what differs."""
        self.discard()
        left, right = self._forms
        self.tally.rows = await self._ends.scan(
            (statements.list_rows(left), statements.list_rows(right)), (), self._note
        )
        self.tally.found = (self._changed.count, self._extra.count)

    def _note(self, apart: Apart) -> None:
        there = {_fields(line) for line in apart.left}
        for fields in there:
            self._changed.add(fields)
        for line in apart.right:
            fields = _fields(line)
            if fields not in there and self.deletes:
                self._extra.add(fields)

    def discard(self) -> None:
        """Forget what was found."""
        self._changed.discard()
        self._extra.discard()

    async def changes(self, *, extra: bool) -> AsyncGenerator[list[Guarded], None]:
        """What the target needs: for keys that it has too many, or for the others."""
        async for portion in (self._extra if extra else self._changed).portions(self.portion.size):
            keys: Sequence[Key] = portion
            for _ in range(_AGAIN):
                changes = await self.judge(keys)
                if not changes:
                    break
                yield changes
                keys = [change.mark.key for change in changes if change.mark.version is None]

    async def judge(self, keys: Sequence[Key]) -> list[Guarded]:
        """Look again, and give what differs still and was not given before as it is."""
        assert self._looks is not None
        left, right = self._looks
        # The target first: what replaces a row must not be older than the row.
        theirs = await right.at(self._ends.target.look, keys)
        ours = await left.at(self._ends.source.look, keys)
        self.portion.learn(list(ours.values()))
        found = (self._change(key, ours.get(at), theirs.get(at)) for at, key in enumerate(keys))
        changes = [change for change in found if change is not None and change.mark not in self._target.told]
        self._target.told.update(change.mark for change in changes)
        self.tally.add(changes)
        return changes

    def _change(self, key: Key, ours: Row | None, theirs: Row | None) -> Guarded | None:
        version = None if theirs is None else theirs[0][4:]
        if ours is None:
            if theirs is None or not self.deletes:
                return None
            mark = Mark(self.shape.dataset, key, None, version)
            return Guarded(mark, Change(self.shape, Op.DELETE, b"".join(theirs[3:])))
        mark, values = Mark(self.shape.dataset, key, ours[0], version), ours[2:]
        name = self.shape.key_of(values)
        if theirs is None:
            return Guarded(mark, Change(self.shape, Op.INSERT, name, values))
        if ours[0] == theirs[1]:
            return None
        # Keys may be equal and yet read differently (1.0 and 1.00): then the key is written too.
        old = name if ours[1] != theirs[2] else None
        return Guarded(mark, Change(self.shape, Op.UPDATE, name, values, old))


def _fields(line: bytes) -> tuple[bytes, ...]:
    return tuple(line.split(b"\t")[1:-1])

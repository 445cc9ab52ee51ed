"""A rule between two sides: rows that a condition holds for on one side only take fields of their like on the other."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from nms.common.change import Change, Op, Shape, unframe
from nms.connectors.postgres import statements as common
from nms.connectors.postgres.compare import statements
from nms.connectors.postgres.compare.ends import Ends, Keys, Portion
from nms.connectors.postgres.compare.look import Hold, Look, Row
from nms.connectors.postgres.compare.statements import Form
from nms.connectors.postgres.compare.stream import Apart, Key
from nms.connectors.postgres.compare.tally import Tally
from nms.connectors.postgres.compare.writer import TEXT, ComparedTarget, Guarded, Mark
from nms.connectors.postgres.config import RuleSpec
from nms.connectors.postgres.libpq import COMMIT, Command, Statement, StepFailed
from nms.connectors.postgres.problems import FenceRaised, Refused
from nms.connectors.postgres.statements import TargetTable

# Whoever holds rows on one side while the other is written must not hold them for long, come what may.
_HOLD = "set local idle_in_transaction_session_timeout = '10s'"
_TRUE = b"\x01"


@dataclass(frozen=True, slots=True)
class Met:
    """One key's rows on both sides: versions, whether the condition holds, the hash of what would be taken."""

    key: Key
    ours: Row
    theirs: Row

    @property
    def holds(self) -> tuple[bool, bool]:
        """Whether the condition holds on the source's side, and on the target's."""
        return unframe(self.ours[1]) == _TRUE, unframe(self.theirs[1]) == _TRUE

    @property
    def apart(self) -> bool:
        """Whether there is anything to take."""
        return self.ours[2] != self.theirs[2]

    def versions(self) -> tuple[bytes, bytes]:
        """Those of source and target."""
        return self.ours[0][4:], self.theirs[0][4:]


class Rule:
    """One dataset under a rule. Both directions: neither side is the source of truth."""

    def __init__(
        self, shape: Shape, forms: tuple[Form, Form], spec: RuleSpec, ends: tuple[Ends, ComparedTarget]
    ) -> None:
        self.shape = shape
        self.tally = Tally()
        self._forms = forms
        self._ends, self._target = ends
        names = [column.name for column in shape.columns]
        self._condition, self._take = spec.condition(names), spec.places(names)
        self._found = Keys(self._ends.space)
        self._portion = Portion(1)
        self._looks: tuple[Look, Look] | None = None
        self._holds: dict[str, Hold] = {}
        self._write: Statement | None = None

    def prepare(self, number: int, row_bytes: int, *, text_form: bool) -> None:
        """Make what is asked of both sides; numbers tell datasets apart."""
        left, right = self._forms
        self._portion = Portion(row_bytes)
        self._holds = {
            "ours": Hold(f"nms_hold_{number}", left, "share"),
            "mine": Hold(f"nms_claim_{number}", left, "no key update"),
            "theirs": Hold(f"nms_hold_{number}", right, "share"),
        }
        first, values = len(left.key) + 1, self._condition.values()
        judged = [
            [statements.version(), self._condition.sql(form, first), form.hash_of(self._take)] for form in self._forms
        ]
        shown = statements.show if text_form else Form.columns
        ours = [*statements.show(left, left.key), *shown(left, range(len(left.names)))]
        self._looks = (
            Look(f"nms_look_{number}", left, [*judged[0], *ours], values),
            Look(f"nms_look_{number}", right, [*judged[1], *statements.show(right, self._take)], values),
        )
        table = TargetTable(left.table.removeprefix("only "), left.names, left.types, left.key, True, "")
        types = (TEXT,) * (len(self._take) + len(left.key) + 1)
        self._write = Statement(f"nms_take_{number}", statements.update_seen(table, self._take), types)

    async def scan(self) -> None:
        """Read on both sides the keys that the condition holds for, and keep those where it does on one only."""
        self.discard()
        left, right = (statements.list_holding(form, self._condition) for form in self._forms)
        apart = [0, 0]

        def note(found: Apart) -> None:
            for at, lines in enumerate((found.left, found.right)):
                apart[at] += len(lines)
                for line in lines:
                    self._found.add(line.split(b"\t")[1:])

        self.tally.rows = await self._ends.scan((left, right), self._condition.values(), note)
        self.tally.found = (apart[0], apart[1])

    def discard(self) -> None:
        """Forget what was found."""
        self._found.discard()

    async def changes(self) -> AsyncGenerator[list[Guarded], None]:
        """Write what the source takes, and give what the target takes; it must be written before the next is asked."""
        async for keys in self._found.portions(self._portion.size):
            met = await self._judge(keys)
            await self._take_back([one for one in met if one.holds == (True, False)])
            giving = [one for one in met if one.holds == (False, True)]
            changes = await self._give(giving) if giving else []
            if changes:
                yield changes
            if giving:
                await self._ends.source.look.query("commit")

    async def _judge(self, keys: Sequence[Key]) -> list[Met]:
        assert self._looks is not None
        left, right = self._looks
        theirs = await right.at(self._ends.target.look, keys)
        ours = await left.at(self._ends.source.look, keys)
        self._portion.learn(list(ours.values()))
        met = [Met(key, ours[at], theirs[at]) for at, key in enumerate(keys) if at in ours and at in theirs]
        return [one for one in met if one.apart]

    async def _give(self, giving: Sequence[Met]) -> list[Guarded]:
        """What the target takes; the source's rows are held until the transaction that is open at the source ends."""
        look = self._ends.source.look
        await look.query("begin")
        await look.query(_HOLD)
        held = await self._holds["ours"].at(look, [(one.key, one.versions()[0]) for one in giving])
        self.tally.left += len(giving) - len(held)
        changes = [self._change(giving[at]) for at in sorted(held)]
        changes = [change for change in changes if change.mark not in self._target.told]
        self._target.told.update(change.mark for change in changes)
        self.tally.add(changes)
        return changes

    def _change(self, one: Met) -> Guarded:
        values = one.ours[3 + len(self.shape.key) :]
        wanted = {*self._take, *self.shape.key}
        kept = tuple(value if at in wanted else None for at, value in enumerate(values))
        mark = Mark(self.shape.dataset, one.key, one.ours[2], one.versions()[1])
        return Guarded(mark, Change(self.shape, Op.UPDATE, self.shape.key_of(values), kept))

    async def _take_back(self, taking: Sequence[Met]) -> None:
        """Write what the source takes, while the target's rows and the fence are held."""
        if not taking:
            return
        look = self._ends.target.look
        await look.query("begin")
        await look.query(_HOLD)
        await self._hold_fence()
        held = await self._holds["theirs"].at(look, [(one.key, one.versions()[1]) for one in taking])
        pieces = [[taking[at] for at in sorted(held)]]
        while pieces:
            pieces += await self._write_piece(pieces.pop())
        self.tally.left += len(taking) - len(held)
        await look.query("commit")

    async def _hold_fence(self) -> None:
        fence = self._ends.fence
        command = Command(
            Statement("nms_hold_fence", common.HOLD_POSITION, (TEXT, TEXT)),
            [fence.pipeline.encode(), str(fence.epoch).encode()],
        )
        await self._ends.target.look.prepare([command])
        if await self._ends.target.look.run([command]) != [1]:
            raise FenceRaised(f"{fence.pipeline} has gone to another worker")

    async def _write_piece(self, piece: list[Met]) -> list[list[Met]]:
        """Write rows of the source in one transaction; gives those that are left when it refuses one of them."""
        if not piece:
            return []
        look = self._ends.source.look
        await look.query("begin")
        # Rows that somebody else has are left for the next round: nobody waits while the other side is held.
        held = await self._holds["mine"].at(look, [(one.key, one.versions()[0]) for one in piece])
        commands = [self._command(piece[at]) for at in sorted(held)]
        await look.prepare(commands)
        try:
            counts = await look.run([*commands, COMMIT])
        except StepFailed as failed:
            await look.query("rollback")
            return self._split(piece, sorted(held), failed)
        self.tally.taken += sum(counts[:-1])
        self.tally.left += len(piece) - sum(counts[:-1])
        return []

    def _split(self, piece: list[Met], held: Sequence[int], failed: StepFailed) -> list[list[Met]]:
        if not isinstance(failed.problem, Refused):
            raise failed.problem from failed
        if failed.index < len(held):
            at = held[failed.index]
            self.tally.refused += 1
            return [piece[at + 1 :], piece[:at]]
        if len(piece) > 1:
            # A deferred constraint objects to the commit, and names no row.
            return [piece[: len(piece) // 2], piece[len(piece) // 2 :]]
        self.tally.refused += 1
        return []

    def _command(self, one: Met) -> Command:
        assert self._write is not None
        texts = [unframe(field) for field in one.theirs[3:]]
        name = [unframe(field) for field in one.ours[3 : 3 + len(self.shape.key)]]
        return Command(self._write, [*texts, *name, one.versions()[0]])

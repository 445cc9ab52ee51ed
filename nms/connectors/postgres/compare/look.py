"""A look at the rows of certain keys on one side, each in a fresh snapshot."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import Struct

from nms.common.change import unframe
from nms.connectors.postgres.compare import statements
from nms.connectors.postgres.compare.statements import Form
from nms.connectors.postgres.compare.stream import Key
from nms.connectors.postgres.libpq import Command, Libpq, Statement
from nms.connectors.postgres.problems import Refused

Row = tuple[bytes, ...]
"""Framed fields."""

_TEXT, _TEXTS = 25, 1009
_array_head = Struct("!iiIii")
_length = Struct("!i")


@dataclass(slots=True)
class Look:
    """What is asked of one side of a dataset: fields as SQL over `t`, and values for the parameters among them."""

    name: str
    form: Form
    fields: Sequence[str]
    values: Sequence[str] = ()
    _by_text: dict[bool, Statement] = field(default_factory=dict)

    async def at(self, libpq: Libpq, keys: Sequence[Key]) -> dict[int, Row]:
        """The fields of the rows that are there, by the number of their key."""
        if not keys:
            return {}
        try:
            return await self._fetch(libpq, keys, by_text=not self.form.alike)
        except Refused:
            # A key that is no value of this side's type (an enum's label, a domain's check) is merely not there.
            return await self._fetch(libpq, keys, by_text=True)

    def first_parameter(self) -> int:
        """The number of the first parameter that `values` are for."""
        return len(self.form.key) + 1

    async def _fetch(self, libpq: Libpq, keys: Sequence[Key], *, by_text: bool) -> dict[int, Row]:
        if by_text not in self._by_text:
            sql = statements.list_keys(self.form, self.fields, by_text=by_text)
            types = (_TEXTS,) * len(self.form.key) + (_TEXT,) * len(self.values)
            self._by_text[by_text] = Statement(f"{self.name}_{int(by_text)}", sql, types)
        parameters = [*arrays_of(keys), *(value.encode() for value in self.values)]
        return number_rows(await libpq.fetch(Command(self._by_text[by_text], parameters)))


@dataclass(slots=True)
class Hold:
    """Holds rows of one side against writers, as long as they are as they were seen and nobody else has them.

    `lock` is how (PostgreSQL manual, 13.3.2): `share` to read what they say, `no key update` to write them.
    """

    name: str
    form: Form
    lock: str
    _statement: Statement | None = None

    async def at(self, libpq: Libpq, seen: Sequence[tuple[Key, bytes]]) -> set[int]:
        """The numbers of those rows that are held now, until the transaction that the caller has opened ends."""
        if self._statement is None:
            sql = statements.list_keys(self.form, (), by_text=not self.form.alike, lock=self.lock)
            self._statement = Statement(self.name, sql, (_TEXTS,) * (len(self.form.key) + 1))
        keys = [(*key, version) for key, version in seen]
        return set(number_rows(await libpq.fetch(Command(self._statement, arrays_of(keys)))))


def arrays_of(keys: Sequence[Key]) -> list[bytes]:
    """The columns of keys as arrays of texts in binary form (PostgreSQL source, array_recv)."""
    head = _array_head.pack(1, 0, _TEXT, len(keys), 1)
    columns = zip(*keys, strict=True)
    return [head + b"".join(_length.pack(len(one)) + one for one in column) for column in columns]


def number_rows(rows: Sequence[Row]) -> dict[int, Row]:
    """Rows by the number (from 0) that stands first in them."""
    return {int(unframe(row[0]) or b"0") - 1: row[1:] for row in rows}

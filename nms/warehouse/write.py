"""The SQL that writes records: identifiers from the document of a built entity, quoted; values are parameters."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from nms.common.db.quoting import quote_identifier, quote_literal
from nms.common.document import EntityDocument
from nms.warehouse.lineage import TOLD
from nms.warehouse.table import table_of, type_of


class Writing:
    """The statements of one entity, each composed once; parameters are texts, in the order of the names."""

    def __init__(self, document: EntityDocument, build: str) -> None:
        self._shown = f"_json, _sequence, {TOLD}, {quote_literal(build)}"
        self.names = tuple(document.fields)
        self.rest = tuple(name for name in self.names if name not in document.key)
        self._types = {name: type_of(field) for name, field in document.fields.items()}
        self._table = table_of(document.name)
        self._key_size = len(document.key)
        key = zip(map(quote_identifier, document.key), self._values(document.key, 1), strict=True)
        self._found = " and ".join(f"{name} = {value}" for name, value in key)
        self.lock = f"select {self._shown} from {self._table} where {self._found} for update"
        self.delete = f"delete from {self._table} where {self._found}"
        self.insert = (
            f"insert into {self._table} ({_list(self.names)}, _source) "
            f"values ({', '.join(self._values(self.names, 1))}, 'local') "
            f"on conflict ({_list(document.key)}) do nothing returning {self._shown}"
        )
        self.update = lru_cache(200)(self._update)

    def _update(self, names: Sequence[str]) -> str:
        """Changes these fields of the record of a key, which comes first; gives a row where that changes anything.

        It stays the record of its source: one that was deleted there goes here, whoever wrote to it meanwhile.
        """
        columns, values = [*map(quote_identifier, names)], self._values(names, self._key_size + 1)
        changes = ", ".join(f"{name} = {value}" for name, value in zip(columns, values, strict=True))
        # By what is stored and not by what is equal: 1.50 is another number than 1.5 to whoever reads it.
        differs = f"(select row({', '.join(columns)})) operator(pg_catalog.*<>) (select row({', '.join(values)}))"
        return (
            f"update {self._table} set {changes}, _raw = null where {self._found} and {differs} returning {self._shown}"
        )

    def _values(self, names: Sequence[str], first: int) -> list[str]:
        return [f"${number}::text::{self._types[name]}" for number, name in enumerate(names, first)]


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(quote_identifier, names))


class Writings:
    """The statements of every entity that was written, for as long as document and build are the same."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[EntityDocument, str, Writing]] = {}

    def of(self, document: EntityDocument, build: str) -> Writing:
        """Those of an entity."""
        known = self._known.get(document.name)
        if known is None or known[0] is not document or known[1] != build:
            known = self._known[document.name] = document, build, Writing(document, build)
        return known[2]

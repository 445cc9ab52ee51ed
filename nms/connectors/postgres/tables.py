"""The tables of an open pipeline as the log has them where it was read to: shapes, writers and pauses (DESIGN 4.8)."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nms.common.change import Shape
from nms.connectors.postgres.catalog import Table
from nms.connectors.postgres.config import Drift
from nms.connectors.postgres.drift import OWN_TYPES, Pause, Verdict, judge
from nms.connectors.postgres.layouts import Kinds, Stored, describe, relation_of, table_of
from nms.connectors.postgres.pairing import Pair
from nms.connectors.postgres.pgoutput import Layout, Relation
from nms.connectors.postgres.problems import FormChanged, SchemaDrift
from nms.connectors.postgres.snapshot import Dataset
from nms.connectors.postgres.writer import Writer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """What the databases say when a table changed: the source's as it is now, types, the target's own types by name."""

    present: Table | None
    kinds: Kinds
    own_types: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Terms:
    """How tables are followed: the form of values, the policy, both systems' names, healing, and whom to ask."""

    text_form: bool
    drift: Drift
    systems: tuple[str, str]
    heals: bool
    ask: Callable[[Relation, Pair], Awaitable[Look]]


@dataclass(slots=True)
class Followed:
    """A table: its pair and relation where the log was read to, its copy, and whether changes of it count yet."""

    number: int
    pair: Pair
    dataset: Dataset
    relation: Relation
    live: bool = False
    layouts: dict[Relation, Layout] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Form:
    """How the changes of one shape are written: into which pair, after which statements and shape, what is kept."""

    number: int
    stage: str
    pair: Pair
    steps: tuple[str, ...] = ()
    stored: Stored | None = None
    after: Shape | None = None


class Tables:
    """All tables of a pipeline; `paused` has, by dataset, why it is left out. `version` grows when copies or pauses do.

    `learn` is told of a relation before it is read; only then `layout` knows it.
    """

    def __init__(self, datasets: Sequence[tuple[Pair, Dataset]], terms: Terms, paused: Mapping[str, Any]) -> None:
        self.terms = terms
        self.paused: dict[str, Any] = dict(paused)
        self.version = 0
        self._lock = asyncio.Lock()
        self._forms: dict[Shape, Form] = {}
        self._followed: dict[str, Followed] = {}
        for number, (pair, dataset) in enumerate(datasets):
            one = Followed(number, pair, dataset, relation_of(pair.source), live=dataset.started)
            one.layouts[one.relation] = self._layout(pair, dataset.shape, one.relation)
            dataset.sent, dataset.oid = one.relation.columns, one.relation.oid
            self._followed[dataset.name] = one
            self._forms[dataset.shape] = Form(number, f"nms_stage_{number}", pair)
        self._by_oid = {one.relation.oid: one for one in self._followed.values()}

    def layout(self, relation: Relation) -> Layout | None:
        """How to read a relation; None to leave it out."""
        one = self._by_oid.get(relation.oid)
        return None if one is None or one.dataset.paused else one.layouts.get(relation)

    def followed(self) -> list[Table]:
        """The tables at the source that are not paused."""
        return [one.pair.source for one in self._followed.values() if not one.dataset.paused]

    def begin(self, name: str) -> int | None:
        """Let changes of a dataset count from here on; gives the table's object id."""
        one = self._followed.get(name)
        if one is None or one.dataset.paused:
            return None
        one.live = True
        return one.relation.oid

    async def learn(self, relation: Relation, *, late: bool = False) -> None:
        """Follow a table that changed, by the policy: the target changes too, the table pauses, or it all halts.

        `late` says that the log told it before changes of the table counted.
        """
        async with self._lock:
            one = self._by_oid.get(relation.oid)
            if one is None or one.dataset.paused or not one.live or relation == one.relation:
                return
            look = await self.terms.ask(relation, one.pair)
            if late and look.present is not None and relation_of(look.present) == one.relation:
                # Told before the copy began, and no longer so: the log tells it anew before the next change.
                return
            source = table_of(relation, one.pair.source, look.present, look.kinds)
            verdict = judge(one.pair, source, self.terms.systems, follows=self.terms.drift != "ignore")
            self._refuse(one, verdict)
            if verdict.pause is not None or verdict.pair is None:
                assert verdict.pause is not None
                self.pause(one.dataset.name, verdict.pause)
                return
            self._adopt(one, relation, replace(verdict, pair=_localised(verdict.pair, look.own_types)))

    def pause(self, name: str, pause: Pause) -> None:
        """Leave a table out from here on."""
        log.warning("%s is paused: %s", name, pause.detail)
        self.paused[name] = pause.to_dict()
        self._followed[name].dataset.paused = True
        self.version += 1

    def writer(self, shape: Shape) -> Writer:
        """The writer of a shape."""
        form = self._forms[shape]
        table = form.pair.target_table(text_form=self.terms.text_form, stage=form.stage)
        oids = [right.oid for _, right in form.pair.columns]
        made = Writer(form.number, shape, table, oids, heals=self.terms.heals)
        made.steps, made.after = form.steps, form.after
        made.kept = None if form.stored is None else (shape.dataset, json.dumps(form.stored))
        return made

    def _layout(self, pair: Pair, shape: Shape, relation: Relation) -> Layout:
        names = [column.name for column in relation.columns]
        picks = tuple(names.index(column.name) for column in shape.columns)
        filtered = pair.filter(text_form=self.terms.text_form)
        sieve = None if filtered is None else filtered.bind(shape.dataset, names, pair.source.log_key())
        return Layout(shape, picks, picks == tuple(range(len(names))), sieve, len(names))

    def _refuse(self, one: Followed, verdict: Verdict) -> None:
        if self.terms.drift != "halt" or not (verdict.pause or verdict.steps):
            return
        name = one.dataset.name
        detail = f"{name} has changed at the source" if verdict.pause is None else verdict.pause.detail
        sql = "\n".join(verdict.steps) if verdict.pause is None else verdict.pause.sql
        raise SchemaDrift(f"{detail}; run at {self.terms.systems[1]}: {sql}", dataset=name, sql=sql)

    def _adopt(self, one: Followed, relation: Relation, verdict: Verdict) -> None:
        pair, dataset = verdict.pair, one.dataset
        assert pair is not None
        if pair.text_form and not self.terms.text_form:
            raise FormChanged(f"{dataset.name}: values travel as text from here on", dataset=dataset.name)
        one.pair, one.relation, before = pair, relation, dataset.shape
        dataset.shape, dataset.table = pair.shape(), pair.source_table(text_form=self.terms.text_form)
        dataset.sent, dataset.version = relation.columns, dataset.version + 1
        one.layouts[relation] = self._layout(pair, dataset.shape, relation)
        stage = f"nms_stage_{one.number}_{dataset.version}"
        self._forms[dataset.shape] = Form(one.number, stage, pair, verdict.steps, describe(pair), before)
        if verdict.copy:
            dataset.copy_again()
            self.version += 1


def _localised(pair: Pair, own_types: Mapping[str, int]) -> Pair:
    """The pair with the target's own object ids of types that it has got from the source."""
    columns = [
        (
            left,
            replace(right, oid=own_types.get(right.type, 0))
            if right.oid >= OWN_TYPES and right.oid == left.oid
            else right,
        )
        for left, right in pair.columns
    ]
    return replace(pair, columns=columns)

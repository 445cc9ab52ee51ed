"""The document of a pipeline: which datasets go from one system to another, and how."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from nms.common.document.mapping import DatasetMapping, Part
from nms.common.document.system import Document
from nms.common.document.values import Column, Duration, Name, Size, only, refusal

WAL_BUDGET_MINIMUM = 64 << 20
WAL_BUDGET_MAXIMUM = 16 << 40
EVERY_DEFAULT = 10.0
EVERY_PULL = 300.0
ROUNDS = ("poll", "compare", "pull")
"""Captures that work in rounds."""


class BatchLimits(Part):
    """How much is committed at the target at once; what has arrived is never held back to fill a batch."""

    changes: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000


Policy = Literal["source", "target", "newest", "merge", "manual"]


class Conflicts(Part):
    """Who wins where both sides changed a record since it was last alike; the loser is kept in the conflict log.

    merge: fields that only one side changed are taken from it, of those that both changed the source's; manual: the
    record waits until somebody decides; newest: the side whose `newest` field is greater.
    """

    policy: Policy = "merge"
    newest: Annotated[
        Column | None, Field(validate_default=True, description="policy newest: the field, by its name at the source")
    ] = None
    fields: Annotated[
        dict[Column, Literal["source", "target"]],
        Field(max_length=1_000, description="policy merge: who wins of a field that both changed"),
    ] = Field(default_factory=dict)

    @field_validator("fields")
    @classmethod
    def _decide_by_field_when_merging(cls, fields: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if fields and info.data.get("policy", "merge") != "merge":
            raise refusal("`fields` are decided one by one where `policy` is `merge` only")
        return fields

    @field_validator("newest")
    @classmethod
    def _name_the_newest(cls, newest: str | None, info: ValidationInfo) -> str | None:
        if (newest is None) == (info.data.get("policy") == "newest"):
            raise refusal("`newest` names a field where `policy` is `newest`")
        return newest


class PipelineDocument(Document):
    """An ordered set of dataset mappings from one system to one other."""

    kind: Literal["pipeline"]
    source: Name
    target: Name
    capture: Annotated[
        Literal["log", "poll", "compare", "feed", "pull"],
        BeforeValidator(only(("log", "poll", "compare", "feed", "pull"), ())),
        Field(
            description="log: the database's own log; poll: rows that changed, asked for again and again; "
            "compare: both sides read and what differs mended, again and again; "
            "feed: what a queue or topic sends; pull: a REST API asked again and again"
        ),
    ] = "log"
    every: Annotated[
        Duration | None,
        Field(
            description="poll, compare, pull: how long from the start of a round to the next; default 10s, pull 5min"
        ),
    ] = None
    change_log: Annotated[
        bool, Field(description="poll: triggers at the source note the keys of what changes, so that deletes travel")
    ] = False
    on_demand: Annotated[
        bool, Field(description="poll, compare, pull: rounds begin only when asked for (`nms pipelines run`)")
    ] = False
    direction: Annotated[
        Literal["one-way", "two-way"],
        Field(description="two-way: between a REST API and a database; what changes at the target goes back"),
    ] = "one-way"
    back: Annotated[Literal["log", "poll"], Field(description="two-way: how changes of the database are captured")] = (
        "log"
    )
    deletes: Annotated[
        Literal["guarded", "all"],
        Field(
            description="two-way: guarded halts where most of a table's rows are gone at once, or all of them; "
            "all deletes their records at the API"
        ),
    ] = "guarded"
    conflicts: Annotated[
        Conflicts | None, Field(description="two-way: what holds when both sides changed one record; default merge")
    ] = None
    datasets: Annotated[tuple[DatasetMapping, ...], Field(min_length=1, max_length=1000, strict=False)]
    initial: Annotated[
        Literal["copy", "none"],
        Field(description="copy: rows that were there before are brought over first; none: changes only"),
    ] = "copy"
    missing: Annotated[
        Literal["upsert", "ignore"],
        Field(description="an update whose row is not at the target: write it, or count it"),
    ] = "upsert"
    drift: Annotated[
        Literal["propagate", "ignore", "halt"],
        Field(
            description="when a table of the source changes its columns: propagate changes the target too where "
            "nothing can be lost; ignore leaves new columns out; halt halts. What may lose anything pauses that table"
        ),
    ] = "ignore"
    shared: Annotated[
        bool, Field(description="other pipelines may write the same target tables; each of them says so")
    ] = False
    batch: BatchLimits = BatchLimits()
    wal_budget: Annotated[
        Size,
        Field(description="log the source may retain for it: at half of it a copy waits, at 80 % the alarm is raised"),
    ] = 4 << 30

    wal_policy: Annotated[
        Literal["alarm", "release"],
        Field(description="at the budget: only tell, or give the slot up so that the source's disk does not fill"),
    ] = "alarm"

    @property
    def slot(self) -> str:
        """The name of the replication slot and publication; different pipelines have different ones."""
        return "nms_" + self.name.replace("-", "_")

    @property
    def interval(self) -> float:
        """Seconds from the start of a round to the next."""
        default = EVERY_PULL if self.capture == "pull" else EVERY_DEFAULT
        return default if self.every is None else self.every

    @field_validator("every", "change_log", "on_demand")
    @classmethod
    def _ask_only_rounds(cls, value: float | bool | None, info: ValidationInfo) -> float | bool | None:
        if value and info.data.get("capture") not in ROUNDS:
            raise refusal("this is for a pipeline that works in rounds, such as `capture: poll`")
        if info.field_name == "change_log" and value and info.data.get("capture") != "poll":
            raise refusal("a comparison needs no change log; it reads both sides")
        return value

    @field_validator("on_demand")
    @classmethod
    def _begin_rounds_in_one_way(cls, on_demand: bool, info: ValidationInfo) -> bool:
        if on_demand and info.data.get("every") is not None:
            raise refusal("rounds begin when asked for only, so `every` means nothing; leave one of them out")
        return on_demand

    @field_validator("direction")
    @classmethod
    def _go_back_from_a_pull(cls, direction: str, info: ValidationInfo) -> str:
        if direction == "two-way" and info.data.get("capture") != "pull":
            raise refusal("two-way goes from a REST API (`capture: pull`) to a database and back")
        return direction

    @field_validator("back", "deletes")
    @classmethod
    def _capture_two_ways_only(cls, value: str, info: ValidationInfo) -> str:
        if value not in ("log", "guarded") and info.data.get("direction") == "one-way":
            raise refusal(f"`{info.field_name}` is for a pipeline with `direction: two-way`")
        return value

    @field_validator("conflicts")
    @classmethod
    def _settle_two_ways_only(cls, conflicts: Conflicts | None, info: ValidationInfo) -> Conflicts | None:
        if conflicts is not None and info.data.get("direction") == "one-way":
            raise refusal("`conflicts` is for a pipeline with `direction: two-way`")
        return conflicts

    @field_validator("initial")
    @classmethod
    def _read_all_in_a_first_round(cls, initial: str, info: ValidationInfo) -> str:
        if initial == "none" and info.data.get("capture") == "pull":
            raise refusal("the first round of a pull reads all records that the remote gives; leave `initial` out")
        return initial

    @field_validator("wal_budget")
    @classmethod
    def _keep_the_budget_sane(cls, value: int) -> int:
        if not WAL_BUDGET_MINIMUM <= value <= WAL_BUDGET_MAXIMUM:
            raise refusal("a budget is between 64MB and 16TB")
        return value

    @field_validator("datasets")
    @classmethod
    def _suit_the_capture(
        cls, datasets: tuple[DatasetMapping, ...], info: ValidationInfo
    ) -> tuple[DatasetMapping, ...]:
        if any(one.cursor or one.overlap for one in datasets) and info.data.get("capture") != "poll":
            raise refusal("`cursor` and `overlap` are for a pipeline with `capture: poll`")
        if any(one.compare for one in datasets) and info.data.get("capture") != "compare":
            raise refusal("a `compare` rule is for a pipeline with `capture: compare`")
        return datasets

    @field_validator("datasets")
    @classmethod
    def _map_a_table_once(cls, datasets: tuple[DatasetMapping, ...]) -> tuple[DatasetMapping, ...]:
        tables = [dataset.source for dataset in datasets]
        twice = next((table for at, table in enumerate(tables) if table in tables[:at]), None)
        if twice is not None:
            raise refusal(f"{twice} is the source of two datasets; a second pipeline can take the other one")
        return datasets

    @field_validator("target")
    @classmethod
    def _leave_the_source_alone(cls, target: str, info: ValidationInfo) -> str:
        if info.data.get("source") == target:
            raise refusal(f"this pipeline writes into its own source `{target}`; name two different systems")
        return target

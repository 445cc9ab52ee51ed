"""The document of a pipeline: which datasets go from one system to another, and how."""

from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from nms.common.document.system import Document
from nms.common.document.values import Column, DatasetName, Duration, Name, Size, check_dataset, only, refusal

WAL_BUDGET_MINIMUM = 64 << 20
WAL_BUDGET_MAXIMUM = 16 << 40
EVERY_DEFAULT = 10.0
ROUNDS = ("poll", "compare")
"""Captures that work in rounds."""


class Part(BaseModel):
    """A piece of a document; unknown keys are refused, types are not converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _hide_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class DatasetMapping(Part):
    """One table of the source and where its rows go."""

    source: DatasetName
    target: Annotated[
        DatasetName, Field(description="the same name as the source when left out", json_schema_extra=_hide_default)
    ] = ""
    fields: Annotated[
        dict[Column, Column] | None,
        Field(min_length=1, max_length=1600, description="source column: target column; all by name when left out"),
    ] = None
    key: Annotated[
        tuple[Column, ...] | None,
        Field(min_length=1, max_length=32, strict=False, description="columns of the source; default its primary key"),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _name_the_target(cls, value: object) -> object:
        if not isinstance(value, dict) or value.get("target") is not None:
            return value
        with suppress(PydanticCustomError):
            return {**value, "target": check_dataset(value.get("source"))}
        return {part: value[part] for part in value if part != "target"}

    version: Annotated[
        Column | None,
        Field(description="a source field that grows with every change; an older one is passed over at the target"),
    ] = None
    cursor: Annotated[
        Column | None,
        Field(description="poll: a column that tells what changed: xid8 (exact), or a time or number (a guess)"),
    ] = None
    overlap: Annotated[
        Duration | None,
        Field(description="poll by a time or number: how long after its cursor a change may commit; default 5min"),
    ] = None

    @field_validator("fields")
    @classmethod
    def _feed_a_column_once(cls, fields: dict[str, str] | None) -> dict[str, str] | None:
        seen: dict[str, str] = {}
        for source, target in (fields or {}).items():
            if target in seen:
                raise refusal(f"`{seen[target]}` and `{source}` both go to column `{target}`")
            seen[target] = source
        return fields

    @field_validator("key")
    @classmethod
    def _carry_the_key(cls, key: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if key is not None and len(set(key)) < len(key):
            raise refusal("a column stands here twice")
        fields = info.data.get("fields")
        missing = [] if fields is None else [column for column in key or () if column not in fields]
        if missing:
            raise refusal(f"column `{missing[0]}` is not among `fields`; rows could not be told apart at the target")
        return key


class BatchLimits(Part):
    """How much is committed at the target at once; what has arrived is never held back to fill a batch."""

    changes: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000


class PipelineDocument(Document):
    """An ordered set of dataset mappings from one system to one other."""

    kind: Literal["pipeline"]
    source: Name
    target: Name
    capture: Annotated[
        Literal["log", "poll", "feed"],
        BeforeValidator(only(("log", "poll", "feed"), ("pull", "compare"))),
        Field(
            description="log: the database's own log; poll: rows that changed, asked for again and again; "
            "feed: what a queue or topic sends"
        ),
    ] = "log"
    every: Annotated[
        Duration | None, Field(description="poll: how long from the start of a round to the next; default 10s")
    ] = None
    change_log: Annotated[
        bool, Field(description="poll: triggers at the source note the keys of what changes, so that deletes travel")
    ] = False
    direction: Annotated[Literal["one-way"], BeforeValidator(only(("one-way",), ("two-way",)))] = "one-way"
    datasets: Annotated[tuple[DatasetMapping, ...], Field(min_length=1, max_length=1000, strict=False)]
    initial: Annotated[
        Literal["copy", "none"],
        Field(description="copy: rows that were there before are brought over first; none: changes only"),
    ] = "copy"
    missing: Annotated[
        Literal["upsert", "ignore"],
        Field(description="an update whose row is not at the target: write it, or count it"),
    ] = "upsert"
    shared: Annotated[
        bool, Field(description="other pipelines may write the same target tables; each of them says so")
    ] = False
    batch: BatchLimits = BatchLimits()
    wal_budget: Annotated[
        Size, Field(description="log the source may retain for this pipeline before the alarm is raised")
    ] = 4 << 30

    @property
    def slot(self) -> str:
        """The name of the replication slot and publication; different pipelines have different ones."""
        return "nms_" + self.name.replace("-", "_")

    @property
    def interval(self) -> float:
        """Seconds from the start of a round to the next."""
        return EVERY_DEFAULT if self.every is None else self.every

    @field_validator("every", "change_log")
    @classmethod
    def _ask_only_rounds(cls, value: float | bool | None, info: ValidationInfo) -> float | bool | None:
        if value and info.data.get("capture") not in ROUNDS:
            raise refusal("this is for a pipeline with `capture: poll`")
        return value

    @field_validator("wal_budget")
    @classmethod
    def _keep_the_budget_sane(cls, value: int) -> int:
        if not WAL_BUDGET_MINIMUM <= value <= WAL_BUDGET_MAXIMUM:
            raise refusal("a budget is between 64MB and 16TB")
        return value

    @field_validator("datasets")
    @classmethod
    def _poll_by_cursor(cls, datasets: tuple[DatasetMapping, ...], info: ValidationInfo) -> tuple[DatasetMapping, ...]:
        if any(one.cursor or one.overlap for one in datasets) and info.data.get("capture") != "poll":
            raise refusal("`cursor` and `overlap` are for a pipeline with `capture: poll`")
        return datasets

    @field_validator("datasets")
    @classmethod
    def _map_a_table_once(cls, datasets: tuple[DatasetMapping, ...]) -> tuple[DatasetMapping, ...]:
        for side in ("source", "target"):
            tables = [str(getattr(dataset, side)) for dataset in datasets]
            twice = next((table for at, table in enumerate(tables) if table in tables[:at]), None)
            if twice is not None:
                raise refusal(f"{twice} is the {side} of two datasets; a second pipeline can take the other one")
        return datasets

    @field_validator("target")
    @classmethod
    def _leave_the_source_alone(cls, target: str, info: ValidationInfo) -> str:
        if info.data.get("source") == target:
            raise refusal(f"this pipeline writes into its own source `{target}`; name two different systems")
        return target

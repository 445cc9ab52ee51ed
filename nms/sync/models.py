"""What the sync room says of its pipelines."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

SILENT_SECONDS = 20.0
"""A worker says every half second where a pipeline stands; a dead one's pipelines are taken after its lease."""

ChangeState = Literal["sending", "folding", "sent", "saved", "unkept", "refused", "unresolved"]
HeldState = Literal["held", "replaying", "replayed", "dropping", "dropped"]
ConflictState = Literal["open", "settling", "settled"]


class Pipeline(BaseModel):
    """A pipeline: what is wanted of it, where it stands, how far behind it is."""

    model_config = ConfigDict(extra="forbid")

    name: str
    revision: int = Field(description="the revision of the documents it was started with")
    wanted: Literal["running", "paused", "removed"]
    generation: int = Field(description="raised by each resync; a new generation copies everything anew")
    phase: Literal["waiting", "opening", "copying", "streaming", "retrying", "halted", "paused", "removing"]
    position: dict[str, Any] | None = Field(description="where the target stands in the source's log; opaque")
    status: dict[str, Any] = Field(description="counts, lag, rows copied by dataset, retained log")
    problem: dict[str, Any] | None = Field(description="why it is halted or retrying, as RFC 9457 members")
    alarm: dict[str, Any] | None = Field(
        default=None, description="that its source retains much log, as RFC 9457 members"
    )
    created_at: datetime
    updated_at: datetime

    @property
    def held(self) -> int:
        """How many changes were in quarantine when the pipeline last told."""
        return int(self.status.get("held") or 0)

    @property
    def unkept(self) -> int:
        """How many changes the remote answered well and did not keep, since the pipeline was opened."""
        return int(self.status.get("unkept") or 0)

    @property
    def left_out(self) -> dict[str, dict[str, Any]]:
        """Tables that are paused, as the pipeline last told: code, detail and the statements that make them fit."""
        return dict(self.status.get("paused") or {})

    def is_silent(self, now: datetime) -> bool:
        """Whether no worker has told anything of it for a while, although one should work it."""
        return self.wanted == "running" and (now - self.updated_at).total_seconds() > SILENT_SECONDS

    def trouble(self, now: datetime) -> str | None:
        """Why the pipeline is not well, in a sentence; None when it is, or when somebody paused it."""
        if self.problem is not None and self.wanted == "running":
            return str(self.problem.get("detail") or self.problem.get("title"))
        if self.is_silent(now):
            return "no worker has told anything of it for a while; does one run (`nms worker sync`)?"
        if self.alarm is not None:
            return str(self.alarm.get("detail") or self.alarm.get("title"))
        if self.left_out:
            name, pause = next(iter(self.left_out.items()))
            more = f" (and {len(self.left_out) - 1} more)" if len(self.left_out) > 1 else ""
            return f"table {name}{more} is paused: {pause['detail']} (`nms pipelines {self.name}` shows what to run)"
        if self.held:
            what = "1 change is" if self.held == 1 else f"{self.held:,} changes are"
            return f"{what} held in quarantine (`nms quarantine list {self.name}`)"
        if self.unkept:
            what = "1 change was" if self.unkept == 1 else f"{self.unkept:,} changes were"
            return f"{what} answered well and not kept (`nms changes list {self.name} --state unkept`)"
        return None


class Quarantined(BaseModel):
    """A change that the target refused, or one of the same key behind it."""

    model_config = ConfigDict(extra="forbid")

    id: int
    pipeline: str
    dataset: str
    key: str
    op: str
    change: dict[str, Any]
    problem: dict[str, Any]
    place: int = Field(description="where its batch stood in the source's log")
    state: HeldState
    created_at: datetime
    updated_at: datetime


_NONE: JsonValue = {"type": "null"}
_TEXT: JsonValue = {"type": "string"}
_NOT_ALL: JsonValue = {"const": False}


class Selection(BaseModel):
    """Which held changes: those of one key, of one dataset, or all of the pipeline."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "oneOf": [
                {"required": ["all"], "properties": {"all": {"const": True}, "key": _NONE, "dataset": _NONE}},
                {"required": ["key"], "properties": {"all": _NOT_ALL, "key": _TEXT}},
                {"required": ["dataset"], "properties": {"all": _NOT_ALL, "dataset": _TEXT, "key": _NONE}},
            ]
        },
    )

    dataset: str | None = Field(default=None, max_length=200, description="the source's table, as the list shows it")
    key: str | None = Field(default=None, max_length=10_000, description="the key as the list shows it")
    all: bool = Field(default=False, description="every held change; instead of a key or a dataset")

    @model_validator(mode="after")
    def _choose(self) -> Self:
        if self.all == (self.key is not None or self.dataset is not None):
            raise ValueError("give either a key, a dataset or both, or `all`")
        return self


class SentChange(BaseModel):
    """A change on its way to a remote, and what became of it."""

    model_config = ConfigDict(extra="forbid")

    id: int
    pipeline: str
    generation: int
    dataset: str
    key: str
    op: Literal["insert", "update", "delete", "truncate"]
    identity: str = Field(description="names the change for ever")
    state: ChangeState = Field(
        description="sending: not answered yet; folding: part of one that is; sent: answered well; saved: needed no "
        "request of its own; unkept: answered well and not kept; refused: not taken; unresolved: nobody can tell"
    )
    folded_into: str | None = Field(description="the identity of the change that it is part of")
    method: str | None = Field(description="of the last request")
    path: str | None
    idempotency_key: str | None
    body: str | None
    status: int | None = Field(description="what the remote answered")
    answer: str | None = Field(description="the beginning of the answer")
    detail: str | None = Field(description="why it is in its state, where that is not plain")
    attempts: int = Field(description="requests that were sent for it, look-ups not counted")
    committed_at: datetime | None = Field(description="by the clock of the source")
    captured_at: datetime
    answered_at: datetime | None


class ChangeFilter(BaseModel):
    """Which changes to list: all that is given must hold."""

    model_config = ConfigDict(populate_by_name=True)

    dataset: str | None = Field(default=None, max_length=200, description="The source's table.")
    key: str | None = Field(default=None, max_length=10_000, description="The key as the list shows it.")
    state: ChangeState | None = Field(default=None, description="Only changes in this state.", examples=["unkept"])
    since: datetime | None = Field(default=None, description="Captured at this time or later.")
    until: datetime | None = Field(default=None, description="Captured before this time.")
    text: str | None = Field(
        default=None, alias="q", max_length=1_000, description="A part of the key or of the body that was sent."
    )


class Asked(BaseModel):
    """How many held changes were chosen; `state` is the one they are in until the worker has done it."""

    count: int
    state: Literal["replaying", "dropping"]


class Conflicted(BaseModel):
    """A record that both sides of a pipeline changed: what either had, and what came of it."""

    model_config = ConfigDict(extra="forbid")

    id: int
    pipeline: str
    dataset: str
    key: list[str]
    kind: Literal["both-changed", "both-new", "deleted-at-source", "deleted-at-target", "unkept"]
    policy: str
    state: ConflictState
    outcome: str = Field(description="who won: source, target; merged, unkept, waiting, decided or agreed")
    fields: list[str] = Field(description="those that differed")
    base: dict[str, Any] | None = Field(description="what both sides had when they were last synced")
    source: dict[str, str | None] | None = Field(description="what the source had; null: no such record")
    target: dict[str, str | None] | None = Field(description="what the target had; null: no such record")
    take: dict[str, Any] | None = Field(description="what somebody decided")
    created_at: datetime
    updated_at: datetime


class Resolution(BaseModel):
    """Who wins: one side, or for fields one each (the others come from the source)."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "oneOf": [
                {"required": ["take"], "properties": {"take": _TEXT, "fields": _NONE}},
                {"required": ["fields"], "properties": {"fields": {"type": "object"}, "take": _NONE}},
            ]
        },
    )

    take: Literal["source", "target"] | None = None
    fields: dict[str, Literal["source", "target"]] | None = Field(default=None, min_length=1, max_length=1_000)

    @model_validator(mode="after")
    def _choose(self) -> Self:
        if (self.take is None) == (self.fields is None):
            raise ValueError("give either `take` or `fields`")
        return self

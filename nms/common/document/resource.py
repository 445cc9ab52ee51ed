"""A resource of a REST API: where its records stand, how they come in pages, how they are written."""

from typing import Annotated, Final, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from nms.common.document.mapping import Part
from nms.common.document.values import Column, Duration, refusal
from nms.common.document.web import Expression, Header, OwnHeader, Parameter, Path, Plain, ResourceName, placeholders


class OnePage(Part):
    """All records come at once."""

    style: Literal["none"] = "none"


class NumberedPages(Part):
    """Pages by number, or with `style: offset` by the number of the first record; several are asked for at a time."""

    style: Literal["page", "offset"]
    parameter: Parameter
    first: Annotated[
        int | None, Field(ge=0, le=1, description="the number of the first page (default 1) or record (default 0)")
    ] = None
    size: Annotated[int, Field(ge=1, le=100_000)] = 100
    size_parameter: Parameter | None = None
    total: Annotated[
        Expression | None, Field(description="in the body: the number of all records; else an empty page is the end")
    ] = None
    total_header: Annotated[Header | None, Field(description="the same in a header")] = None

    @property
    def start(self) -> int:
        """The number that the first page is asked for by."""
        if self.first is not None:
            return self.first
        return 1 if self.style == "page" else 0

    @field_validator("total_header")
    @classmethod
    def _tell_the_total_once(cls, header: str | None, info: ValidationInfo) -> str | None:
        if header is not None and info.data.get("total") is not None:
            raise refusal("name `total` or `total_header`, not both")
        return header


class CursorPages(Part):
    """The next page is asked for with a cursor that this one tells, in the body or in a header."""

    style: Literal["cursor"]
    parameter: Parameter
    next: Annotated[Expression | None, Field(description="where in the body the cursor stands")] = None
    next_header: Annotated[
        Header | None, Field(validate_default=True, description="the header that the cursor stands in")
    ] = None
    size: Annotated[int, Field(ge=1, le=100_000)] = 100
    size_parameter: Parameter | None = None

    @field_validator("next_header")
    @classmethod
    def _name_one(cls, header: str | None, info: ValidationInfo) -> str | None:
        if (header is None) == (info.data.get("next") is None):
            raise refusal("name `next` or `next_header`, one of them")
        return header


class LinkedPages(Part):
    """The next page is a link: the header `Link` with rel=next (RFC 8288), or a URL in the body."""

    style: Literal["link", "next-url"]
    next: Annotated[
        Expression | None, Field(validate_default=True, description="next-url: where in the body the URL stands")
    ] = None
    size: Annotated[int, Field(ge=1, le=100_000)] = 100
    size_parameter: Parameter | None = None

    @field_validator("next")
    @classmethod
    def _name_the_url(cls, following: str | None, info: ValidationInfo) -> str | None:
        if (following is None) == (info.data.get("style") == "next-url"):
            raise refusal("`next` says where in the body the URL stands where `style` is `next-url`")
        return following


READING: Final = ("etag", "compare")
"""Preconditions that read a record before it is written."""

Paging = Annotated[OnePage | NumberedPages | CursorPages | LinkedPages, Field(discriminator="style")]


class Since(Part):
    """Asking for what changed since the last round only."""

    parameter: Parameter
    field: Annotated[Column, Field(description="the field of a record that tells when it changed")]
    form: Annotated[
        Literal["as-is", "seconds", "milliseconds"],
        Field(description="as-is: as the field has it; else seconds or milliseconds since 1970"),
    ] = "as-is"
    overlap: Annotated[
        Duration | None, Field(description="asked for again before the newest seen: what may have come in late")
    ] = None


class Parent(Part):
    """Records that hang below those of another resource: the path is asked for once for each of them."""

    resource: ResourceName
    fields: Annotated[
        dict[Column, Column],
        Field(min_length=1, max_length=10, description="placeholder of the path: field of the parent's record"),
    ]


class Sweep(Part):
    """Finding records that the remote has no more: all ids are read, and what is missing is confirmed."""

    every: Duration = 3_600.0
    grace: Annotated[Duration | None, Field(description="how long a record is missing before it is believed")] = None
    query: Annotated[dict[Parameter, Plain], Field(max_length=50, description="parameters that make answers small")] = (
        Field(default_factory=dict)
    )


Asking = OnePage | NumberedPages | CursorPages | LinkedPages | Since | None


class Verb(Part):
    """One way of writing: method and path; `{field}` stands for the value of a field."""

    method: Literal["POST", "PUT", "PATCH", "DELETE"]
    path: Path
    wrap: Annotated[str | None, Field(max_length=100, description="the member of the body that is the record")] = None
    answer: Annotated[Expression, Field(description="where in the answer the record stands")] = "@"


class Lookup(Part):
    """How to find a record by the key that it has with us, where the remote gives it one of its own."""

    parameter: Parameter
    field: Annotated[Column, Field(description="the field that holds our key at the remote")]


class Writes(Part):
    """How records are written; what is left out cannot be done, and such changes are refused."""

    create: Verb | None = None
    update: Annotated[Verb | None, Field(description="PATCH sends the fields that changed, PUT all of them")] = None
    delete: Verb | None = None
    precondition: Annotated[
        Literal["etag", "version", "compare", "none"],
        Field(
            description="how an update of others is not overwritten: If-Match with the ETag, a version field, or "
            "reading and comparing before each write"
        ),
    ] = "compare"
    version: Annotated[Column | None, Field(validate_default=True, description="precondition version: the field")] = (
        None
    )
    idempotency: Annotated[OwnHeader | None, Field(description="the header that makes a repeated request one")] = None
    lookup: Lookup | None = None
    assigned: Annotated[bool, Field(description="the remote gives new records their key")] = False
    verify: Annotated[bool, Field(description="read each record back: some remotes answer well and forget")] = False
    unordered: Annotated[int, Field(ge=1, le=64, description="writes of different records under way at a time")] = 8

    @field_validator("assigned")
    @classmethod
    def _find_what_was_created(cls, assigned: bool, info: ValidationInfo) -> bool:
        if assigned and info.data.get("lookup") is None and info.data.get("idempotency") is None:
            raise refusal(
                "after a time-out nobody could tell whether a record was created; "
                "name `lookup`, a field that keeps our key at the remote, or `idempotency`"
            )
        return assigned

    @model_validator(mode="after")
    def _write_something(self) -> "Writes":
        if self.create is None and self.update is None and self.delete is None:
            raise refusal("name at least one of `create`, `update` and `delete`")
        return self

    @field_validator("create", "update")
    @classmethod
    def _write_by_writing(cls, verb: Verb | None) -> Verb | None:
        if verb is not None and verb.method == "DELETE":
            raise refusal("DELETE neither creates nor updates a record")
        return verb

    @field_validator("update", "delete")
    @classmethod
    def _name_one_record(cls, verb: Verb | None) -> Verb | None:
        if verb is not None and not placeholders(verb.path):
            raise refusal("the path names no record, so it would change all of them; write it as `/customers/{id}`")
        return verb

    @field_validator("version")
    @classmethod
    def _name_the_version(cls, version: str | None, info: ValidationInfo) -> str | None:
        if (version is None) == (info.data.get("precondition") == "version"):
            raise refusal("`version` names a field where `precondition` is `version`")
        return version


class Resource(Part):
    """One collection of records."""

    path: Path
    records: Annotated[Expression, Field(description="where in the body the list of records stands")] = "@"
    key: Annotated[tuple[Column, ...], Field(min_length=1, max_length=8, strict=False)] = ("id",)
    query: Annotated[dict[Parameter, Plain], Field(max_length=50, description="parameters of each request")] = Field(
        default_factory=dict
    )
    derive: Annotated[
        dict[Column, Expression],
        Field(max_length=500, description="further fields of a record, each a JMESPath expression on it"),
    ] = Field(default_factory=dict)
    absent: Annotated[
        Literal["keep", "null"],
        Field(
            description="what a field that a record lacks means: keep the value the row has, or null, "
            "where the API leaves out what is null"
        ),
    ] = "keep"
    paging: Paging = OnePage()
    since: Since | None = None
    parent: Annotated[Parent | None, Field(validate_default=True)] = None
    record: Annotated[Path | None, Field(description="the path of one record; needed to confirm and to compare")] = None
    record_at: Annotated[Expression, Field(description="where in the answer for one record it stands")] = "@"
    validators: Annotated[bool, Field(description="ask with the ETag or Last-Modified of the last answer")] = True
    sweep: Sweep | None = None
    writes: Writes | None = None

    @property
    def sent_key(self) -> tuple[str, ...]:
        """The fields here that hold the key that a record has with us; none where nobody says which."""
        if self.writes is None or not self.writes.assigned:
            return self.key
        return () if self.writes.lookup is None else (self.writes.lookup.field,)

    @field_validator("key")
    @classmethod
    def _name_a_field_once(cls, key: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(key)) < len(key):
            raise refusal("a field stands here twice")
        return key

    @field_validator("paging", "since")
    @classmethod
    def _set_a_parameter_once(cls, part: Asking, info: ValidationInfo) -> Asking:
        query = info.data.get("query", {})
        for name in ("parameter", "size_parameter"):
            parameter = getattr(part, name, None)
            if parameter in query:
                raise refusal(f"the parameter `{parameter}` stands in `query` too; leave it out there")
        return part

    @field_validator("parent")
    @classmethod
    def _fill_the_path(cls, parent: Parent | None, info: ValidationInfo) -> Parent | None:
        asked = placeholders(info.data.get("path", ""))
        if parent is None and asked:
            raise refusal(f"the path has the placeholder `{{{asked[0]}}}`, so a `parent` must fill it")
        if parent is not None and "path" in info.data and set(parent.fields) != set(asked):
            raise refusal("`fields` of the parent fill the placeholders of the path, all of them and no others")
        return parent

    @field_validator("record")
    @classmethod
    def _name_one_record(cls, path: str | None) -> str | None:
        if path is not None and not placeholders(path):
            raise refusal("the path of one record has its key in it, such as `/customers/{id}`")
        return path

    @field_validator("sweep")
    @classmethod
    def _confirm_by_key(cls, sweep: Sweep | None, info: ValidationInfo) -> Sweep | None:
        if sweep is None or "record" not in info.data or "key" not in info.data:
            return sweep
        if info.data["record"] is None:
            raise refusal("what is missing is confirmed record by record; say in `record` where one stands")
        strange = set(placeholders(info.data["record"])) - set(info.data["key"])
        if strange:
            raise refusal(f"of a record that is missing only its key is known, and `record` asks for `{min(strange)}`")
        return sweep

    @field_validator("writes")
    @classmethod
    def _read_before_writing(cls, writes: Writes | None, info: ValidationInfo) -> Writes | None:
        if writes is None or "record" not in info.data or info.data["record"] is not None:
            return writes
        if writes.verify:
            raise refusal("`verify` reads each record back; say in `record` of the resource where one stands")
        looked_up = writes.lookup is not None and writes.precondition != "etag"
        if writes.precondition in READING and (writes.update or writes.delete) and not looked_up:
            raise refusal(
                f"precondition `{writes.precondition}` reads a record before it is changed; "
                "say in `record` of the resource where one stands, or write `precondition: none`"
            )
        return writes

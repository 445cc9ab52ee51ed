"""The document of a REST API: where it stands, how to log in, how fast, and what its resources are like."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from nms.common.document.mapping import Part
from nms.common.document.system import Password, Place, Secret, SystemDocument
from nms.common.document.values import Column, Duration, Size, refusal

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_FORBIDDEN: Final = frozenset(
    "host content-length transfer-encoding connection accept-encoding te upgrade keep-alive expect trailer cookie"
    " authorization proxy-authorization".split()
)
_RESOURCE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}")
EXPRESSION_LENGTH: Final = 1_000


def check_url(text: str) -> str:
    """An http or https URL without user, query and fragment; no slash at its end."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise refusal("this is no URL; write it as `https://api.example.com/v1`") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise refusal("a URL begins with `https://` (or `http://`) and names a host")
    if parts.username is not None or parts.password is not None:
        raise refusal("a user or password does not stand in the URL; see `login`")
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        raise refusal("a URL has no `?` or `#` here; see `query` of a resource")
    if any(letter.isspace() or not letter.isprintable() for letter in text) or len(text) > 2000:
        raise refusal("a URL has no spaces or control characters")
    return text.rstrip("/")


def check_expression(text: str) -> str:
    """A JMESPath expression (jmespath.org, specification)."""
    if len(text) > EXPRESSION_LENGTH:
        raise refusal(f"an expression has at most {EXPRESSION_LENGTH} characters")
    try:
        jmespath.compile(text)
    except JMESPathError as error:
        raise refusal(f"this is no JMESPath expression: {' '.join(str(error).split())[:200]}") from None
    return text


def check_path(text: str) -> str:
    """A path below the base URL; `{name}` stands for the value of a field."""
    if not text.startswith("/") or text.startswith("//") or any(part in ("..", ".") for part in text.split("/")):
        raise refusal("a path begins with one `/` and has no `.` or `..` parts")
    if "?" in text or "#" in text or any(letter.isspace() or not letter.isprintable() for letter in text):
        raise refusal("a path has no `?`, `#`, spaces or control characters; parameters stand in `query`")
    rest = _PLACEHOLDER.sub("", text)
    if "{" in rest or "}" in rest or "" in _PLACEHOLDER.findall(text):
        raise refusal("a placeholder is written `{field}`")
    return text


def placeholders(path: str) -> tuple[str, ...]:
    """The names in braces of a path, in order."""
    return tuple(_PLACEHOLDER.findall(path))


def check_header(text: str) -> str:
    """The name of a header that a document may set."""
    if not _HEADER.fullmatch(text):
        raise refusal("this is no name of a header")
    return text


Url = Annotated[str, AfterValidator(check_url), Field(examples=["https://api.example.com/v1"])]
Path = Annotated[str, AfterValidator(check_path), Field(max_length=1_000, examples=["/customers/{id}"])]
Expression = Annotated[str, AfterValidator(check_expression), Field(examples=["data.items"])]
Header = Annotated[str, AfterValidator(check_header)]
Parameter = Annotated[str, Field(min_length=1, max_length=200)]
Plain = Annotated[str, Field(max_length=2_000, pattern=r"^[\x20-\x7e]*$")]


class NoLogin(Part):
    """Anybody may ask."""

    type: Literal["none"] = "none"


class HeaderLogin(Part):
    """A key in a header, such as `Authorization: Bearer ...` or `X-Api-Key: ...`."""

    type: Literal["header"]
    header: Header = "Authorization"
    prefix: Annotated[Plain, Field(description="what stands before the key, with its space")] = "Bearer "
    key: Secret


class BasicLogin(Part):
    """User and password (RFC 7617)."""

    type: Literal["basic"]
    user: Annotated[Plain, Field(min_length=1)]
    password: Secret


class ClientLogin(Part):
    """OAuth2 client credentials (RFC 6749, section 4.4)."""

    type: Literal["oauth2-client"]
    token_url: Url
    client_id: Annotated[Plain, Field(min_length=1)]
    client_secret: Secret
    scope: Plain | None = None
    send: Annotated[
        Literal["basic", "body"], Field(description="how the client names itself at the token endpoint")
    ] = "basic"


class RefreshLogin(Part):
    """OAuth2 refresh token (RFC 6749, section 6); a rotated one is kept sealed and used from then on."""

    type: Literal["oauth2-refresh"]
    token_url: Url
    client_id: Annotated[Plain, Field(min_length=1)]
    client_secret: Password = None
    refresh_token: Annotated[Secret, Field(description="the first one, as a reference; a new reference starts anew")]
    scope: Plain | None = None
    send: Literal["basic", "body"] = "basic"


Login = Annotated[NoLogin | HeaderLogin | BasicLogin | ClientLogin | RefreshLogin, Field(discriminator="type")]


class Rate(Part):
    """What the remote allows, shared by all workers of all processes."""

    limit: Annotated[int, Field(ge=1, le=1_000_000, description="requests")]
    per: Annotated[Duration, Field(description="in so long")] = 1.0


class OnePage(Part):
    """All records come at once."""

    style: Literal["none"] = "none"


class NumberedPages(Part):
    """Pages by number, or with `style: offset` by the number of the first record; several are asked for at a time."""

    style: Literal["page", "offset"]
    parameter: Parameter
    first: Annotated[int, Field(ge=0, le=1)] = 1
    size: Annotated[int, Field(ge=1, le=100_000)] = 100
    size_parameter: Parameter | None = None
    total: Annotated[
        Expression | None, Field(description="in the body: the number of all records; else a short page is the last")
    ] = None
    total_header: Annotated[Header | None, Field(description="the same in a header")] = None


class CursorPages(Part):
    """The next page is asked for with a cursor that this one tells, in the body or in a header."""

    style: Literal["cursor"]
    parameter: Parameter
    next: Annotated[Expression | None, Field(description="where in the body the cursor stands")] = None
    next_header: Header | None = None
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
    next: Annotated[Expression | None, Field(description="next-url: where in the body the URL stands")] = None
    size: Annotated[int, Field(ge=1, le=100_000)] = 100
    size_parameter: Parameter | None = None


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

    resource: Annotated[str, Field(min_length=1, max_length=100)]
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
    version: Annotated[Column | None, Field(description="precondition version: the field")] = None
    idempotency: Annotated[Header | None, Field(description="the header that makes a repeated request one")] = None
    lookup: Lookup | None = None
    assigned: Annotated[bool, Field(description="the remote gives new records their key")] = False
    verify: Annotated[bool, Field(description="read each record back: some remotes answer well and forget")] = False
    unordered: Annotated[int, Field(ge=1, le=64, description="writes of different records under way at a time")] = 8

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
    paging: Paging = OnePage()
    since: Since | None = None
    parent: Parent | None = None
    record: Annotated[Path | None, Field(description="the path of one record; needed to confirm and to compare")] = None
    record_at: Annotated[Expression, Field(description="where in the answer for one record it stands")] = "@"
    validators: Annotated[bool, Field(description="ask with the ETag or Last-Modified of the last answer")] = True
    sweep: Sweep | None = None
    writes: Writes | None = None


class RestSystem(SystemDocument):
    """A REST API as a system."""

    type: Literal["rest"]
    url: Url
    login: Login = NoLogin()
    headers: Annotated[dict[Header, Plain], Field(max_length=50, description="sent with each request")] = Field(
        default_factory=dict
    )
    rate: Rate | None = None
    concurrency: Annotated[int, Field(ge=1, le=64, description="requests under way at a time in one process")] = 8
    timeout: Annotated[Duration, Field(description="until the head of an answer is whole")] = 60.0
    page_limit: Annotated[Size, Field(description="an answer that is larger is refused")] = 64 << 20
    resources: Annotated[dict[str, Resource], Field(min_length=1, max_length=1_000)]

    @property
    def place(self) -> Place:
        """Scheme, host, port and path."""
        return (self.url,)

    @field_validator("headers")
    @classmethod
    def _leave_ours(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        ours = [name for name in headers if name.lower() in _FORBIDDEN]
        if ours:
            raise refusal(f"header `{ours[0]}` is not set here; see `login` for keys")
        return headers

    @field_validator("resources")
    @classmethod
    def _name_resources(cls, resources: dict[str, Resource]) -> dict[str, Resource]:
        for name, resource in resources.items():
            if not _RESOURCE.fullmatch(name):
                raise refusal(f"`{name[:60]}` is no name of a resource: letters, digits, `_`, `-`, `.` and `:`")
            parent = resource.parent
            if parent is not None and (parent.resource == name or parent.resource not in resources):
                raise refusal(f"the parent `{parent.resource}` of `{name}` is no other resource of this system")
            if parent is not None and set(parent.fields) != set(placeholders(resource.path)):
                raise refusal(f"`fields` of the parent of `{name}` fill the placeholders of its path, all of them")
            if parent is None and placeholders(resource.path):
                raise refusal(f"the path of `{name}` has placeholders, so it needs a `parent`")
        return resources

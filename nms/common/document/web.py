"""The single values that the document of a REST API is made of: addresses, paths, headers, expressions."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from nms.common.document.expression import check_expression
from nms.common.document.values import refusal
from nms.common.egress.address import parse_url

URL_LENGTH: Final = 2_000
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_RESOURCE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}")
_OURS: Final = frozenset(
    "host content-length transfer-encoding connection accept-encoding te upgrade keep-alive expect trailer cookie"
    " authorization proxy-authorization".split()
)
"""Headers that belong to the exchange itself or to `login`."""


def check_address(text: str) -> str:
    """An http or https URL as egress takes it, without user, query and fragment; the host in its normal form."""
    if "?" in text or "#" in text:
        raise refusal("a URL has no `?` or `#` here; see `query` of a resource")
    if len(text) > URL_LENGTH:
        raise refusal(f"a URL has at most {URL_LENGTH} characters")
    try:
        place = parse_url(text)
    except ValueError as error:
        hint = "; see `login`" if "user name" in str(error) else ", such as `https://api.example.com/v1`"
        raise refusal(f"{error}{hint}") from None
    if any(part in ("..", ".") for part in place.target.split("/")):
        raise refusal("a URL has no `.` or `..` parts")
    return place.origin + (place.target if text.endswith("/") else place.target.rstrip("/"))


def check_url(text: str) -> str:
    """The same without a slash at its end, so that paths can follow."""
    return check_address(text).rstrip("/")


def check_path(text: str) -> str:
    """A path below the base URL; `{name}` stands for the value of a field."""
    if not text.startswith("/") or text.startswith("//") or any(part in ("..", ".") for part in text.split("/")):
        raise refusal("a path begins with one `/` and has no `.` or `..` parts")
    if any(letter in "?#\\" or letter.isspace() or not letter.isprintable() for letter in text):
        raise refusal("a path has no `?`, `#`, spaces or control characters; parameters stand in `query`")
    rest = _PLACEHOLDER.sub("", text)
    if "{" in rest or "}" in rest or "" in _PLACEHOLDER.findall(text):
        raise refusal("a placeholder is written `{field}`")
    return text


def placeholders(path: str) -> tuple[str, ...]:
    """The names in braces of a path, in order."""
    return tuple(_PLACEHOLDER.findall(path))


def check_header(text: str) -> str:
    """The name of a header."""
    if not _HEADER.fullmatch(text):
        raise refusal("this is no name of a header")
    return text


def check_own_header(text: str) -> str:
    """The name of a header that a document may set on requests."""
    if check_header(text).lower() in _OURS:
        raise refusal(f"header `{text}` is not set here; see `login` for keys")
    return text


def check_login_header(text: str) -> str:
    """The name of a header that a key can stand in."""
    return text if text.lower() == "authorization" else check_own_header(text)


def check_resource(text: str) -> str:
    """The name of a resource, as datasets say it."""
    if not _RESOURCE.fullmatch(text):
        raise refusal("a resource is named by letters, digits, `_`, `-`, `.` and `:`, at most 100")
    return text


Url = Annotated[str, AfterValidator(check_url), Field(examples=["https://api.example.com/v1"])]
TokenUrl = Annotated[str, AfterValidator(check_address), Field(examples=["https://login.example.com/oauth/token"])]
Path = Annotated[str, AfterValidator(check_path), Field(max_length=1_000, examples=["/customers/{id}"])]
Expression = Annotated[str, AfterValidator(check_expression), Field(examples=["data.items"])]
Header = Annotated[str, AfterValidator(check_header)]
OwnHeader = Annotated[str, AfterValidator(check_own_header)]
LoginHeader = Annotated[str, AfterValidator(check_login_header)]
ResourceName = Annotated[str, AfterValidator(check_resource)]
Parameter = Annotated[str, Field(min_length=1, max_length=200)]
Plain = Annotated[str, Field(max_length=2_000, pattern=r"^[\x20-\x7e]*$")]

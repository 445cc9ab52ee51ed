"""The document of a REST API: where it stands, how to log in, how fast, and what its resources are like."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from nms.common.document.mapping import Part
from nms.common.document.resource import (
    CursorPages,
    LinkedPages,
    Lookup,
    NumberedPages,
    OnePage,
    Paging,
    Parent,
    Resource,
    Since,
    Sweep,
    Verb,
    Writes,
)
from nms.common.document.system import Password, Place, Secret, SystemDocument
from nms.common.document.values import Duration, Size, refusal
from nms.common.document.web import LoginHeader, OwnHeader, Plain, ResourceName, TokenUrl, Url, placeholders
from nms.common.egress.address import parse_url

__all__ = [
    "BasicLogin", "ClientLogin", "CursorPages", "HeaderLogin", "LinkedPages", "Login", "Lookup", "NoLogin",
    "NumberedPages", "OnePage", "Paging", "Parent", "Rate", "RefreshLogin", "Resource", "RestSystem", "Since", "Sweep",
    "Verb", "Writes", "placeholders",
]  # fmt: skip


class NoLogin(Part):
    """Anybody may ask."""

    type: Literal["none"] = "none"


class HeaderLogin(Part):
    """A key in a header, such as `Authorization: Bearer ...` or `X-Api-Key: ...`."""

    type: Literal["header"]
    header: LoginHeader = "Authorization"
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
    token_url: TokenUrl
    client_id: Annotated[Plain, Field(min_length=1)]
    client_secret: Secret
    scope: Plain | None = None
    send: Annotated[
        Literal["basic", "body"], Field(description="how the client names itself at the token endpoint")
    ] = "basic"


class RefreshLogin(Part):
    """OAuth2 refresh token (RFC 6749, section 6); a rotated one is kept sealed and used from then on."""

    type: Literal["oauth2-refresh"]
    token_url: TokenUrl
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


class RestSystem(SystemDocument):
    """A REST API as a system."""

    type: Literal["rest"]
    url: Url
    login: Login = NoLogin()
    headers: Annotated[dict[OwnHeader, Plain], Field(max_length=50, description="sent with each request")] = Field(
        default_factory=dict
    )
    rate: Rate | None = None
    concurrency: Annotated[int, Field(ge=1, le=64, description="requests under way at a time in one process")] = 8
    timeout: Annotated[Duration, Field(description="until the head of an answer is whole")] = 60.0
    page_limit: Annotated[Size, Field(description="an answer that is larger is refused")] = 64 << 20
    resources: Annotated[dict[ResourceName, Resource], Field(min_length=1, max_length=1_000)]

    @property
    def place(self) -> Place:
        """Scheme, host, port and path."""
        return (self.url,)

    @property
    def origins(self) -> tuple[str, ...]:
        """The API, and where its tokens come from: what a token endpoint gives is as good as the secret."""
        urls = (self.url, getattr(self.login, "token_url", self.url))
        return tuple(dict.fromkeys(parse_url(url).origin for url in urls))

    @field_validator("headers")
    @classmethod
    def _set_a_header_once(cls, headers: Mapping[str, str], info: ValidationInfo) -> Mapping[str, str]:
        names = [name.lower() for name in headers]
        if len(set(names)) < len(names):
            raise refusal("a header stands here twice; capitals make no difference")
        login = info.data.get("login")
        if isinstance(login, HeaderLogin) and login.header.lower() in names:
            raise refusal(f"header `{login.header}` is set by `login`")
        return headers

    @field_validator("resources")
    @classmethod
    def _know_the_parents(cls, resources: dict[str, Resource]) -> dict[str, Resource]:
        for name, resource in resources.items():
            line, parent = [name], resource.parent
            while parent is not None:
                if parent.resource not in resources:
                    raise refusal(f"the parent `{parent.resource}` of `{line[-1]}` is no resource of this system")
                if parent.resource in line:
                    raise refusal(f"`{name}` would be its own parent: {' < '.join([*line, parent.resource])}")
                line.append(parent.resource)
                parent = resources[parent.resource].parent
        return resources

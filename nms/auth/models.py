"""What auth keeps and hands out."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, and from where: what the audit says of it."""

    name: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What somebody who wants in gives."""

    email: str
    password: str = field(repr=False)
    scope: str = ""
    address: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to log in, and the rows that it is counted in.

    `keys` are those of its site, its network, the account with either, and the account; None where there is none.
    """

    email_key: str
    network: str
    keys: tuple[bytes | None, bytes, bytes | None, bytes | None, bytes | None]


@dataclass(frozen=True, slots=True)
class Login:
    """An account as a login sees it; `password` is the hash."""

    id: UUID
    email: str
    password: str = field(repr=False)
    disabled: bool
    revision: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What a token of a session says: whom it speaks for, and what that one may do now."""

    session_id: UUID
    account_id: UUID
    scope: str | None
    expires_at: datetime
    revision: int
    scopes: list[str]


@dataclass(frozen=True, slots=True)
class Used:
    """A session whose refresh token was not the newest: how far it is, and when its last generations were used."""

    standing: Standing
    generation: int
    rotations: list[datetime]
    now: datetime
    alive: bool


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key of access tokens; `verifies_until` is None for the one that signs."""

    kid: str
    algorithm: str
    public_key: bytes
    created_at: datetime
    verifies_until: datetime | None


class Tokens(BaseModel):
    """What a login and a refresh answer (RFC 6749 section 5.1)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "access_token": "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCIsImtpZCI6Ii4uLiJ9.eyJpc3MiOiJubXMifQ.c2ln",
                "token_type": "Bearer",
                "expires_in": 600,
                "refresh_token": "nmsr_4Zr0...",
                "scope": "me:read me:write pipelines:read",
            }
        }
    )

    access_token: str = Field(repr=False, description="A JWT (RFC 9068) for `Authorization: Bearer`.")
    token_type: str = "Bearer"  # noqa: S105 - the type, not a token
    expires_in: int = Field(description="Seconds until the access token expires.")
    refresh_token: str = Field(repr=False, description="Good for one refresh; keep the one that the refresh answers.")
    scope: str = Field(description="What the access token allows, separated by blanks.")


_KEY = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    "kid": "k6bq2n",
    "alg": "EdDSA",
    "use": "sig",
}


class Session(BaseModel):
    """A login that is still good."""

    id: UUID
    current: bool = Field(False, description="Whether this request came with a token of it.")
    address: str = Field(description="Where it was opened from.", examples=["192.0.2.7"])
    agent: str = Field(description="The User-Agent that opened it.", examples=["Mozilla/5.0 (X11; Linux x86_64)"])
    created_at: datetime
    used_at: datetime = Field(description="When it was opened or refreshed last.")
    idle_until: datetime = Field(description="It ends then unless it is refreshed before.")
    expires_at: datetime = Field(description="It ends then whatever happens.")


class Introspection(BaseModel):
    """What is known of a token (RFC 7662 section 2.2); nothing but `active` for one that is not good."""

    active: bool
    scope: str | None = Field(None, examples=["me:read me:write pipelines:read"])
    sub: str | None = Field(None, examples=["5f0e8f7e-0d1c-4c3b-9a58-0e6d2f1b7a90"])
    username: str | None = Field(None, examples=["ann@example.org"])
    token_type: str | None = Field(None, examples=["Bearer"])
    exp: int | None = Field(None, description="Seconds since 1970.", examples=[1795000000])
    iss: str | None = Field(None, examples=["nms"])
    aud: str | None = Field(None, examples=["nms"])
    jti: str | None = Field(None, examples=["pB4vQ1x7hGZk2w9C"])
    sid: str | None = Field(None, examples=["3f2f0d9e-6a0b-4f6c-8a0e-0c8c9d6f7a10"])


class Revocation(BaseModel):
    """Something that is no longer good before it expires."""

    kind: str = Field(
        description="`token` (jti), `session` (sid), `account` (sub), `service-token` (id), `key` (kid).",
        examples=["account"],
    )
    subject: str = Field(examples=["5f0e8f7e-0d1c-4c3b-9a58-0e6d2f1b7a90"])
    revision: int | None = Field(
        None, description="Of an account: tokens with a smaller `rev` are refused.", examples=[4]
    )
    expires_at: datetime = Field(description="Nothing that it speaks of is good after that anyway.")


class Revocations(BaseModel):
    """Revocations since a place, and the place to go on from."""

    items: list[Revocation]
    next: str = Field(
        description="Ask for `since=` this the next time; an item may be told twice, none is missed.",
        examples=["80123"],
    )
    more: bool = Field(description="Whether there is more right now.")


class JsonWebKeySet(BaseModel):
    """The public keys of access tokens (RFC 7517 section 5, RFC 8037)."""

    keys: list[dict[str, str]] = Field(examples=[[_KEY]])

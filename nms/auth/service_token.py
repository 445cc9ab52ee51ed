"""What a service token is, and its statements."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from nms.auth.repository import AuthRepository, queries
from nms.common.whole import WHOLE

LONGEST_OVERLAP = 30 * 86_400
LONGEST_TTL = 10 * 366 * 86_400
_NAME = "^[a-z][a-z0-9-]{0,62}$"
_FAR = datetime(2300, 1, 1, tzinfo=UTC)
_SECRET: Any = {"hint": "nmss_4Zr0", "created_at": "2026-11-21T08:00:00Z", "good_until": None, "last_used_at": None}
_ROBOT: Any = {
    "name": "reporting",
    "description": "Reads pipelines for the weekly report.",
    "scopes": ["pipelines:read"],
}
_SHOWN: Any = {
    "id": "7c6ad6a1-0d6e-4e0b-9a3e-9a8f4f0f7a11",
    **_ROBOT,
    "created_by": "5b0a7c1e-8f53-4f0f-b1a5-0a6a5cf0c8b2",
    "created_at": "2026-11-21T08:00:00Z",
    "expires_at": "2027-11-21T08:00:00Z",
    "revoked_at": None,
    "secrets": [_SECRET],
}


class ServiceSecret(BaseModel):
    """One secret of a service token; there is more than one after a rotation."""

    hint: str = Field(description="The beginning of the token, by which people tell it from another.")
    created_at: datetime
    good_until: datetime | None = Field(description="It was replaced, and is good until then.")
    last_used_at: datetime | None = Field(description="Some 10 seconds behind.")


class ServiceToken(BaseModel):
    """What a machine calls with."""

    model_config = ConfigDict(json_schema_extra={"example": _SHOWN})

    id: UUID
    name: str = Field(description="The subject of its calls.")
    description: str
    scopes: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    secrets: list[ServiceSecret] = Field(description="The newest first; those that are long over are left out.")


class MadeServiceToken(ServiceToken):
    """A service token with the secret that was just made."""

    model_config = ConfigDict(
        json_schema_extra={"example": {**_SHOWN, "token": "nmss_4Zr0uV3k9QbX7mJ2tYc8sLd5wGh1Np6fAe0Ri"}}
    )

    token: str = Field(
        repr=False, description="For `Authorization: Bearer`. It is shown here once; only its hash is kept."
    )


class NewServiceToken(BaseModel):
    """A service token that is to be."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {**_ROBOT, "ttl": 31_536_000},
            "anyOf": [{"properties": {one: {"type": "null"}}} for one in ("expires_at", "ttl")],
        },
    )

    name: str = Field(pattern=_NAME, description="Unique among those that are not revoked.")
    description: str = Field("", max_length=500, pattern=r"^[^\x00-\x09\x0b-\x1f\x7f]*$")
    scopes: list[Annotated[str, Field(max_length=200)]] = Field(
        min_length=1, max_length=200, description="`noun:verb`, `noun:verb:instance`, `noun:*` or `*`."
    )
    expires_at: Annotated[AwareDatetime, Field(lt=_FAR)] | None = Field(
        None, description="When it ends; leave both this and `ttl` out for one that does not end by itself."
    )
    ttl: Annotated[int, Field(ge=1, le=LONGEST_TTL), WHOLE] | None = Field(
        None, description="The same, in seconds from now."
    )

    @model_validator(mode="after")
    def _say_it_once(self) -> "NewServiceToken":
        if self.expires_at is not None and self.ttl is not None:
            raise ValueError("give either `expires_at` or `ttl`")
        return self


class Rotation(BaseModel):
    """How a service token gets another secret."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"overlap": 86_400}})

    overlap: Annotated[int, Field(ge=0, le=LONGEST_OVERLAP), WHOLE] = Field(
        86_400, description="Seconds for which the secret that is replaced stays good."
    )


class ServiceTokenRepository(AuthRepository):
    """Service tokens, and all that every part of auth has."""

    async def list_service_tokens(self, after: Sequence[Any] | None, size: int, *, revoked: bool) -> list[ServiceToken]:
        """Those that are revoked or those that are not, by name and id."""
        name, last = after or (None, None)
        rows = await queries.list_service_tokens(
            self.connection, revoked=revoked, after_name=name, after_id=last, size=size
        )
        return [ServiceToken(**row) for row in rows]

    async def get_service_token(self, identity: UUID) -> ServiceToken | None:
        """One, revoked or not."""
        row = await queries.get_service_token(self.connection, id=identity)
        return None if row is None else ServiceToken(**row)

    async def lock_service_token(self, identity: UUID) -> bool:
        """Keep others from changing it until the end of the transaction; whether it is there and good."""
        return bool(await queries.lock_service_token(self.connection, id=identity))

    async def insert_service_token(
        self, new: NewServiceToken, scopes: Sequence[str], created_by: str
    ) -> tuple[UUID, bool] | None:
        """Add one without a secret: its id, and whether it ends in the future; None when the name is taken."""
        row = await queries.insert_service_token(
            self.connection,
            name=new.name,
            description=new.description,
            scopes=list(scopes),
            created_by=created_by,
            expires_at=new.expires_at,
            ttl=new.ttl,
        )
        return None if row is None else (row["id"], row["ahead"])

    async def insert_service_secret(self, identity: UUID, hashed: bytes, hint: str) -> None:
        """Give it a secret."""
        await queries.insert_service_secret(self.connection, id=identity, hash=hashed, hint=hint)

    async def update_service_secrets(self, identity: UUID, overlap: int) -> None:
        """Let its secrets be good for so many seconds more, and no longer than they were."""
        await queries.update_service_secrets(self.connection, id=identity, overlap=overlap)

    async def mark_service_token_revoked(self, identity: UUID) -> None:
        """Revoke it."""
        await queries.mark_service_token_revoked(self.connection, id=identity)

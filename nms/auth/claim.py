"""The claim of the house by its first administrator: what is asked for, and its statements."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from nms.auth.repository import AuthRepository, queries

_PASSWORD = Field(max_length=1024, description="12 to 128 characters; none that the lists of common passwords have.")


@dataclass(frozen=True, slots=True)
class Claim:
    """A link that is good once, until a time, for whoever has it."""

    token: str = field(repr=False)
    expires_at: datetime

    def link(self, base: str) -> str:
        """The link at the address of the role auth."""
        return f"{base.rstrip('/')}/claim?token={self.token}"


class ClaimBody(BaseModel):
    """Who claims the house: the token of the link, and the account that is to be the first administrator."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "token": "Zk3v0x5uWcW1m0h2cYb8s4dQ7rT9pL6nJfKgHaEeIiA",
                "email": "ada@example.org",
                "password": "four words by chance",
            }
        },
    )

    token: str = Field(max_length=200, description="Of the link that was printed.")
    email: str = Field(min_length=3, max_length=254)
    password: Annotated[SecretStr, _PASSWORD]
    again: Annotated[SecretStr, _PASSWORD] | None = Field(
        None, description="The password again, where a person types it; both must be the same."
    )


class ClaimRepository(AuthRepository):
    """The claim, and all that every part of auth has."""

    async def upsert_claim(self, seed: bytes, seconds: float) -> None:
        """Make the claim if there is none that is good and nobody holds admin."""
        await queries.upsert_claim(self.connection, seed=seed, seconds=seconds)

    async def get_claim(self) -> tuple[bytes, datetime] | None:
        """Seed and end of the claim, as long as it is good."""
        row = await queries.get_claim(self.connection)
        return None if row is None else (row["seed"], row["expires_at"])

    async def mark_claim_told(self, seconds: float) -> bool:
        """Whether it is on the caller to tell of the claim: nobody has within so many seconds."""
        return bool(await queries.mark_claim_told(self.connection, seconds=seconds))

    async def delete_claim(self) -> None:
        """Nobody claims any more."""
        await queries.delete_claim(self.connection)

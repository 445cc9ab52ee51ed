"""What the auth role adds to the shared settings, prefixed `AUTH_`."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from nms.common.settings import RoleSettings

DAY = 86_400


class AuthSettings(RoleSettings):
    """`AUTH_WORKER=false` makes a process of this role API only."""

    model_config = SettingsConfigDict(env_prefix="AUTH_")

    hashes: int = Field(
        0, ge=0, le=256, description="passwords that this process hashes at once (19 MiB each); 0: one per core"
    )
    hash_queue: int = Field(
        32, ge=0, le=1024, description="passwords that may wait per hash, 26 ms each; beyond it `auth-busy` is answered"
    )
    access_seconds: int = Field(600, ge=60, le=3600, description="how long an access token is good")
    grace_seconds: int = Field(
        30, ge=0, le=300, description="how long a used refresh token still gets the same successor"
    )
    idle_seconds: int = Field(14 * DAY, ge=60, description="a session that is not refreshed for so long ends")
    absolute_seconds: int = Field(90 * DAY, ge=60, description="a session ends after so long whatever happens")

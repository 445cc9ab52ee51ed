"""What the auth role adds to the shared settings, prefixed `AUTH_`."""

from pydantic_settings import SettingsConfigDict

from nms.common.settings import RoleSettings


class AuthSettings(RoleSettings):
    """`AUTH_WORKER=false` makes a process of this role API only."""

    model_config = SettingsConfigDict(env_prefix="AUTH_")

"""What the cfg role adds to the shared settings, prefixed `CFG_`."""

from pydantic_settings import SettingsConfigDict

from nms.common.settings import RoleSettings


class CfgSettings(RoleSettings):
    """`CFG_WORKER=false` makes a process of this role API only."""

    model_config = SettingsConfigDict(env_prefix="CFG_")

"""What the console role adds to the shared settings, prefixed `CONSOLE_`."""

from pydantic_settings import SettingsConfigDict

from nms.common.settings import RoleSettings


class ConsoleSettings(RoleSettings):
    """`CONSOLE_WORKER=false` makes a process of this role API only."""

    model_config = SettingsConfigDict(env_prefix="CONSOLE_")

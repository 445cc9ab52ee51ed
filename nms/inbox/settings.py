"""What the inbox role adds to the shared settings, prefixed `INBOX_`."""

from pydantic_settings import SettingsConfigDict

from nms.common.settings import RoleSettings


class InboxSettings(RoleSettings):
    """`INBOX_WORKER=false` makes a process of this role API only."""

    model_config = SettingsConfigDict(env_prefix="INBOX_")

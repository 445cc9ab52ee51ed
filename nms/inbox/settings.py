"""What the inbox role adds to the shared settings, prefixed `INBOX_`."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from nms.common.settings import RoleSettings


class InboxSettings(RoleSettings):
    """`INBOX_WORKER=false` makes a process of this role API only."""

    model_config = SettingsConfigDict(env_prefix="INBOX_")

    lease: Annotated[float, Field(ge=1, le=300, description="seconds until a dead worker's replays are taken")] = 15.0

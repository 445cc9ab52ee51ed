"""What the sync role adds to the shared settings, prefixed `SYNC_`."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from nms.common.settings import RoleSettings


class SyncSettings(RoleSettings):
    """`SYNC_WORKER=false` makes a process of this role API only."""

    model_config = SettingsConfigDict(env_prefix="SYNC_")

    pipelines: Annotated[int, Field(ge=1, le=1000, description="pipelines that one worker works at a time")] = 32
    lease: Annotated[float, Field(ge=1, le=300, description="seconds until a dead worker's pipelines are taken")] = 15.0
    spool_budget: Annotated[int, Field(ge=1 << 24, description="bytes of disk for transactions under way")] = 20 << 30
    changes_keep: Annotated[float, Field(gt=0, description="days that changes sent to APIs stay in the archive")] = 30.0
    quarantine_limit: Annotated[int, Field(ge=1, description="held changes of a pipeline before it halts")] = 10_000

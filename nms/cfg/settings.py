"""What the cfg role adds to the shared settings, prefixed `CFG_`."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from nms.common.settings import RoleSettings


class CfgSettings(RoleSettings):
    """`CFG_WORKER=false` makes a process of this role API only."""

    model_config = SettingsConfigDict(env_prefix="CFG_")

    watchers: Annotated[int, Field(ge=1, le=10_000, description="watches that one process keeps at a time")] = 1_000
    watch_revisions: Annotated[
        int, Field(ge=1, le=1_000_000, description="revisions that a watch may begin behind the newest one")
    ] = 10_000
    watch_seconds: Annotated[
        float, Field(ge=0, le=86_400, description="seconds that one watch lasts; who watches goes on with another one")
    ] = 3_600.0
    watch_beat: Annotated[
        float, Field(ge=0.05, le=300, description="seconds between signs of life of a watch that has nothing to tell")
    ] = 15.0
    watch_patience: Annotated[
        float, Field(ge=0.05, le=300, description="seconds that a watcher may leave unread what it was sent")
    ] = 10.0
    probe_seconds: float = Field(5.0, gt=0, le=60, description="seconds after which a probed system counts as silent")
    probes_per_minute: int = Field(10, ge=1, description="systems that one caller may have probed in a minute")
    all_probes_per_minute: int = Field(60, ge=1, description="systems that all callers together may have probed")

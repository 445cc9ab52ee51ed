"""What the warehouse role adds to the shared settings, prefixed `WAREHOUSE_`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from nms.common.settings import RoleSettings


class WarehouseSettings(RoleSettings):
    """`WAREHOUSE_WORKER=false` makes a process of this role API only."""

    model_config = SettingsConfigDict(env_prefix="WAREHOUSE_")

    read_seconds: Annotated[float, Field(ge=0.1, le=60, description="seconds that one read of records may take")] = 5.0
    largest_cost: Annotated[
        float,
        Field(ge=1_000, description="what a list may cost by PostgreSQL's estimate; a page read of disk counts 1"),
    ] = 200_000.0
    lease: Annotated[float, Field(ge=1, le=300, description="seconds until a dead worker's runs are taken")] = 15.0
    export_dir: Annotated[
        Path | None, Field(description="where ordered exports lie; else the directory `exports` in DATA_DIR")
    ] = None
    export_keep: Annotated[float, Field(gt=0, le=28, description="days that ordered exports are kept")] = 7.0
    export_budget: Annotated[
        int, Field(ge=1 << 20, description="bytes of disk for ordered exports; beyond, further ones are refused")
    ] = 20 << 30
    export_seconds: Annotated[
        float,
        Field(ge=1, description="seconds that a streamed export may take: it holds back the clearing of old rows"),
    ] = 3_600.0

"""What the warehouse role adds to the shared settings, prefixed `WAREHOUSE_`."""

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

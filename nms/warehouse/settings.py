"""What the warehouse role adds to the shared settings, prefixed `WAREHOUSE_`."""

from pydantic_settings import SettingsConfigDict

from nms.common.settings import RoleSettings


class WarehouseSettings(RoleSettings):
    """`WAREHOUSE_WORKER=false` makes a process of this role API only."""

    model_config = SettingsConfigDict(env_prefix="WAREHOUSE_")

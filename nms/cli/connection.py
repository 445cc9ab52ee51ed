"""Which databases a command works on: those of the settings, else those of the running embedded server."""

import os
from collections.abc import Callable

from nms.common.db.embedded import Embedded
from nms.common.settings import Settings, get_settings

DATABASES = {"DB_AUTH_DSN": "auth", "DB_NMS_DSN": "nms", "DB_DWH_DSN": "dwh"}


def provide_dsns() -> Settings:
    """Fill DSNs that the settings lack from the embedded server of DATA_DIR, when it runs; else leave them away."""
    settings = get_settings()
    if lacks_dsns(settings):
        server = Embedded(settings.data_dir).find()
        if server is not None:
            settings = publish_dsns(server.dsn)
    return settings


def lacks_dsns(settings: Settings) -> bool:
    """Whether none of the three DSNs is given, which is when the embedded server is ours to use."""
    return not (settings.db_auth_dsn or settings.db_nms_dsn or settings.db_dwh_dsn)


def publish_dsns(dsn_of: Callable[[str], str]) -> Settings:
    """Put the three DSNs into this process's environment, where the settings and child processes find them."""
    for name, database in DATABASES.items():
        os.environ[name] = dsn_of(database)
    get_settings.cache_clear()
    return get_settings()

"""The document of the warehouse as a system: its datasets are the entities of this installation."""

from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import SecretStr

from nms.common.db.dsn import DSNType, dsn_of
from nms.common.document.system import Place, SystemDocument
from nms.common.settings import get_settings


class WarehouseSystem(SystemDocument):
    """The warehouse of this installation as a system; a dataset is an entity by its name."""

    type: Literal["warehouse"]

    @property
    def is_database(self) -> bool:
        """A warehouse is a PostgreSQL database that is ours."""
        return True

    @property
    def place(self) -> Place:
        """There is one warehouse."""
        return ("warehouse",)

    def login(self) -> tuple[str, SecretStr | None]:
        """The DSN of the setting DB_DWH_DSN without its password, and the password; raises what `dsn_of` does."""
        parts = urlsplit(dsn_of(DSNType.DWH, get_settings()))
        user, at, where = parts.netloc.rpartition("@")
        name, _, password = user.partition(":")
        dsn = urlunsplit(parts._replace(netloc=f"{name}{at}{where}"))
        return dsn, SecretStr(unquote(password)) if password else None

    def resolve_place(self) -> Place:
        """Host, port and database of the setting DB_DWH_DSN; raises DatabaseUnknown and DsnRefused."""
        parts = urlsplit(dsn_of(DSNType.DWH, get_settings()))
        return (unquote(parts.hostname or "").lower(), parts.port or 5432, unquote(parts.path.removeprefix("/")))

"""DSNs: which database, what they may say, and how they are shown."""

import re
from enum import StrEnum
from functools import lru_cache
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from nms.common.problem import Problem, Unavailable
from nms.common.settings import Settings

OPTIONS = frozenset({"application_name", "sslmode", "ssl_min_protocol_version", "target_session_attrs"})
"""What may follow the `?`: nothing that names a file, a socket, a program or a server setting."""

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?|\[[0-9A-Fa-f:.]+\]")
_SECRET = re.compile(r"(?P<before>\w+://[^\s:/@]*:)[^\s\"]*@|(?P<option>[?&\s](?:ssl)?password=)[^&\s]*", re.IGNORECASE)


class DSNType(StrEnum):
    """The three databases of NMS."""

    AUTH = "auth"
    NMS = "nms"
    DWH = "dwh"

    @property
    def variable(self) -> str:
        """The name of its setting in the environment."""
        return f"DB_{self.name}_DSN"


class DsnRefused(Problem):
    """A DSN is malformed or says something that DSNs may not say here."""

    status, code, title = 422, "dsn-refused", "This DSN is refused"
    remedy = (
        "Write postgresql://user:password@host:port/database; a socket directory is percent-encoded as host "
        f"(%2Frun%2Fpostgresql); after `?` only {', '.join(sorted(OPTIONS))} may stand."
    )


class DatabaseUnknown(Unavailable):
    """No DSN is set for a database."""

    code, title = "database-unknown", "No database is configured"
    remedy = "Run `nms up` for the embedded server, or set the named DSN in the environment or in `.env`."


def dsn_of(kind: DSNType, settings: Settings) -> str:
    """The checked DSN of a database, in canonical form; raises DatabaseUnknown or DsnRefused."""
    secret = {DSNType.AUTH: settings.db_auth_dsn, DSNType.NMS: settings.db_nms_dsn, DSNType.DWH: settings.db_dwh_dsn}[
        kind
    ]
    if secret is None:
        raise DatabaseUnknown(f"{kind.variable} is not set.", database=kind.value)
    return check_dsn(secret.get_secret_value(), name=kind.variable)


@lru_cache(maxsize=64)  # it is asked for with every request
def check_dsn(dsn: str, *, name: str = "The DSN") -> str:
    """The same DSN in canonical form (`postgresql://`, every part quoted); raises DsnRefused.

    Rebuilding it from its parts means that no driver can read it in another way than this check did.
    """
    if not dsn.isprintable() or " " in dsn:
        raise _refuse(name, "holds characters that must be percent-encoded")
    try:
        parts = urlsplit(dsn)
        port = parts.port
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise _refuse(name, "cannot be read; check host, port and options") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise _refuse(name, "does not start with postgresql://")
    if parts.fragment or "#" in dsn:
        raise _refuse(name, "holds a `#` that must be percent-encoded")
    where = _host_of(parts, name) + (f":{port}" if port is not None else "")
    database = unquote(parts.path.removeprefix("/"))
    if not database or "/" in parts.path.removeprefix("/"):
        raise _refuse(name, "names no database, or more than one")
    if "\0" in database:
        raise _refuse(name, "holds a zero byte")
    return f"postgresql://{_login_of(parts, name)}{where}/{quote(database, safe='')}{_query_of(options, name)}"


def _refuse(name: str, why: str) -> DsnRefused:
    return DsnRefused(f"{name} {why}.")


def _host_of(parts: SplitResult, name: str) -> str:
    host = parts.netloc.rpartition("@")[2]
    if not host.startswith("["):
        host = host.partition(":")[0]
    elif "]" in host:
        host = host[: host.index("]") + 1]
    if not host:
        raise _refuse(name, "names no host")
    plain = unquote(host)
    if "," in plain:
        raise _refuse(name, "names several hosts; name one")
    if plain.startswith("/"):
        if host.startswith("/") or ".." in plain.split("/") or not plain.isprintable():
            raise _refuse(name, "holds a socket directory that is not plain")
        return quote(plain, safe="")
    if not _HOST.fullmatch(host):
        raise _refuse(name, "names a host that is none")
    return host


def _login_of(parts: SplitResult, name: str) -> str:
    login, at, _ = parts.netloc.rpartition("@")
    if "@" in login:
        raise _refuse(name, "holds a second `@`; in a password it is written %40")
    given_user, colon, given_password = login.partition(":")
    user, password = unquote(given_user), unquote(given_password)
    if at and not user:
        raise _refuse(name, "names no user before the `@`")
    if "\0" in user + password:
        raise _refuse(name, "holds a zero byte")
    if not at:
        return ""
    return quote(user, safe="") + (f":{quote(password, safe='')}" if colon else "") + "@"


def _query_of(options: list[tuple[str, str]], name: str) -> str:
    seen: dict[str, str] = {}
    for option, value in options:
        if option not in OPTIONS:
            raise _refuse(name, f"holds the option {option!r}, which may not stand there")
        if option in seen:
            raise _refuse(name, f"holds the option {option!r} twice")
        seen[option] = value
    return f"?{urlencode(seen)}" if seen else ""


def redact(text: str) -> str:
    """The text with every password of a DSN in it replaced by three stars."""
    return _SECRET.sub(lambda found: f"{found['before']}***@" if found["before"] else f"{found['option']}***", text)

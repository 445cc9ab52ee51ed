"""Typed settings: the only reader of the environment and of `.env` (environment first)."""

import os
import re
import secrets
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, NoDecode, SettingsConfigDict

from nms.common.egress.address import parse_allowance
from nms.common.problem import Pointer, Problem

MINIMUM_KEY_BYTES = 32
"""RFC 7518 section 3.2: an HS256 key is at least as long as its hash."""

S = TypeVar("S", bound=BaseSettings)

_ALIASES = {"development": "dev", "testing": "test", "prod": "production"}
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(?:/[A-Za-z0-9._~/-]*)?")
_SAMPLE_WORDS = ("changeme", "change-me", "change_me", "change this", "your-secret", "insecure", "default", "example")


class SettingsRefused(Problem):
    """A setting is missing, malformed or too weak to start with."""

    status, code, title = 500, "settings-refused", "These settings cannot be started with"
    remedy = "Correct the named settings in the environment or in `.env` and start again."


class WeakKey(SettingsRefused):
    """A key is missing, short or a well-known sample outside dev and test."""

    code, title = "weak-key", "A key is too weak to start with"
    remedy = "Set it to a key of its own, for example the output of `openssl rand -base64 48`."

    def __init__(self, detail: str, **facts: Any) -> None:
        super().__init__(detail, **facts)
        # A role refuses while it is imported: the note is what its operator sees below the traceback.
        self.add_note(self.remedy)


class Settings(BaseSettings):
    """What every role and every command shares; secrets are `SecretStr`, so no repr or dump shows them."""

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,
        frozen=True,
        populate_by_name=True,
        validate_default=False,
    )

    environment: Literal["dev", "test", "production"] = Field(
        "dev", description="where this runs; outside dev and test weak keys are refused"
    )
    debug: bool = Field(False, description="tell more in logs and of unforeseen errors")
    testing: bool = Field(False, description="set by tests")
    tz: str = Field("UTC", description="time zone of the process")

    db_auth_dsn: SecretStr | None = Field(None, description="database of users and tokens")
    db_nms_dsn: SecretStr | None = Field(None, description="database of documents, pipelines and runs")
    db_dwh_dsn: SecretStr | None = Field(None, description="database of the warehouse")
    amqp_dsn: SecretStr | None = Field(None, description="RabbitMQ for events; without it PostgreSQL carries them")
    redis_dsn: SecretStr | None = Field(
        None, description="Redis for what may vanish; without it each process keeps its own"
    )

    jwt_secret_key: SecretStr | None = Field(None, description="key of tokens (HS256), 32 bytes or more")
    jwt_algorithm: Literal["EdDSA", "HS256"] = Field(
        "EdDSA", description="how auth signs: with keys of its own, or with JWT_SECRET_KEY that all roles share"
    )
    jwt_issuer: str = Field("nms", description="issuer that tokens name")
    jwt_audience: str = Field("nms", description="audience that tokens name")
    operator_tokens: bool = Field(True, description="accept tokens that `nms token` minted on a machine with the key")
    auth_url: str | None = Field(
        None, description="public address of the role auth, for the login of other roles' reference pages"
    )
    secrets_key: SecretStr | None = Field(None, description="key of secrets at rest, 32 bytes or more")
    secrets_key_before: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="other keys of secrets at rest, comma-separated: they open what is there and seal nothing new"
    )

    data_dir: Path = Field(Path(".nms"), description="the embedded PostgreSQL, spools, generated keys")
    faults: str = Field(default="", validation_alias="NMS_FAULTS", description="fault points to arm; for tests")
    egress_allow: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="inner networks that outbound HTTP may reach, comma-separated, each with `:port` for that one only",
    )
    egress_ca: Path | None = Field(
        None, description="PEM file of authorities that outbound HTTP trusts besides the system's"
    )

    @field_validator("environment", mode="before")
    @classmethod
    def _accept_long_names(cls, value: Any) -> Any:
        return _ALIASES.get(value.lower(), value.lower()) if isinstance(value, str) else value

    @field_validator("auth_url")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        if value is not None and not _ADDRESS.fullmatch(value):
            raise ValueError("write an address such as https://nms.example/auth")
        return value and value.rstrip("/")

    @field_validator("egress_allow", "secrets_key_before", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("egress_allow")
    @classmethod
    def _check_allowances(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_allowance(text)
        return value

    @model_validator(mode="after")
    def _refuse_weak_keys(self) -> Self:
        if self.environment == "production":
            _check_key("JWT_SECRET_KEY", self.jwt_secret_key)
            _check_key("SECRETS_KEY", self.secrets_key)
        return self

    def signing_key(self) -> bytes:
        """The key of tokens: JWT_SECRET_KEY, or in dev and test one generated into DATA_DIR/keys/jwt."""
        return self._key_of(self.jwt_secret_key, "jwt")

    def sealing_key(self) -> bytes:
        """The key of secrets at rest: SECRETS_KEY, or in dev and test one generated into DATA_DIR/keys/secrets."""
        return self._key_of(self.secrets_key, "secrets")

    def sealing_keys(self) -> tuple[bytes, ...]:
        """The key that seals, then those that only open: what a `Sealer` is made of."""
        earlier = [key.get_secret_value().encode() for key in self.secrets_key_before]
        return (self.sealing_key(), *earlier)

    def _key_of(self, given: SecretStr | None, name: str) -> bytes:
        if given is not None:
            return given.get_secret_value().encode()
        return _generated_key(self.data_dir / "keys" / name)

    def secret_values(self) -> list[str]:
        """Every secret this process was given, for redaction by value."""
        fields = (getattr(self, name) for name in type(self).model_fields)
        listed = [each for field in fields for each in (field if isinstance(field, tuple) else (field,))]
        return [each.get_secret_value() for each in listed if isinstance(each, SecretStr)]


class RoleSettings(BaseSettings):
    """What one role adds; a subclass sets `env_prefix` to its name, so that `worker` is `<ROLE>_WORKER`."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_file=".env", extra="ignore", env_ignore_empty=True, hide_input_in_errors=True, frozen=True
    )

    worker: bool = Field(True, description="start the background work of the role too; false: API only")


def read_settings(kind: type[S], **given: Any) -> S:
    """Read settings of one kind; raises SettingsRefused with a pointer per setting and never shows a value."""
    try:
        return kind(**given)
    except ValidationError as error:
        prefix = str(kind.model_config.get("env_prefix") or "")
        pointers = [
            Pointer("/" + (prefix + _name_of(kind, item["loc"])).upper(), item["msg"]) for item in error.errors()
        ]
        names = ", ".join(item.pointer[1:] for item in pointers)
        raise SettingsRefused(f"These settings are malformed: {names}.", pointers=pointers) from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once; `get_settings.cache_clear()` makes the next call read again."""
    return read_settings(Settings)


def environment_value(name: str) -> str | None:
    """One variable by its exact name, environment first, then `.env`: what `env://NAME` in a document stands for."""
    if name in os.environ:
        return os.environ[name]
    return DotEnvSettingsSource(Settings, env_file=".env", case_sensitive=True).env_vars.get(name)


def multiprocess_directory() -> Path | None:
    """PROMETHEUS_MULTIPROC_DIR, of the environment only: prometheus-client reads it there when it is imported."""
    given = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(given) if given else None


def _name_of(kind: type[BaseSettings], location: tuple[int | str, ...]) -> str:
    return str(location[0]) if location else kind.__name__


def _check_key(name: str, key: SecretStr | None) -> None:
    if key is None:
        raise WeakKey(f"{name} is not set, and outside dev and test there is no default.", setting=name)
    value = key.get_secret_value()
    if len(value.encode()) < MINIMUM_KEY_BYTES:
        raise WeakKey(f"{name} is shorter than {MINIMUM_KEY_BYTES} bytes.", setting=name)
    if len(set(value)) < 8 or any(word in value.lower() for word in _SAMPLE_WORDS):
        raise WeakKey(f"{name} is a sample value, not a key of its own.", setting=name)


def _generated_key(path: Path) -> bytes:
    """Read the key file, or make it; when several processes start together the first one's key wins."""
    try:
        if not path.exists():
            _write_key(path)
        key = path.read_bytes()
    except OSError as error:
        raise SettingsRefused(
            f"The key file {path} cannot be used: {error.strerror}.",
            remedy="Run as the user who owns DATA_DIR, or set JWT_SECRET_KEY and SECRETS_KEY.",
        ) from None
    if len(key) < MINIMUM_KEY_BYTES:
        raise WeakKey(f"The key file {path} holds no whole key.", remedy="Remove the file; a new one is made.")
    return key


def _write_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_urlsafe(48).encode())
            file.flush()
            os.fsync(handle)
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()

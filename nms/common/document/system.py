"""The document of a system: what is managed and where it stands."""

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from nms.common.document.address import Address, parse_address
from nms.common.document.broker import Broker, parse_broker, parse_server
from nms.common.document.values import Name, refusal
from nms.common.problem import Problem
from nms.common.secret import check_reference, is_reference, resolve

Place = tuple[object, ...]
"""What makes two systems one as far as documents show."""

Addressed = TypeVar("Addressed", Address, Broker)


class Document(BaseModel):
    """What every document has; unknown keys are refused, types are not converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    kind: str
    name: Name


class SystemUnreadable(Problem):
    """The DSN behind a reference is not one that NMS takes."""

    status, code, title = 409, "system-unreadable", "The address of a system cannot be read"
    remedy = "Correct the DSN that the reference names; documents and references never hold files or sockets."


def _check_dsn(parse: Callable[[str], Address | Broker]) -> Callable[[str], str]:
    def check(text: str) -> str:
        try:
            if is_reference(text):
                return check_reference(text)
            address = parse(text)
        except ValueError as error:
            raise refusal(str(error)) from None
        if address.password is not None:
            raise refusal("a password does not stand in the DSN; take it out and write `password: secret://name`")
        return str(address)

    return check


def _check_server(text: str) -> str:
    try:
        return parse_server(text)
    except ValueError as error:
        raise refusal(str(error)) from None


def _check_password(value: object) -> object:
    if value is None:
        return None
    if not isinstance(value, str) or not is_reference(value):
        raise refusal(
            "a password does not stand in a document; write `secret://name`, `env://NAME` or `file:///run/secrets/name`"
        )
    try:
        return check_reference(value)
    except ValueError as error:
        raise refusal(str(error)) from None


Secret = Annotated[
    str,
    BeforeValidator(_check_password),
    Field(description="a reference: secret://name, env://NAME or file:///path", examples=["env://CRM_KEY"]),
]
Password = Annotated[
    str | None,
    BeforeValidator(_check_password),
    Field(description="a reference: secret://name, env://NAME or file:///path", examples=["env://BILLING_PASSWORD"]),
]


class SystemDocument(Document):
    """Something managed; which one stands in `type`."""

    kind: Literal["system"]
    type: str

    @property
    def is_database(self) -> bool:
        """Whether its datasets are tables of a PostgreSQL database."""
        return False

    @property
    def place(self) -> Place:
        """Where it stands as far as the document shows, or the reference that says so."""
        return (self.name,)

    @property
    def origins(self) -> tuple[str, ...]:
        """Where what it logs in with goes: schemes, hosts and ports, or the reference that names them."""
        return ()

    def resolve_place(self) -> Place:
        """Where it stands, with references read; raises SecretMissing and SystemUnreadable."""
        return self.place


class PostgresSystem(SystemDocument):
    """A PostgreSQL database as a system."""

    type: Literal["postgres"]
    dsn: Annotated[
        str,
        AfterValidator(_check_dsn(parse_address)),
        Field(
            description="postgresql://user@host:port/database, optionally ?sslmode=...; or secret://name, env://NAME, file:///path",
            examples=["postgresql://billing@127.0.0.1:5432/billing", "env://BILLING_DSN"],
        ),
    ]
    password: Password = None

    @property
    def is_database(self) -> bool:
        """Its datasets are its tables."""
        return True

    @property
    def place(self) -> Place:
        """Host, port and database, or the reference that names them."""
        return (self.dsn,) if is_reference(self.dsn) else parse_address(self.dsn).place

    @property
    def origins(self) -> tuple[str, ...]:
        """Its server, or the reference that names it."""
        return (self.dsn,) if is_reference(self.dsn) else (parse_address(self.dsn).origin,)

    def resolve_place(self) -> Place:
        """Host, port and database, with references read."""
        return self.address().place

    def address(self) -> Address:
        """The address with its password; raises SecretMissing and SystemUnreadable.

        References are read each time, so that a rotated password is taken up at the next connection.
        """
        address = _read(self, self.dsn, parse_address)
        return address if self.password is None else address.with_password(resolve(self.password, *self.origins))


class AmqpSystem(SystemDocument):
    """A RabbitMQ broker, one virtual host of it, as a system."""

    type: Literal["amqp"]
    dsn: Annotated[
        str,
        AfterValidator(_check_dsn(parse_broker)),
        Field(
            description="amqp://user@host:port/vhost or amqps://...; or secret://name, env://NAME, file:///path",
            examples=["amqp://nms@127.0.0.1:5672/%2F", "env://BROKER_DSN"],
        ),
    ]
    password: Password = None

    @property
    def place(self) -> Place:
        """Host, port and virtual host, or the reference that names them."""
        return (self.dsn,) if is_reference(self.dsn) else parse_broker(self.dsn).place

    @property
    def origins(self) -> tuple[str, ...]:
        """Its broker, or the reference that names it."""
        return (self.dsn,) if is_reference(self.dsn) else (parse_broker(self.dsn).origin,)

    def resolve_place(self) -> Place:
        """Host, port and virtual host, with references read."""
        return self.broker().place

    def broker(self) -> Broker:
        """The broker with its password; raises SecretMissing and SystemUnreadable."""
        broker = _read(self, self.dsn, parse_broker)
        return broker if self.password is None else broker.with_password(resolve(self.password, *self.origins))


class KafkaSystem(SystemDocument):
    """A Kafka cluster as a system."""

    type: Literal["kafka"]
    servers: Annotated[
        tuple[Annotated[str, AfterValidator(_check_server)], ...],
        Field(min_length=1, max_length=100, strict=False, description="host:port of some of its brokers"),
    ]
    user: Annotated[str | None, Field(max_length=255, description="for SASL; its password stands in `password`")] = None
    password: Password = None
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    tls: bool = False

    @property
    def place(self) -> Place:
        """The servers, in order."""
        return tuple(sorted(self.servers))

    @property
    def origins(self) -> tuple[str, ...]:
        """Its servers, with what shows of a password on the way."""
        scheme = "kafka+tls" if self.tls else "kafka+clear" if self.mechanism == "PLAIN" else "kafka"
        return tuple(f"{scheme}://{server}" for server in self.servers)

    def login(self) -> SecretStr | None:
        """The password; raises SecretMissing."""
        return None if self.password is None else resolve(self.password, *self.origins)


def _read(system: SystemDocument, dsn: str, parse: Callable[[str], Addressed]) -> Addressed:
    text = resolve(dsn, dsn).get_secret_value() if is_reference(dsn) else dsn
    try:
        return parse(text)
    except ValueError as error:
        raise SystemUnreadable(
            f"The DSN of system {system.name} is refused: {error}.", system=system.name, reference=dsn
        ) from None

"""The document of a system: what is managed and where it stands."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from nms.common.document.address import Address, parse_address
from nms.common.document.values import Name, only, refusal
from nms.common.problem import Problem
from nms.common.secret import check_reference, is_reference, resolve


class Document(BaseModel):
    """What every document has; unknown keys are refused, types are not converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    kind: str
    name: Name


class SystemUnreadable(Problem):
    """The DSN behind a reference is not one that NMS takes."""

    status, code, title = 409, "system-unreadable", "The address of a system cannot be read"
    remedy = "Correct the DSN that the reference names; documents and references never hold files or sockets."


def _check_dsn(text: str) -> str:
    try:
        if is_reference(text):
            return check_reference(text)
        address = parse_address(text)
    except ValueError as error:
        raise refusal(str(error)) from None
    if address.password is not None:
        raise refusal("a password does not stand in the DSN; take it out and write `password: env://NAME`")
    return str(address)


def _check_password(value: object) -> object:
    if value is None:
        return None
    if not isinstance(value, str) or not is_reference(value):
        raise refusal("a plain password cannot be stored yet; write `env://NAME` or `file:///run/secrets/name`")
    try:
        return check_reference(value)
    except ValueError as error:
        raise refusal(str(error)) from None


class SystemDocument(Document):
    """A PostgreSQL database as a system."""

    kind: Literal["system"]
    type: Annotated[Literal["postgres"], BeforeValidator(only(("postgres",), ("rest", "amqp", "kafka")))]
    dsn: Annotated[
        str,
        AfterValidator(_check_dsn),
        Field(
            description="postgresql://user@host:port/database, optionally ?sslmode=...; or env://NAME, file:///path",
            examples=["postgresql://billing@127.0.0.1:5432/billing", "env://BILLING_DSN"],
        ),
    ]
    password: Annotated[
        str | None,
        BeforeValidator(_check_password),
        Field(description="a reference: env://NAME or file:///path", examples=["env://BILLING_PASSWORD"]),
    ] = None

    @property
    def stated_address(self) -> Address | None:
        """The address that stands in the document itself; None where the DSN is a reference."""
        return None if is_reference(self.dsn) else parse_address(self.dsn)

    def address(self) -> Address:
        """The address with its password; raises SecretMissing and SystemUnreadable.

        References are read each time, so that a rotated password is taken up at the next connection.
        """
        address = self.stated_address or self._referenced_address()
        return address if self.password is None else address.with_password(resolve(self.password))

    def _referenced_address(self) -> Address:
        try:
            return parse_address(resolve(self.dsn).get_secret_value())
        except ValueError as error:
            raise SystemUnreadable(
                f"The DSN of system {self.name} is refused: {error}.", system=self.name, reference=self.dsn
            ) from None

"""What a column of the fidelity suite is: a type, and values of it in text form."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A type as `create table` takes it, and values as its input function takes them.

    `portable` says that the binary form means the same on every server; `needs` names what not every server has:
    `xml`, an extension, or the first major version.
    """

    type: str
    values: tuple[str, ...]
    portable: bool = True
    needs: str = ""


def column(kind: str, *values: str, portable: bool = True, needs: str = "") -> Column:
    """A column of a type with values."""
    return Column(kind, values, portable, needs)

"""The one way to write identifiers and constants into SQL; values are parameters wherever PostgreSQL takes them."""


def quote_identifier(name: str) -> str:
    """A quoted identifier (PostgreSQL manual, 4.1.1)."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(value: str) -> str:
    """A quoted string constant, safe whatever standard_conforming_strings says (PostgreSQL manual, 4.1.2)."""
    quoted = "'" + value.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in value else quoted

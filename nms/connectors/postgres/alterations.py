"""Statements by which a table or a publication follows what changed at the source; names are quoted by `statements`."""

from collections.abc import Sequence

from nms.common.db.quoting import quote_identifier, quote_literal
from nms.connectors.postgres.statements import quote_names


def create_table(table: str, columns: Sequence[tuple[str, str, bool]], key: Sequence[str]) -> str:
    """A table of columns (name, type, whether required), its name quoted already."""
    lines = [f"{quote_identifier(name)} {kind}{' not null' * required}" for name, kind, required in columns]
    lines += [f"primary key ({quote_names(key)})"] if key else []
    return f"create table {table} (" + ", ".join(lines) + ");"


def add_to_publication(name: str, table: str) -> str:
    """Publish one more table."""
    return f"alter publication {quote_identifier(name)} add table {table}"


def drop_from_publication(name: str, table: str) -> str:
    """Publish a table no longer."""
    return f"alter publication {quote_identifier(name)} drop table {table}"


def add_column(table: str, name: str, kind: str, default: str | None = None) -> str:
    """A new column; rows that are there get the default (the text form of a value)."""
    value = "" if default is None else f" default {quote_literal(default).lstrip()}::{kind}"
    return f"alter table {table} add column {quote_identifier(name)} {kind}{value};"


def alter_column(table: str, name: str, kind: str) -> str:
    """Another type for a column, its values cast as in an assignment."""
    return f"alter table {table} alter column {quote_identifier(name)} type {kind};"


def cast_column(table: str, name: str, kind: str) -> str:
    """Another type for a column, its values cast by their text form."""
    quoted = quote_identifier(name)
    return f"alter table {table} alter column {quoted} type {kind} using {quoted}::text::{kind};"


def drop_column(table: str, name: str) -> str:
    """A column less."""
    return f"alter table {table} drop column {quote_identifier(name)};"


def rename_column(table: str, name: str, new: str) -> str:
    """Another name for a column."""
    return f"alter table {table} rename column {quote_identifier(name)} to {quote_identifier(new)};"


def rename_table(table: str, new: str) -> str:
    """Another name for a table."""
    return f"alter table {table} rename to {quote_identifier(new)};"


def add_key(table: str, columns: Sequence[str]) -> str:
    """A primary key."""
    return f"alter table {table} add primary key ({quote_names(columns)});"


def create_key(table: str, columns: Sequence[str]) -> str:
    """A unique index by which rows are told apart."""
    return f"create unique index on {table} ({quote_names(columns)});"


def create_publication(name: str, tables: Sequence[str], actions: str) -> str:
    """A publication of some tables, partitions under their root."""
    members = f" for table {', '.join(tables)}" if tables else ""
    return (
        f"create publication {quote_identifier(name)}{members}"
        f" with (publish = '{actions}', publish_via_partition_root = true)"
    )


def drop_publication(name: str) -> str:
    """Remove a publication, if it is there."""
    return f"drop publication if exists {quote_identifier(name)}"


def grant_read(table: str, login: str) -> str:
    """The right to copy and follow a table."""
    return f"grant select on {table} to {quote_identifier(login)};"


def grant_write(table: str, login: str) -> str:
    """The rights to apply changes to a table."""
    return f"grant select, insert, update, delete, truncate on {table} to {quote_identifier(login)};"


def grant_update(table: str, columns: Sequence[str], login: str) -> str:
    """The right to update columns."""
    return f"grant update ({quote_names(columns)}) on {table} to {quote_identifier(login)};"

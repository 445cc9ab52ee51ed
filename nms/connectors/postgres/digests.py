"""The SQL that tells whether two tables have the same rows."""

from collections.abc import Sequence

from nms.connectors.postgres.statements import quote_names


def digest_table(table: str, columns: Sequence[str], key: Sequence[str]) -> str:
    """Rows in each of 256 parts of a table (by the hash of the key): their number, two sums of hashes of their text."""
    row, name = _text_of(columns), _text_of(key or columns)
    return (
        f"select hashtextextended({name}, 0) & 255 as part, count(*) as rows,"
        f" sum(hashtextextended({row}, 1)::numeric)::text || ' ' || sum(hashtextextended({row}, 2)::numeric)::text"
        f" as digest from {table} group by 1"
    )


def list_hashes(table: str, columns: Sequence[str], key: Sequence[str]) -> str:
    """Key, as text, and hash of every row of the parts that are given as a parameter."""
    row, name = _text_of(columns), _text_of(key or columns)
    return (
        f"select {name} as key, md5({row}) as hash from {table}"
        f" where hashtextextended({name}, 0) & 255 = any($1::bigint[])"
    )


def _text_of(columns: Sequence[str]) -> str:
    """One column as text, or several as a row's text."""
    return f"{quote_names(columns)}::text" if len(columns) == 1 else f"row({quote_names(columns)})::text"

"""The text of statements over plain tuples. Opens nothing, holds no connection, sees no value."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Table

BIND_LIMIT = 65_535
"""Values that PostgreSQL takes in one statement."""


def quoted(name: str) -> str:
    """An identifier as SQL has it, whatever stands in it."""
    return '"' + name.replace('"', '""') + '"'


def named(table: Table, schema: str | None = None) -> str:
    """The table's name for a statement of the driver's; None: without a schema."""
    return table.name if schema is None else f"{quoted(schema)}.{table.name}"


def upsert(
    table: Table, columns: Sequence[str], keys: Sequence[str], mark: str, *, schema: str | None = None, times: int = 1
) -> str:
    """`INSERT … ON CONFLICT (keys) DO UPDATE`, the same words in SQLite and PostgreSQL.

    Args:
        table: Where to.
        columns: What each tuple holds, in order.
        keys: The columns that identify a row.
        mark: `?`, or `$` for `$1`, `$2` and so on.
        schema: Of the table; None: not named.
        times: Rows of the statement; two of one key in it are an error of PostgreSQL's.
    """
    changes = [f"{name}=excluded.{name}" for name in columns if name not in keys]
    # Only names of our own schema and placeholders stand in the text.
    return (
        f"{insert(table, columns, mark, schema=schema, times=times)} "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {', '.join(changes)}"
    )


def insert(table: Table, columns: Sequence[str], mark: str, *, schema: str | None = None, times: int = 1) -> str:
    """`INSERT` of tuples with these columns, `times` of them."""
    if unknown := [name for name in columns if name not in table.columns]:
        raise KeyError(f"{table.name} has no column {', '.join(unknown)}")
    width = len(columns)
    marks = [mark if mark == "?" else f"{mark}{number}" for number in range(1, width * times + 1)]
    values = ", ".join(f"({', '.join(marks[start : start + width])})" for start in range(0, len(marks), width))
    return f"INSERT INTO {named(table, schema)} ({', '.join(columns)}) VALUES {values}"  # noqa: S608


def delete(table: Table, keys: Sequence[str], mark: str, *, schema: str | None = None) -> str:
    """`DELETE` of the row with these values, in the order of `keys`; `mark` is `?` or `%s`."""
    place = named(table, schema)
    if mark == "%s":  # the driver looks for its placeholders in the whole text
        place = place.replace("%", "%%")
    return f"DELETE FROM {place} WHERE {' AND '.join(f'{name}={mark}' for name in keys)}"  # noqa: S608

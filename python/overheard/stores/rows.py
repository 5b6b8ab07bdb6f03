"""The text of statements over plain tuples. Opens nothing, holds no connection, sees no value."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Table


def upsert(table: Table, columns: Sequence[str], keys: Sequence[str], mark: str) -> str:
    """`INSERT … ON CONFLICT (keys) DO UPDATE`, the same words in SQLite and PostgreSQL.

    Args:
        table: Where to.
        columns: What each tuple holds, in order.
        keys: The columns that identify a row.
        mark: The driver's placeholder.
    """
    if unknown := [name for name in columns if name not in table.columns]:
        raise KeyError(f"{table.name} has no column {', '.join(unknown)}")
    changes = [f"{name}=excluded.{name}" for name in columns if name not in keys]
    marks = ", ".join([mark] * len(columns))
    # Only names of our own schema and placeholders stand in the text.
    return (
        f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks}) "  # noqa: S608
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {', '.join(changes)}"
    )


def insert(table: Table, columns: Sequence[str], mark: str) -> str:
    """`INSERT` of tuples with these columns."""
    marks = ", ".join([mark] * len(columns))
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608

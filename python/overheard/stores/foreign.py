"""Tables of our names that we have not made: used as they are when they have what we need, else refused in a sentence.

Reads the database's catalogue. Alters nothing: what brings another system's `geo_runs` up is `geo_runs.sql`, by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Double,
    Float,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    inspect,
)
from sqlalchemy.engine import Inspector

from overheard.errors import InternalError, StoreError
from overheard.stores import schema

_COUNTS = ("query_count", "current_query_index", "answered", "failed")
"""Counts of questions: a smaller whole number than ours will do."""


def is_uuid(looked: Inspector, table: str, place: str | None) -> bool:
    """Whether a table's `batch_id` is `uuid`; also when there is no such table."""
    if not looked.has_table(table, schema=place):
        return True
    columns = {column["name"]: column["type"] for column in looked.get_columns(table, schema=place)}
    return isinstance(columns["batch_id"], Uuid)


def refuse(connection: Connection, tables: Sequence[Table], place: str | None) -> None:
    """Refuses tables that are there and cannot be used.

    Args:
        connection: Any.
        tables: Tables that a step is about to make.
        place: PostgreSQL's schema; None: not named.

    Raises:
        StoreError: Names each table, what it lacks, and the two ways out.
    """
    looked = inspect(connection)
    problems = [
        f"{table.name} {', '.join(found)}"
        for table in tables
        if looked.has_table(table.name, schema=place) and (found := list(_differences(looked, table, place)))
    ]
    if not problems:
        return
    ways = []
    if any(problem.startswith(f"{schema.geo_runs.name} ") for problem in problems):
        ways.append("run the script overheard/stores/geo_runs.sql on it (overheard.stores.script() gives its text)")
    if connection.dialect.name == "postgresql":
        ways.append("keep overheard's tables apart with OVERHEARD_STORE_SCHEMA (or ?schema= in OVERHEARD_STORE)")
    else:
        ways.append("set OVERHEARD_STORE to another file")
    raise StoreError(
        f"there are tables of our names that overheard has not made and cannot use: {'; '.join(problems)}. "
        f"Nothing was changed: {', or '.join(ways)}"
    )


def _differences(looked: Inspector, table: Table, place: str | None) -> Iterator[str]:
    """What a table that is there lacks, in words that follow its name."""
    there = {column["name"]: column for column in looked.get_columns(table.name, schema=place)}
    if missing := [column.name for column in table.columns if column.name not in there]:
        yield f"lacks {', '.join(missing)}"
    if looked.bind.dialect.name == "postgresql":  # SQLite's columns take values of every type
        for column in table.columns:
            if column.name in there and not _fits(column, there[column.name]["type"]):
                wanted = column.type.compile(dialect=looked.bind.dialect).lower()
                yield f"has {column.name} as {str(there[column.name]['type']).lower()} (needed: {wanted})"
    ours = set(table.columns.keys())
    for name, found in there.items():
        filled = found["nullable"] or found["default"] is not None or found.get("identity") or found.get("computed")
        if filled:
            continue
        if name not in ours:
            yield f"has {name}, which must have a value and has no default"
        elif table.c[name].nullable:
            yield f"has {name}, which must have a value and may be empty here"
    wanted_key = [column.name for column in table.primary_key]
    if not missing and not _is_unique(looked, table.name, wanted_key, place):
        yield f"has no unique index on ({', '.join(wanted_key)})"


def _is_unique(looked: Inspector, table: str, columns: Sequence[str], place: str | None) -> bool:
    wanted = set(columns)
    if set(looked.get_pk_constraint(table, schema=place)["constrained_columns"]) == wanted:
        return True
    if any(set(entry["column_names"]) == wanted for entry in looked.get_unique_constraints(table, schema=place)):
        return True
    return any(
        entry["unique"]
        and set(entry["column_names"]) == wanted
        and not entry.get("dialect_options", {}).get("postgresql_where")
        for entry in looked.get_indexes(table, schema=place)
    )


def _fits(column: Column[Any], there: Any) -> bool:
    """Whether a column of PostgreSQL takes and gives what ours does."""
    wanted = column.type
    if isinstance(wanted, schema.BatchId):
        return isinstance(there, Uuid)
    if isinstance(wanted, schema.Instant):
        return isinstance(there, DateTime) and bool(there.timezone)
    if isinstance(wanted, Text):
        return isinstance(there, String) and there.length is None
    if isinstance(wanted, BigInteger):
        return isinstance(there, BigInteger) or (column.name in _COUNTS and _is_whole(there))
    if isinstance(wanted, Integer):
        return _is_whole(there)
    if isinstance(wanted, Double):
        return isinstance(there, Float | Numeric | Integer)
    if isinstance(wanted, Boolean | LargeBinary):
        return isinstance(there, type(wanted))
    raise InternalError(f"{column}: no rule for {wanted!r}")


def _is_whole(there: Any) -> bool:
    return isinstance(there, Integer) and not isinstance(there, SmallInteger)

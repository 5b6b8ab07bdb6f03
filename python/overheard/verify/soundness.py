"""I7: no row without its parent, no snapshot id among the results, and a database that its own checks find sound."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Column, Table, Text

from overheard.stores import schema
from overheard.verify.reading import Reader

_PARENTS = (
    ("question_runs", "extractions", "batch_id, cell_key"),
    ("extractions", "org_evals", "batch_id, cell_key"),
    ("org_evals", "org_citations", "batch_id, cell_key"),
    ("org_evals", "org_competitors", "batch_id, cell_key"),
    ("geo_runs", "question_runs", "run_id"),
)
_PREFIXES = ("s_", "sd_")
_SHORTEST = 12  # characters after the prefix
# Texts of ours: what an engine said may hold any word.
_OURS = (
    ("question_runs", "error"),
    ("question_runs", "served_model"),
    ("question_runs", "finish_reason"),
    ("extractions", "error"),
    ("geo_runs", "error_message"),
    ("geo_runs", "journal_id"),
    ("facts", "name"),
    ("facts", "value"),
)


async def database_is_sound(reader: Reader, snapshot_ids: Collection[str]) -> tuple[int, str | None, str | None]:
    """Looks at the whole store, whatever batch was asked for.

    Args:
        reader: The store.
        snapshot_ids: Ids that the journal knows.
    """
    for parent, child, key in _PARENTS:
        # Only names of our own tables stand in the text.
        orphan = await reader.first(
            f"SELECT {key} FROM {child} EXCEPT SELECT {key} FROM {parent}",  # noqa: S608
        )
        if orphan:
            return 0, f"{child} {orphan} has no row in {parent}", None
    if problem := await _snapshot_id(reader, snapshot_ids):
        return 0, problem, None
    if reader.sqlite:
        broken = await reader.rows("PRAGMA foreign_key_check")
        if broken:
            return 0, f"foreign key: {broken[0]}", None
        (first, *_) = await reader.rows("PRAGMA integrity_check")
        if first["integrity_check"] != "ok":
            return 0, f"integrity: {first['integrity_check']}", None
    (total,) = await reader.rows("SELECT count(*) AS count FROM question_runs")
    return int(total["count"]), None, None


async def _snapshot_id(reader: Reader, known: Collection[str]) -> str | None:
    for table, column in _OURS:
        # Only names of our own tables and columns stand in the text.
        for row in await reader.rows(
            f"SELECT DISTINCT {column} AS value FROM {table}"  # noqa: S608
            f" WHERE {column} LIKE '%s\\_%' ESCAPE '\\' OR {column} LIKE '%sd\\_%' ESCAPE '\\'"
        ):
            if found := _looks_like_one(row["value"]):
                return f"{table}.{column} holds the snapshot id {found}"
    places = [(table.name, column.name) for table in schema.metadata.sorted_tables for column in _texts(table)]
    for table, column in places if known else ():
        for name in known:
            if await reader.first(f"SELECT 1 FROM {table} WHERE {column} LIKE ?", f"%{name}%"):  # noqa: S608
                return f"{table}.{column} holds the snapshot id {name}"
    return None


def _looks_like_one(text: str) -> str | None:
    """The first word that has the form of a snapshot id."""
    words = "".join(character if character.isalnum() or character == "_" else " " for character in text).split()
    for word in words:
        for prefix in _PREFIXES:
            rest = word.removeprefix(prefix)
            if rest != word and len(rest) >= _SHORTEST and rest.isascii() and rest.isalnum() and rest == rest.lower():
                return word
    return None


def _texts(table: Table) -> list[Column[Any]]:
    return [column for column in table.columns if isinstance(column.type, Text)]

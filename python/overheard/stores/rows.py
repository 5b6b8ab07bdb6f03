"""Statements over plain tuples, and rows back into what the engine reads. Opens nothing, holds no connection."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Table

JSON_FIELDS = ("search_queries", "citations", "error")


def upsert(table: Table, columns: Sequence[str], keys: Sequence[str], mark: str, *, reset: Iterable[str] = ()) -> str:
    """`INSERT … ON CONFLICT (keys) DO UPDATE`, the same words in SQLite and PostgreSQL.

    Args:
        table: Where to.
        columns: What each tuple holds, in order.
        keys: The columns that identify a row.
        mark: The driver's placeholder.
        reset: Columns that fall back to NULL or their default 0 when the row is replaced.
    """
    known = {column.name: column for column in table.columns}
    if unknown := [name for name in columns if name not in known]:
        raise KeyError(f"{table.name} has no column {', '.join(unknown)}")
    changes = [f"{name}=excluded.{name}" for name in columns if name not in keys]
    changes += [f"{name}={'NULL' if known[name].nullable else '0'}" for name in reset]
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


def question_run(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `question_runs` as the engine reads a question run (`QuestionRun.to_dict`)."""
    loaded = {name: json.loads(row[name]) if row[name] else None for name in JSON_FIELDS}
    outcome: dict[str, Any] = {
        "status": row["status"],
        "text": row["answer_text"],
        "citations": loaded["citations"] or [],
        "usage": {
            name: row[name]
            for name in (
                "input_tokens",
                "cached_input_tokens",
                "cache_write_tokens",
                "output_tokens",
                "reasoning_tokens",
                "searches",
                "records",
            )
        },
        "search_queries": loaded["search_queries"] or [],
        "error": loaded["error"],
        "raw": bytes(row["raw_body"] or b"").decode("utf-8", "replace"),
    }
    for name in ("cost_micro_usd", "maybe_charged_micro_usd", "served_model", "location_applied", "finish_reason"):
        outcome[name] = row[name]
    for name in ("attempts", "started_at_ms", "finished_at_ms"):
        outcome[name] = row[name]
    searched = row["web_search_triggered"]
    outcome["web_search_triggered"] = None if searched is None else bool(searched)
    key = {name: row[name] for name in ("question_id", "model", "location", "repeat")}
    return {
        "batch_id": row["batch_id"],
        "run_id": row["run_id"],
        "org_id": row["org_id"],
        "key": key,
        "question": row["question"],
        "outcome": outcome,
    }

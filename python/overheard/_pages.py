"""Pages of a batch's question runs and extractions as plain rows, for the tables that leave overheard.

Reads only, one short transaction a page, so that an export of a large batch holds up nobody; a batch that is at work
is read as far as it is at each page. Must not keep what it has given.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Select, Table, and_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from overheard._columns import COLUMNS, ORG_CITATION_FIELDS, SOURCE_FIELDS, What
from overheard.batch import Batch
from overheard.stores import SqlStore, schema
from overheard.stores.database import Database

Row = dict[str, Any]

_MOST_ROWS = 500  # of a page
_PAGE_CHARACTERS = 4_000_000  # of a page's answers; a page above it makes the next one smaller

_RUNS, _EXTRACTIONS, _EVALS = schema.question_runs.c, schema.extractions.c, schema.org_evals.c
# The table's name of a column, where ours is another.
_RENAMED: Mapping[str, Column[Any]] = {
    "started_at": _RUNS.started_at_ms,
    "finished_at": _RUNS.finished_at_ms,
    "error_message": _RUNS.error,
    "extracted_at": _EXTRACTIONS.extracted_at_ms,
    "extraction_error": _EXTRACTIONS.error,
    "extraction_cost_micro_usd": _EXTRACTIONS.cost_micro_usd,
    "extraction_maybe_charged_micro_usd": _EXTRACTIONS.maybe_charged_micro_usd,
}
# Made here, not read as a column.
_MADE = frozenset({"batch_id", "surface", "extracted", "org_competitors", "org_citations"})


async def pages(store: SqlStore, batch: Batch, what: What) -> AsyncIterator[list[Row]]:
    """Pages of rows with the columns of `COLUMNS[what]`, ordered by cell key (bytewise).

    Args:
        store: Where from.
        batch: With its model runs, which say the surface.
        what: `question-runs`, `extractions` (without the question runs that have none) or `joined`.
    """
    surfaces = {run.run_id: run.surface or None for run in batch.model_runs}
    after, limit = "", 25
    while True:
        rows = await store.database.operations.run(_page, store.database, batch.batch_id, what, after, limit)
        if not rows:
            return
        after = rows[-1]["cell_key"]
        for row in rows:
            row["surface"] = surfaces.get(row["run_id"])
        characters = sum(len(row.get("answer_text") or "") for row in rows)
        short = len(rows) < limit
        # An answer may have 16 MiB: what a page holds is bounded by its text, not by its rows.
        limit = max(1, limit // 4) if characters > _PAGE_CHARACTERS else min(_MOST_ROWS, limit * 2)
        yield rows
        if short:
            return


async def _page(database: Database, batch_id: str, what: What, after: str, limit: int) -> list[Row]:
    async with database.reading() as connection:
        found = (await connection.execute(_wanted(batch_id, what, after, limit))).mappings()
        rows = [_row(batch_id, dict(entry)) for entry in found]
        if what != "question-runs" and rows:
            keys = [row["cell_key"] for row in rows]
            competitors = await _children(connection, schema.org_competitors, batch_id, keys)
            citations = await _children(connection, schema.org_citations, batch_id, keys)
            for row in rows:
                key = row["cell_key"]
                row["extracted"] = row.get("extracted_at") is not None
                row["org_competitors"] = [entry["name"] for entry in competitors[key]] if row["extracted"] else None
                row["org_citations"] = [_citation(entry) for entry in citations[key]] if row["extracted"] else None
    return rows


def _wanted(batch_id: str, what: What, after: str, limit: int) -> Select[Any]:
    wanted = [column.name for column in COLUMNS[what]]
    columns = [_column(name).label(name) for name in wanted if name not in _MADE]
    joined = schema.question_runs.outerjoin(schema.extractions, _same(_RUNS, _EXTRACTIONS))
    joined = joined.outerjoin(schema.org_evals, _same(_RUNS, _EVALS))
    query = select(*columns).select_from(joined)
    query = query.where(_RUNS.batch_id == batch_id, _RUNS.cell_key > after)
    if what == "extractions":
        query = query.where(_EXTRACTIONS.cell_key.is_not(None))
    return query.order_by(_RUNS.cell_key).limit(limit)


def _column(name: str) -> Column[Any]:
    if name in _RENAMED:
        return _RENAMED[name]
    return _RUNS[name] if name in _RUNS else _EVALS[name]


def _same(left: Any, right: Any) -> Any:
    return and_(left.batch_id == right.batch_id, left.cell_key == right.cell_key)


async def _children(
    connection: AsyncConnection, table: Table, batch_id: str, keys: Sequence[str]
) -> Mapping[str, list[Mapping[str, Any]]]:
    """The rows of each key in their order. A query of its own: a join would repeat the answer for each of them."""
    query = select(table).where(table.c.batch_id == batch_id, table.c.cell_key.in_(keys))
    children: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in (await connection.execute(query.order_by(table.c.cell_key, table.c.position))).mappings():
        children[entry["cell_key"]].append(dict(entry))
    return children


def _row(batch_id: str, entry: Mapping[str, Any]) -> Row:
    row = {"batch_id": batch_id, **entry}
    for name in ("error_message", "extraction_error"):
        if row.get(name) is not None:
            row[name] = _message(row[name])
    for name in ("started_at", "finished_at", "extracted_at"):
        row[name] = row.get(name) or None  # the tables say 0 for a moment that is not known
    if "citations" in row:
        row["citations"] = [_source(item) for item in _list(row["citations"]) if isinstance(item, Mapping)]
        row["search_queries"] = [item for item in _list(row["search_queries"]) if isinstance(item, str)]
    return row


def _message(error: str) -> str:
    """The sentence of a stored error; its own text when it is none of ours."""
    try:
        plain = json.loads(error)
    except ValueError:
        return error
    message = plain.get("message") if isinstance(plain, Mapping) else None
    return message if isinstance(message, str) else error


def _list(text: str | None) -> list[Any]:
    """A JSON list; empty for whatever is none."""
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return []
    return found if isinstance(found, list) else []


_TYPES: Mapping[str, type] = {"text": str, "bool": bool, "int": int}


def _source(item: Mapping[str, Any]) -> Row:
    """A source as the provider named it; a field that is missing or of another type is None."""
    return {
        field.name: item[field.name] if isinstance(item.get(field.name), _TYPES[field.kind]) else None
        for field in SOURCE_FIELDS
    }


def _citation(entry: Mapping[str, Any]) -> Row:
    return {field.name: entry[field.name] for field in ORG_CITATION_FIELDS}

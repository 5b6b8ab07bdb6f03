"""Checks that a store keeps its promises, by reading it: an invariant passes, or names the first row that breaks it.

The invariants: I1 every cell once; I2 status and rows agree; I4 money adds up to the micro-dollar; I6 extractions are
whole or absent; I7 nothing is orphaned and the database is sound. Repairs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError

from overheard.batch import Batch, BatchStatus
from overheard.stores import SqlStore

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """What came of one invariant.

    Attributes:
        name: `I1`, `I2`, `I4`, `I6` or `I7`.
        what: The invariant in words.
        problem: The first row that breaks it; None: it holds.
        looked_at: Rows looked at.
    """

    name: str
    what: str
    problem: str | None
    looked_at: int

    @property
    def passed(self) -> bool:
        """True when the invariant holds."""
        return self.problem is None

    def line(self) -> str:
        """One line for a person."""
        seen = f"{self.looked_at} rows" if self.passed else self.problem
        return f"{'PASS' if self.passed else 'FAIL'} {self.name} {self.what}: {seen}"


async def verify(store: SqlStore, batch_id: str | None = None) -> list[Check]:
    """Checks one batch, or every batch of the store.

    Args:
        store: What to read.
        batch_id: None: all.
    """
    wanted = [batch_id] if batch_id is not None else await store.batch_ids()
    loaded = [await store.load_batch(entry) for entry in wanted]
    batches = [batch for batch in loaded if batch is not None]
    checks = []
    for name, what, check in _CHECKS:
        looked_at, problem = 0, None
        if batch_id is not None and not batches:
            problem = f"there is no batch {batch_id}"
        for batch in batches:
            if problem is None:
                rows, problem = await _looked(check(store, batch))
                looked_at += rows
        checks.append(Check(name, what, problem, looked_at))
    rows, problem = await _looked(_soundness(store))
    checks.append(Check("I7", "no orphans, sound database", problem, rows))
    return checks


async def _looked(check: Awaitable[tuple[int, str | None]]) -> tuple[int, str | None]:
    """A database too damaged for the question is an answer, too."""
    try:
        return await check
    except DBAPIError as error:
        return 0, f"the database cannot be read: {error.orig}"


async def store_totals(store: SqlStore) -> dict[str, int]:
    """Sums over the whole store: `cost_micro_usd` (answers, extractions, overhead) and `records` of Bright Data."""
    (row,) = await _rows(
        store,
        "SELECT (SELECT coalesce(sum(cost_micro_usd), 0) FROM question_runs)"
        " + (SELECT coalesce(sum(cost_micro_usd), 0) FROM extractions)"
        " + (SELECT coalesce(sum(overhead_micro_usd), 0) FROM batches) AS cost_micro_usd,"
        " (SELECT coalesce(sum(records), 0) FROM question_runs) AS records",
    )
    return {name: int(value) for name, value in row.items()}


async def _every_cell_once(store: SqlStore, batch: Batch) -> tuple[int, str | None]:
    double = await _rows(
        store,
        "SELECT question_id, model, location, repeat, count(*) AS copies FROM question_runs WHERE batch_id = ?"
        " GROUP BY question_id, model, location, repeat HAVING count(*) > 1 LIMIT 1",
        batch.batch_id,
    )
    count = await _count(store, "question_runs", batch)
    if double:
        return count, f"batch {batch.batch_id}: {dict(double[0])}"
    strange = await _rows(
        store,
        "SELECT q.cell_key FROM question_runs q LEFT JOIN geo_runs g ON g.run_id = q.run_id"
        " WHERE q.batch_id = ? AND (g.batch_id IS NULL OR g.batch_id != q.batch_id OR g.model != q.model) LIMIT 1",
        batch.batch_id,
    )
    if strange:
        return count, f"batch {batch.batch_id}: {strange[0]['cell_key']} belongs to no model run of the batch"
    return count, None


async def _status_and_rows_agree(store: SqlStore, batch: Batch) -> tuple[int, str | None]:
    status = BatchStatus.of(batch).status
    counted = {
        row["run_id"]: row
        for row in await _rows(
            store,
            "SELECT run_id, count(*) AS terminal, sum(status = 'answered') AS answered,"
            " sum(status = 'failed') AS failed FROM question_runs WHERE batch_id = ? GROUP BY run_id",
            batch.batch_id,
        )
    }
    for run in batch.model_runs:
        row = counted.get(run.run_id, {"terminal": 0, "answered": 0, "failed": 0})
        what = f"batch {batch.batch_id}: model run {run.run_id} ({run.model})"
        if run.status == "completed" and (row["terminal"] != run.query_count or not row["answered"]):
            return len(counted), f"{what} is completed with {row['terminal']} of {run.query_count} question runs"
        if run.status in ("completed", "failed") and (row["answered"], row["failed"]) != (run.answered, run.failed):
            return len(counted), f"{what} counts {run.answered} answered, the rows say {row['answered']}"
    planned = _planned(batch)
    stored = sum(row["terminal"] for row in counted.values())
    if status == "complete" and planned is not None and stored != planned:
        return stored, f"batch {batch.batch_id} is complete with {stored} of {planned} question runs"
    failed = sum(row["failed"] for row in counted.values())
    ended_badly = any(run.status == "failed" for run in batch.model_runs)
    if status == "partial" and planned is not None and stored >= planned and not failed and not ended_badly:
        return stored, f"batch {batch.batch_id} is partial, yet nothing is open and nothing failed"
    return stored, None


async def _money_adds_up(store: SqlStore, batch: Batch) -> tuple[int, str | None]:
    (row,) = await _rows(
        store,
        "SELECT (SELECT coalesce(sum(cost_micro_usd), 0) FROM question_runs WHERE batch_id = ?)"
        " + (SELECT coalesce(sum(cost_micro_usd), 0) FROM extractions WHERE batch_id = ?) AS cost",
        batch.batch_id,
        batch.batch_id,
    )
    rows = row["cost"] + batch.overhead_micro_usd
    count = await _count(store, "question_runs", batch)
    fact = await store.load_fact(f"summary:{batch.batch_id}")
    # A batch at work has no closing summary yet, or one of an earlier start.
    if fact is not None and not any(run.status == "running" for run in batch.model_runs):
        said = json.loads(fact)["total_cost_micro_usd"]
        if said != rows:
            return count, f"batch {batch.batch_id}: the summary says {said} micro-dollars, the rows {rows}"
    negative = await _rows(
        store, "SELECT cell_key FROM question_runs WHERE batch_id = ? AND cost_micro_usd < 0 LIMIT 1", batch.batch_id
    )
    return count, f"batch {batch.batch_id}: {negative[0]['cell_key']} costs less than nothing" if negative else None


async def _extractions_are_whole(store: SqlStore, batch: Batch) -> tuple[int, str | None]:
    count = await _count(store, "extractions", batch)
    if store.light:
        return count, None
    # Only names of our own tables stand in the texts.
    counts = (
        f"(SELECT count(*) FROM {table} c WHERE c.batch_id = x.batch_id AND c.cell_key = x.cell_key)"  # noqa: S608
        for table in ("org_evals", "org_citations", "org_competitors")
    )
    evals, citations, competitors = counts
    broken = await _rows(
        store,
        "SELECT * FROM (SELECT x.cell_key, x.extracted_at_ms, x.citation_count, x.competitor_count,"  # noqa: S608
        f" {evals} AS evals, {citations} AS citations, {competitors} AS competitors"
        " FROM extractions x WHERE x.batch_id = ?) AS counted"
        " WHERE (extracted_at_ms IS NOT NULL AND"
        " (evals != 1 OR citations != citation_count OR competitors != competitor_count))"
        " OR (extracted_at_ms IS NULL AND evals + citations + competitors > 0) LIMIT 1",
        batch.batch_id,
    )
    return count, f"batch {batch.batch_id}: {dict(broken[0])}" if broken else None


async def _soundness(store: SqlStore) -> tuple[int, str | None]:
    for parent, child, key in (
        ("question_runs", "extractions", "batch_id, cell_key"),
        ("extractions", "org_evals", "batch_id, cell_key"),
        ("org_evals", "org_citations", "batch_id, cell_key"),
        ("org_evals", "org_competitors", "batch_id, cell_key"),
        ("geo_runs", "question_runs", "run_id"),
    ):
        # Only names of our own tables stand in the text.
        orphan = await _rows(
            store,
            f"SELECT {key} FROM {child} EXCEPT SELECT {key} FROM {parent} LIMIT 1",  # noqa: S608
        )
        if orphan:
            return 0, f"{child} {dict(orphan[0])} has no row in {parent}"
    if store.database.is_sqlite:
        broken = await _rows(store, "PRAGMA foreign_key_check")
        if broken:
            return 0, f"foreign key: {dict(broken[0])}"
        (first, *_) = await _rows(store, "PRAGMA integrity_check")
        if first["integrity_check"] != "ok":
            return 0, f"integrity: {first['integrity_check']}"
    (total,) = await _rows(store, "SELECT count(*) AS count FROM question_runs")
    return int(total["count"]), None


_CHECKS: Sequence[tuple[str, str, Callable[[SqlStore, Batch], Awaitable[tuple[int, str | None]]]]] = (
    ("I1", "every cell once", _every_cell_once),
    ("I2", "status and rows agree", _status_and_rows_agree),
    ("I4", "cost equals the sum of the rows", _money_adds_up),
    ("I6", "extractions are whole or absent", _extractions_are_whole),
)


def _planned(batch: Batch) -> int | None:
    config = batch.config
    if not config:
        return None
    places = max(1, len(config["locations"]))
    return len(config["models"]) * places * len(config["questions"]) * int(config["repeats"])


async def _count(store: SqlStore, table: str, batch: Batch) -> int:
    # Only names of our own tables stand in the text.
    query = f"SELECT count(*) AS count FROM {table} WHERE batch_id = ?"  # noqa: S608
    (row,) = await _rows(store, query, batch.batch_id)
    return int(row["count"])


async def _rows(store: SqlStore, query: str, *values: Any) -> list[dict[str, Any]]:
    text = query if store.database.is_sqlite else query.replace("?", "%s")
    async with store.database.reading() as connection:
        result = await connection.exec_driver_sql(text, values)
        return [dict(row) for row in result.mappings()]

"""I2 and I8: what a status says is what the rows say, and no state stands that no step leads to."""

from __future__ import annotations

import json
from typing import Any

from overheard._handlers import cancelled_fact
from overheard.batch import BatchStatus, ModelRun
from overheard.verify.reading import Kept, Reader

_RUN_WORDS = ("queued", "running", "completed", "failed")
_CELL_WORDS = ("answered", "refused", "no_answer", "failed")
_BATCH_WORDS = ("running", "partial", "complete")
_NOTHING = {"terminal": 0, "answered": 0, "failed": 0}


async def status_and_rows_agree(reader: Reader, kept: Kept, _light: bool) -> tuple[int, str | None, str | None]:
    """A status is what follows from the rows, and the counts beside it are theirs."""
    batch = kept.batch
    counted: dict[str, dict[str, Any]] = {
        row["run_id"]: row
        for row in await reader.rows(
            "SELECT run_id, count(*) AS terminal, sum(CASE status WHEN 'answered' THEN 1 ELSE 0 END) AS answered,"
            " sum(CASE status WHEN 'failed' THEN 1 ELSE 0 END) AS failed"
            " FROM question_runs WHERE batch_id = ? GROUP BY run_id",
            kept.batch_id,
        )
    }
    stored = sum(row["terminal"] for row in counted.values())
    for run in batch.model_runs:
        if problem := _disagreement(run, counted.get(run.run_id, _NOTHING)):
            return stored, problem, None
    plan = kept.plan
    if plan is None or kept.batch.config.get("imported"):  # what was collected elsewhere need not be a whole matrix
        return stored, None, None
    status = BatchStatus.of(batch, now=kept.read_at_ms).status
    if status == "complete" and stored != plan.cells:
        return stored, f"the batch is complete with {stored} of {plan.cells} question runs", None
    unfinished = batch.finished_at_ms is not None and stored < plan.cells and not kept.at_work
    if unfinished and not await _was_cancelled(reader, kept):
        return stored, f"the batch is finished with {stored} of {plan.cells} question runs", None
    failed = sum(row["failed"] for row in counted.values())
    ended_badly = any(run.status == "failed" for run in batch.model_runs)
    ended = all(run.status not in ("queued", "running") for run in batch.model_runs)
    if ended and status == "partial" and stored >= plan.cells and not failed and not ended_badly:
        return stored, "the batch is partial, yet nothing is open and nothing failed", None
    return stored, None, None


async def _was_cancelled(reader: Reader, kept: Kept) -> bool:
    fact = await reader.fact(cancelled_fact(kept.batch_id))
    return fact is not None and fact[0] != ""


def _disagreement(run: ModelRun, row: dict[str, Any]) -> str | None:
    what = f"model run {run.run_id} ({run.model})"
    if row["terminal"] > run.query_count > 0:
        return f"{what} has {row['terminal']} question runs of {run.query_count} planned"
    if run.status == "completed" and (row["terminal"] != run.query_count or not row["answered"]):
        return f"{what} is completed with {row['terminal']} of {run.query_count} question runs"
    if run.status == "failed" and row["terminal"] == run.query_count and row["answered"]:
        return f"{what} is failed with {row['answered']} answers and nothing open"
    if run.status in ("completed", "failed"):
        for name, said in (("answered", run.answered), ("failed", run.failed), ("terminal", run.current_query_index)):
            if row[name] != said:
                return f"{what} counts {said} {name}, the rows say {row[name]}"
    return None


async def states_are_legal(reader: Reader, kept: Kept, _light: bool) -> tuple[int, str | None, str | None]:
    """Status words, leases, ends and moments; and a batch that was complete still is."""
    batch = kept.batch
    seen = len(batch.model_runs) + await reader.count("question_runs", kept.batch_id)
    for run in batch.model_runs:
        if problem := _illegal(run):
            return seen, f"model run {run.run_id} ({run.model}) {problem}", None
    if batch.finished_at_ms is not None and batch.created_at_ms and batch.finished_at_ms < batch.created_at_ms:
        return seen, "the batch is finished before it was created", None
    words = ", ".join(f"'{word}'" for word in _CELL_WORDS)
    row = await reader.first(
        # Only words of ours stand in the text.
        f"SELECT cell_key, status FROM question_runs WHERE batch_id = ? AND status NOT IN ({words})",  # noqa: S608
        kept.batch_id,
    )
    if row:
        return seen, f"{row['cell_key']} has the status {row['status']!r}", None
    row = await reader.first(
        "SELECT cell_key FROM question_runs WHERE batch_id = ? AND finished_at_ms < started_at_ms", kept.batch_id
    )
    if row:
        return seen, f"{row['cell_key']} is finished before it was started", None
    row = await reader.first(
        "SELECT cell_key FROM question_runs WHERE batch_id = ? AND (status = 'failed' AND error IS NULL"
        " OR status = 'answered' AND coalesce(answer_text, '') = '')",
        kept.batch_id,
    )
    if row:
        return seen, f"{row['cell_key']} is failed without an error, or answered without an answer", None
    return seen, await _fell_back(reader, kept), None


def _illegal(run: ModelRun) -> str | None:
    if run.status not in _RUN_WORDS:
        return f"has the status {run.status!r}"
    ended = run.status in ("completed", "failed")
    if ended and run.finished_at_ms is None:
        return f"is {run.status} and has no end"
    if run.status == "running" and (run.lease_owner is None or run.lease_expires_at_ms is None):
        return "is running without a lease"
    # One that has ended may be leased: a start tries its failures again, or died at it. Its lease runs out.
    if run.lease_owner is not None and run.lease_expires_at_ms is None:
        return f"is {run.status} and leased to {run.lease_owner} for ever"
    if run.started_at_ms is not None and run.finished_at_ms is not None and run.finished_at_ms < run.started_at_ms:
        return "is finished before it was started"
    if run.lease_fence < 0:
        return f"has the fencing number {run.lease_fence}"
    return None


async def _fell_back(reader: Reader, kept: Kept) -> str | None:
    """`complete` is absorbing: what was summed up as complete is complete, or is worked on to ask again what failed."""
    fact = await reader.fact(f"summary:{kept.batch_id}")
    if fact is None:
        return None
    said = json.loads(fact[0]).get("status")
    if said not in _BATCH_WORDS:
        return f"its summary says {said!r}"
    status = BatchStatus.of(kept.batch, now=kept.read_at_ms).status
    if said == "complete" and status != "complete" and not kept.at_work:
        return f"it was complete and is {status}"
    return None

"""I4: what the summary says is the sum of the rows, in whole micro-dollars; what is uncertain stands apart."""

from __future__ import annotations

import json

from overheard.verify.reading import Kept, Reader

_MONEY = (
    ("question_runs", ("cost_micro_usd", "maybe_charged_micro_usd", "records")),
    ("extractions", ("cost_micro_usd", "maybe_charged_micro_usd")),
    ("geo_runs", ("overhead_micro_usd", "overhead_maybe_charged_micro_usd")),
    ("batches", ("overhead_micro_usd",)),
)


async def money_adds_up(reader: Reader, kept: Kept, light: bool) -> tuple[int, str | None, str | None]:
    """No charge is negative, what has no charge is marked, and the summary is the sum of the rows."""
    count = await reader.count("question_runs", kept.batch_id)
    for table, columns in _MONEY:
        key = {"geo_runs": "run_id", "batches": "batch_id"}.get(table, "cell_key")
        for column in columns:
            row = await reader.first(
                # Only names of our own tables and columns stand in the text.
                f"SELECT {key} AS owner FROM {table} WHERE batch_id = ? AND {column} < 0",  # noqa: S608
                kept.batch_id,
            )
            if row:
                return count, f"{table}: {row['owner']} costs less than nothing ({column})", None
    if problem := await _unmarked(reader, kept, light):
        return count, problem, None
    return count, *await _summed(reader, kept)


async def _unmarked(reader: Reader, kept: Kept, light: bool) -> str | None:
    row = await reader.first(
        "SELECT cell_key, unpriced FROM question_runs WHERE batch_id = ?"
        " AND (cost_micro_usd IS NULL) != (unpriced = ?)",
        kept.batch_id,
        True,
    )
    if row:
        return f"{row['cell_key']} is {'marked' if row['unpriced'] else 'not marked'} unpriced, against its cost"
    if light:
        return None
    row = await reader.first(
        "SELECT x.cell_key FROM extractions x JOIN org_evals e ON e.batch_id = x.batch_id AND e.cell_key = x.cell_key"
        " WHERE x.batch_id = ? AND (coalesce(x.cost_micro_usd, -1) != coalesce(e.cost_micro_usd, -1)"
        " OR x.maybe_charged_micro_usd != e.maybe_charged_micro_usd)",
        kept.batch_id,
    )
    return None if row is None else f"{row['cell_key']}: the evaluation's cost is not its extraction's"


async def _summed(reader: Reader, kept: Kept) -> tuple[str | None, str | None]:
    fact = await reader.fact(f"summary:{kept.batch_id}")
    if fact is None:
        return None, "no start has summed up yet"
    text, noted_ms = fact
    begun = [run.started_at_ms for run in kept.batch.model_runs if run.started_at_ms is not None]
    (row,) = await reader.rows(
        "SELECT coalesce(sum(cost_micro_usd), 0) AS cost, coalesce(sum(maybe_charged_micro_usd), 0) AS maybe,"
        " count(*) - count(cost_micro_usd) AS unpriced FROM question_runs WHERE batch_id = ?",
        kept.batch_id,
    )
    (extra,) = await reader.rows(
        "SELECT coalesce(sum(cost_micro_usd), 0) AS cost, coalesce(sum(maybe_charged_micro_usd), 0) AS maybe,"
        " count(*) - count(cost_micro_usd) AS unpriced, coalesce(max(extracted_at_ms), 0) AS newest"
        " FROM extractions WHERE batch_id = ?",
        kept.batch_id,
    )
    analysed = await reader.analysed(kept.batch_id)
    if max([*begun, extra["newest"], analysed.newest_ms]) > noted_ms:
        return None, "the last start has not summed up"
    runs = kept.batch.model_runs
    overhead = kept.batch.overhead_micro_usd + sum(run.overhead_micro_usd for run in runs)
    sums = {
        "total_cost_micro_usd": row["cost"] + extra["cost"] + overhead + analysed.cost_micro_usd,
        "maybe_charged_micro_usd": row["maybe"]
        + extra["maybe"]
        + analysed.maybe_charged_micro_usd
        + sum(run.overhead_maybe_charged_micro_usd for run in runs),
        "unpriced": row["unpriced"] + extra["unpriced"],
    }
    said = json.loads(text)
    if said.get("shared"):
        return None, "several processes summed up at the same time"
    # What no row can have yet: held submissions, and calls without a reply whose cells are still open.
    asked = (entry for file in reader.journal(kept.batch_id)["files"] for entry in file["asked"] if entry["key"])
    sums["maybe_charged_micro_usd"] += said.get("held_micro_usd", 0) + sum(entry["micro_usd"] for entry in asked)
    for name, total in sums.items():
        if name == "maybe_charged_micro_usd" and said.get(name, total) > total and _is_elsewhere(reader, kept):
            continue
        if name in said and said[name] != total:
            unit = "" if name == "unpriced" else " micro-dollars"
            return f"the summary says {name} {said[name]}{unit}, the rows {total}", None
    return None, None


def _is_elsewhere(reader: Reader, kept: Kept) -> bool:
    """True when calls without a reply may be noted in a journal that cannot be read here."""
    here = reader.journal(kept.batch_id)["folder_id"]
    return any(run.journal_id not in (None, here) for run in kept.batch.model_runs)

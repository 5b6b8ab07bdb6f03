"""I6: evaluation, competitors and citations of a question run are there together, of an answer, or not at all."""

from __future__ import annotations

from overheard.verify.reading import Kept, Reader


async def extractions_are_whole(reader: Reader, kept: Kept, light: bool) -> tuple[int, str | None, str | None]:
    """Rows as counted, of an answered question run, by a known version of the extractor."""
    count = await reader.count("extractions", kept.batch_id)
    row = await reader.first(
        "SELECT x.cell_key, q.status FROM extractions x JOIN question_runs q"
        " ON q.batch_id = x.batch_id AND q.cell_key = x.cell_key WHERE x.batch_id = ? AND q.status != 'answered'",
        kept.batch_id,
    )
    if row:
        return count, f"{row['cell_key']} is {row['status']} and has an extraction", None
    row = await reader.first(
        "SELECT cell_key, extracted_at_ms, error FROM extractions WHERE batch_id = ?"
        " AND (extracted_at_ms IS NULL) != (error IS NOT NULL)",
        kept.batch_id,
    )
    if row:
        return count, f"{row} is neither extracted nor failed, or both", None
    if light:
        return count, None, "a light store: counts, no rows"
    return count, await _rows_missing(reader, kept) or await _misfit(reader, kept), None


async def _rows_missing(reader: Reader, kept: Kept) -> str | None:
    # Only names of our own tables stand in the texts.
    evals, citations, competitors = (
        f"(SELECT count(*) FROM {table} c WHERE c.batch_id = x.batch_id AND c.cell_key = x.cell_key)"  # noqa: S608
        for table in ("org_evals", "org_citations", "org_competitors")
    )
    row = await reader.first(
        "SELECT * FROM (SELECT x.cell_key, x.extracted_at_ms, x.citation_count, x.competitor_count,"  # noqa: S608
        f" {evals} AS evals, {citations} AS citations, {competitors} AS competitors"
        " FROM extractions x WHERE x.batch_id = ?) AS counted"
        " WHERE (extracted_at_ms IS NOT NULL AND"
        " (evals != 1 OR citations != citation_count OR competitors != competitor_count))"
        " OR (extracted_at_ms IS NULL AND evals + citations + competitors > 0)",
        kept.batch_id,
    )
    return f"{row}" if row else None


async def _misfit(reader: Reader, kept: Kept) -> str | None:
    row = await reader.first(
        "SELECT cell_key FROM org_evals WHERE batch_id = ? AND (extractor_version = ''"
        " OR method NOT IN ('local', 'llm') OR error IS NOT NULL)",
        kept.batch_id,
    )
    if row:
        return f"{row['cell_key']} was extracted by an unknown method or version"
    row = await reader.first(
        "SELECT e.cell_key FROM org_evals e JOIN question_runs q ON q.batch_id = e.batch_id AND q.cell_key = e.cell_key"
        " WHERE e.batch_id = ? AND (e.run_id != q.run_id OR e.org_id != q.org_id)",
        kept.batch_id,
    )
    if row:
        return f"{row['cell_key']} was extracted for another model run or org than it was asked for"
    row = await reader.first(
        "SELECT cell_key FROM org_evals WHERE batch_id = ? AND ((share_of_voice IS NOT NULL"
        " AND (share_of_voice < 0 OR share_of_voice > 1)) OR (mention_rank IS NOT NULL AND mention_rank < 1)"
        " OR (mentioned = ? AND mention_rank IS NOT NULL))",
        kept.batch_id,
        False,
    )
    return None if row is None else f"{row['cell_key']} has a rank or share of voice that cannot be"

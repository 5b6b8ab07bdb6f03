"""I1 and I10: each cell of the plan at most once, under its own key, and asked in the plan's words."""

from __future__ import annotations

from overheard.verify.reading import Kept, Reader

_KEY = " || '|' || ".join(
    f"replace(replace({name}, '%', '%25'), '|', '%7C')" for name in ("question_id", "model", "location")
)


async def every_cell_once(reader: Reader, kept: Kept, _light: bool) -> tuple[int, str | None, str | None]:
    """No cell twice, each under its key, of a model run and of the plan of the batch."""
    count = await reader.count("question_runs", kept.batch_id)
    twice = await reader.first(
        "SELECT question_id, model, location, repeat, count(*) AS copies FROM question_runs WHERE batch_id = ?"
        " GROUP BY question_id, model, location, repeat HAVING count(*) > 1",
        kept.batch_id,
    )
    if twice:
        return count, f"{twice}", None
    misnamed = await reader.first(
        f"SELECT cell_key FROM question_runs WHERE batch_id = ? AND cell_key != {_KEY} || '|' || repeat",  # noqa: S608
        kept.batch_id,
    )
    if misnamed:
        return count, f"{misnamed['cell_key']} is not the key of its columns", None
    strange = await reader.first(
        "SELECT q.cell_key FROM question_runs q LEFT JOIN geo_runs g ON g.run_id = q.run_id"
        " WHERE q.batch_id = ? AND (g.batch_id IS NULL OR g.batch_id != q.batch_id OR g.model != q.model"
        " OR g.org_id != q.org_id)",
        kept.batch_id,
    )
    if strange:
        return count, f"{strange['cell_key']} belongs to no model run of the batch", None
    return count, await _outside_the_plan(reader, kept), None


async def _outside_the_plan(reader: Reader, kept: Kept) -> str | None:
    batch, plan = kept.batch, kept.plan
    models = [run.model for run in batch.model_runs]
    if len(set(models)) != len(models):
        return f"two model runs of {next(model for model in models if models.count(model) > 1)}"
    if len(models) > batch.batch_size:
        return f"{len(models)} model runs in a batch of {batch.batch_size}"
    if plan is None:
        return None
    if strangers := [model for model in models if model not in plan.models]:
        return f"the plan has no model {strangers[0]}"
    for column, known in (("question_id", tuple(kept.question_texts)), ("location", kept.locations)):
        # Only names of our own columns stand in the text.
        for row in await reader.rows(
            f"SELECT {column} AS value, min(cell_key) AS cell_key FROM question_runs WHERE batch_id = ?"  # noqa: S608
            f" GROUP BY {column}",
            kept.batch_id,
        ):
            if row["value"] not in known:
                return f"{row['cell_key']} is not of the plan ({column} {row['value']!r})"
    beyond = await reader.first(
        "SELECT cell_key FROM question_runs WHERE batch_id = ? AND (repeat < 1 OR repeat > ?)",
        kept.batch_id,
        plan.repeats,
    )
    return None if beyond is None else f"{beyond['cell_key']} is not of the plan, which asks {plan.repeats} times"


async def asked_as_planned(reader: Reader, kept: Kept, _light: bool) -> tuple[int, str | None, str | None]:
    """The stored text is the plan's, and the country that was applied the cell's own."""
    count = await reader.count("question_runs", kept.batch_id)
    elsewhere = await reader.first(
        "SELECT cell_key, location_applied FROM question_runs WHERE batch_id = ? AND location_applied IS NOT NULL"
        " AND (location = 'anywhere' OR substr(location_applied || '/', 1, 3) != substr(location || '/', 1, 3))",
        kept.batch_id,
    )
    if elsewhere:
        return count, f"{elsewhere['cell_key']} was asked from {elsewhere['location_applied']!r}", None
    if kept.plan is None:
        return count, None, "another system made the batch: its questions are not known"
    for row in await reader.rows(
        "SELECT question_id, question, min(cell_key) AS cell_key FROM question_runs WHERE batch_id = ?"
        " GROUP BY question_id, question",
        kept.batch_id,
    ):
        planned = kept.question_texts.get(row["question_id"])
        if planned is not None and planned != row["question"]:
            return count, f"{row['cell_key']} was asked {row['question']!r}, planned was {planned!r}", None
    return count, None, None

"""The statements of `protocols.InsightStore`: pages of question runs with what was extracted, batches, kept insights.

Runs on a connection it is given; interprets no answer. Lists come by queries of their own, so that no join multiplies.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from overheard.batch import BatchInsights
from overheard.stores import schema

_RUN_FIELDS = (
    "cell_key",
    "question_id",
    "question",
    "model",
    "location",
    "repeat",
    "status",
    "served_model",
    "cost_micro_usd",
    "maybe_charged_micro_usd",
)
_EVAL_FIELDS = (
    "mentioned",
    "citation",
    "sentiment",
    "mention_rank",
    "share_of_voice",
    "occurrences",
    "prominence",
    "list_position",
    "shares",
)


def rows_of(batch_id: str) -> Select[Any]:
    """The question runs of a batch, one row each, with their extraction and evaluation."""
    runs, extractions, evals = schema.question_runs, schema.extractions, schema.org_evals
    whole = runs.outerjoin(extractions).outerjoin(
        evals, (evals.c.batch_id == extractions.c.batch_id) & (evals.c.cell_key == extractions.c.cell_key)
    )
    columns = (
        *(runs.c[name] for name in _RUN_FIELDS),
        extractions.c.extracted_at_ms.is_not(None).label("extracted"),
        extractions.c.cost_micro_usd.label("extraction_cost_micro_usd"),
        extractions.c.maybe_charged_micro_usd.label("extraction_maybe_charged_micro_usd"),
        *(evals.c[name] for name in _EVAL_FIELDS),
    )
    return select(*columns).select_from(whole).where(runs.c.batch_id == batch_id)


async def with_lists(
    connection: AsyncConnection, batch_id: str, page: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The rows of a page, in its order, with `competitors`, `competitor_occurrences` and `citations`.

    They are None where nothing is extracted; an occurrence is None where it is not known.
    """
    if not page:
        return []
    span = (page[0]["cell_key"], page[-1]["cell_key"])
    names: defaultdict[str, list[str]] = defaultdict(list)
    counts: defaultdict[str, list[int | None]] = defaultdict(list)
    async for key, name, count in _children(
        connection, schema.org_competitors, ("name", "occurrences"), batch_id, span
    ):
        names[key].append(name)
        counts[key].append(count)
    sources: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    fields = ("domain", "type", "position", "cited", "class")
    async for key, *values in _children(connection, schema.org_citations, fields, batch_id, span):
        sources[key].append(dict(zip(fields, values, strict=True)))
    whole: list[Mapping[str, Any]] = []
    for row in page:
        # A light store keeps that a run is extracted, and nothing of what was.
        key, kept = row["cell_key"], row["mentioned"] is not None
        found = (names[key], counts[key], sources[key])
        lists = dict(zip(_LISTS, found, strict=True)) if kept else dict.fromkeys(_LISTS)
        whole.append({**row, "extracted": bool(row["extracted"]), **lists})
    return whole


_LISTS = ("competitors", "competitor_occurrences", "citations")


async def _children(
    connection: AsyncConnection, table: Table, fields: Sequence[str], batch_id: str, span: tuple[str, str]
) -> Any:
    """The child rows of a span of cell keys, which a page covers without a gap, in the order of their positions."""
    wanted = (
        select(table.c.cell_key, *(table.c[name] for name in fields))
        .where(table.c.batch_id == batch_id, table.c.cell_key >= span[0], table.c.cell_key <= span[1])
        .order_by(table.c.cell_key, table.c.position)
    )
    for row in await connection.execute(wanted):
        yield row


def batches_of(org_id: str, since_ms: int | None) -> Select[Any]:
    """The ids of an org's batches made at or after a moment (milliseconds since 1970 UTC; None: all), newest first."""
    table = schema.batches
    wanted = select(table.c.batch_id).where(table.c.org_id == org_id)
    if since_ms is not None:
        wanted = wanted.where(table.c.created_at >= since_ms)
    return wanted.order_by(table.c.created_at.desc(), table.c.batch_id.desc())


def newest_of(batch_id: str) -> Select[Any]:
    """The newest revision of a batch's holistic insights."""
    table = schema.geo_batch_insights
    return select(table).where(table.c.batch_id == batch_id).order_by(table.c.revision.desc()).limit(1)


def to_values(insights: BatchInsights) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keys and values of the row."""
    keys = {"batch_id": insights.batch_id, "revision": insights.revision}
    values = {
        "org_id": insights.org_id,
        "model": insights.model,
        "prompt_version": insights.prompt_version,
        "content": json.dumps(dict(insights.content), ensure_ascii=False),
        "cost_micro_usd": insights.cost_micro_usd,
        "maybe_charged_micro_usd": insights.maybe_charged_micro_usd,
        "created_at": insights.created_at_ms,
    }
    return keys, values


def from_row(row: Any) -> BatchInsights:
    """The inverse of `to_values`."""
    fields = dict(row._mapping)
    fields["content"] = json.loads(fields["content"])
    fields["created_at_ms"] = fields.pop("created_at")
    return BatchInsights(**fields)

"""The statements of `protocols.ReplayStore`: stored answers and extractions read back as they were saved.

Runs on a connection it is given; interprets nothing. Lists come by queries of their own, so that no join multiplies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, Table, null, select
from sqlalchemy.ext.asyncio import AsyncConnection

from overheard import _core
from overheard.stores import schema

if TYPE_CHECKING:
    from overheard._core import Extraction


def answers_of(batch_id: str) -> Select[Any]:
    """The answered question runs of a batch in the columns of `QUESTION_RUN_COLUMNS`, without raw bodies."""
    runs = schema.question_runs.c
    columns = (null() if name == "raw_body" else runs[name] for name in _core.QUESTION_RUN_COLUMNS)
    return select(*columns).where(runs.batch_id == batch_id, runs.status == "answered")


def evals_of(batch_id: str) -> Select[Any]:
    """The evaluations of a batch in the columns of `ORG_EVAL_COLUMNS`."""
    evals = schema.org_evals.c
    return select(*(evals[name] for name in _core.ORG_EVAL_COLUMNS)).where(evals.batch_id == batch_id)


def bodies_of(batch_id: str, keys: Sequence[str]) -> Select[Any]:
    """Key and raw body of these cells."""
    runs = schema.question_runs.c
    return select(runs.cell_key, runs.raw_body).where(runs.batch_id == batch_id, runs.cell_key.in_(keys))


async def extractions(connection: AsyncConnection, batch_id: str, evals: Sequence[tuple[Any, ...]]) -> list[Extraction]:
    """The extractions of a page of evaluations, which follow one another in the order of their keys."""
    if not evals:
        return []
    key = _core.ORG_EVAL_COLUMNS.index("cell_key")
    span = (evals[0][key], evals[-1][key])
    competitors = await _children(connection, schema.org_competitors, _core.ORG_COMPETITOR_COLUMNS, batch_id, span)
    citations = await _children(connection, schema.org_citations, _core.ORG_CITATION_COLUMNS, batch_id, span)
    return _core.extractions_from_rows(evals, competitors, citations)


async def _children(
    connection: AsyncConnection, table: Table, columns: Sequence[str], batch_id: str, span: tuple[str, str]
) -> list[tuple[Any, ...]]:
    wanted = (
        select(*(table.c[name] for name in columns))
        .where(table.c.batch_id == batch_id, table.c.cell_key >= span[0], table.c.cell_key <= span[1])
        .order_by(table.c.cell_key, table.c.position)
    )
    return [tuple(row) for row in await connection.execute(wanted)]

"""Deletes finished batches with all their rows, in transactions of bounded size. Never one that somebody works on.

While a batch is deleted its model runs are leased, so no start can go on with it; a purge that dies half-way is ended
by the next one, once its lease is over. Model runs whose batch has no row in `batches` are another system's, and stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Table, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from overheard import _owners
from overheard.batch import now_ms
from overheard.stores import leases, schema
from overheard.stores.database import Database

_PAGE = 500  # question runs of one transaction
_LEASE_MS = 60_000
_CELLS = (schema.org_citations, schema.org_competitors, schema.org_evals, schema.extractions, schema.question_runs)
"""Tables with rows of cells, each before what it hangs from."""
_NAMED = (schema.claims, schema.facts)
"""Tables whose rows have the batch's id in their name."""
_WHOLE = (schema.geo_batch_insights, schema.geo_runs, schema.batches)


async def before(database: Database, moment_ms: int, *, dry_run: bool = False) -> Mapping[str, int]:
    """Deletes batches that were finished before a moment.

    Args:
        database: The store's.
        moment_ms: Milliseconds since 1970 UTC.
        dry_run: Counts only.

    Returns:
        Table to rows.
    """
    async with database.reading() as connection:
        batch_ids = await _finished(connection, moment_ms)
    counts = Counter({table.name: 0 for table in (*_CELLS, *_NAMED, *_WHOLE)})
    with _owners.session() as owner:
        for batch_id in batch_ids:
            if dry_run:
                async with database.reading() as connection:
                    counts.update(await _counted(connection, batch_id))
            elif (held := await _held(database, batch_id, moment_ms, owner)) is not None:
                counts.update(await _deleted(database, batch_id, owner, held))
    return dict(counts)


async def _finished(connection: AsyncConnection, moment_ms: int, batch_id: str | None = None) -> list[str]:
    """Ids of batches that were finished before the moment and have no model run at work; oldest first."""
    batches, runs = schema.batches.c, schema.geo_runs.c
    wanted = select(batches.batch_id).where(batches.finished_at < moment_ms)
    leased = select(runs.batch_id, runs.lease_owner).where(runs.lease_expires_at_ms > now_ms())
    if batch_id is not None:
        wanted, leased = wanted.where(batches.batch_id == batch_id), leased.where(runs.batch_id == batch_id)
    found = list((await connection.execute(wanted.order_by(batches.finished_at, batches.batch_id))).scalars())
    at_work = {
        row.batch_id
        for row in await connection.execute(leased)
        if row.lease_owner is not None and not _owners.is_dead(row.lease_owner)
    }
    return [batch_id for batch_id in found if batch_id not in at_work]


async def _held(database: Database, batch_id: str, moment_ms: int, owner: str) -> dict[str, int] | None:
    """Leases the batch's model runs: id to fence; None: somebody has begun to work on it."""
    runs = schema.geo_runs.c
    wanted = select(runs.run_id, runs.lease_owner, runs.lease_fence).where(runs.batch_id == batch_id)
    async with database.writing() as connection:
        if not await _finished(connection, moment_ms, batch_id):
            return None
        held: dict[str, int] = {}
        for row in (await connection.execute(wanted.order_by(runs.run_id))).all():
            if row.lease_owner is not None and _owners.is_dead(row.lease_owner):
                await leases.release(connection, row.run_id, row.lease_owner, row.lease_fence)
            lease = await leases.acquire(connection, row.run_id, owner, _LEASE_MS)
            if not lease.granted:
                await connection.rollback()
                return None
            held[row.run_id] = lease.fence
    return held


async def _deleted(database: Database, batch_id: str, owner: str, held: Mapping[str, int]) -> Counter[str]:
    """Deletes a batch whose model runs are leased; table to rows."""
    counts: Counter[str] = Counter()
    keys = schema.question_runs.c
    page = select(keys.cell_key).where(keys.batch_id == batch_id).order_by(keys.cell_key).limit(_PAGE)
    while True:
        async with database.writing() as connection:
            for run_id, fence in held.items():
                if not await leases.renew(connection, run_id, owner, fence, _LEASE_MS):
                    return counts  # this process was halted for longer than its lease, and the batch is another's now
            last = (await connection.execute(select(func.max(page.subquery().c.cell_key)))).scalar()
            if last is not None:
                for table in _CELLS:
                    counts[table.name] += await _delete(
                        connection, table, table.c.batch_id == batch_id, table.c.cell_key <= last
                    )
                continue
            for table in _NAMED:
                names = await _names(connection, table, batch_id)
                counts[table.name] += await _delete(connection, table, table.c.name.in_(names))
            for table in _WHOLE:
                counts[table.name] += await _delete(connection, table, table.c.batch_id == batch_id)
            return counts


async def _delete(connection: AsyncConnection, table: Table, *conditions: Any) -> int:
    return int((await connection.execute(delete(table).where(*conditions))).rowcount)


async def _counted(connection: AsyncConnection, batch_id: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for table in (*_CELLS, *_WHOLE):
        wanted = select(func.count()).select_from(table).where(table.c.batch_id == batch_id)
        counts[table.name] = (await connection.execute(wanted)).scalar_one()
    for table in _NAMED:
        names = await _names(connection, table, batch_id)
        wanted = select(func.count()).select_from(table).where(table.c.name.in_(names))
        counts[table.name] = (await connection.execute(wanted)).scalar_one()
    return counts


async def _names(connection: AsyncConnection, table: Table, batch_id: str) -> list[str]:
    """Names of claims or facts in which the batch's id stands as a whole word."""
    wanted = select(table.c.name).distinct().where(table.c.name.contains(batch_id, autoescape=True))
    return [name for name in (await connection.execute(wanted)).scalars() if _has_word(name, batch_id)]


def _has_word(text: str, word: str) -> bool:
    at = text.find(word)
    while at >= 0:
        if not _in_word(text[:at][-1:]) and not _in_word(text[at + len(word) :][:1]):
            return True
        at = text.find(word, at + 1)
    return False


def _in_word(character: str) -> bool:
    return character != "" and (character.isalnum() or character in "-_")

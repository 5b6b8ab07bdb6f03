"""Leases of model runs in `geo_runs`: statements on an open transaction, for SQLite and PostgreSQL. Opens nothing.

The fence decides: it grows with every change of owner, so who holds an older one has lost, whatever else the row says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, case, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from overheard import _owners
from overheard.batch import Lease, now_ms
from overheard.errors import LeaseLost
from overheard.stores import schema

COLUMNS = ("lease_owner", "lease_expires_at_ms", "lease_fence")
"""The columns that only these statements change while a lease is held."""

_runs = schema.geo_runs.c


async def acquire(connection: AsyncConnection, run_id: str, owner: str, ttl_ms: int) -> Lease:
    """Takes the lease when nobody has it, or who had it has let it expire; says who has it otherwise."""
    now = now_ms()
    wanted = select(
        _runs.lease_owner, _runs.lease_expires_at_ms, _runs.lease_fence, _runs.journal_id, _runs.journal_host
    )
    before = (await connection.execute(wanted.where(_runs.run_id == run_id).with_for_update())).first()
    if before is None:
        return Lease(granted=False, fence=0)
    free = or_(
        _runs.lease_owner.is_(None),
        _runs.lease_owner == owner,
        _runs.lease_expires_at_ms.is_(None),
        _runs.lease_expires_at_ms <= now,
    )
    same = before.lease_owner == owner
    taken = await connection.execute(
        update(schema.geo_runs)
        .where(_runs.run_id == run_id, free)
        .values(
            lease_owner=owner,
            lease_expires_at_ms=now + ttl_ms,
            lease_fence=case((_runs.lease_owner == owner, _runs.lease_fence), else_=_runs.lease_fence + 1),
        )
    )
    if taken.rowcount != 1:
        return Lease(
            granted=False,
            fence=before.lease_fence,
            owner=before.lease_owner,
            expires_at_ms=before.lease_expires_at_ms,
        )
    expired = before.lease_expires_at_ms
    return Lease(
        granted=True,
        fence=before.lease_fence + (not same),
        owner=owner,
        expires_at_ms=now + ttl_ms,
        journal_id=before.journal_id,
        journal_host=before.journal_host,
        last_alive_ms=None if expired is None else min(expired, now),
    )


async def renew(connection: AsyncConnection, run_id: str, owner: str, fence: int, ttl_ms: int) -> bool:
    """Renews the lease. One that was put back into the queue and that nobody has taken since is still its owner's."""
    mine = or_(_runs.lease_owner == owner, _runs.lease_owner.is_(None))
    renewed = await connection.execute(
        update(schema.geo_runs)
        .where(_runs.run_id == run_id, _runs.lease_fence == fence, mine)
        .values(lease_owner=owner, lease_expires_at_ms=now_ms() + ttl_ms)
    )
    return bool(renewed.rowcount == 1)


async def release(connection: AsyncConnection, run_id: str, owner: str, fence: int) -> bool:
    """Gives the lease back; False: it is another's by now, and left alone. Its end stays, as the last sign of life."""
    now = now_ms()
    released = await connection.execute(
        update(schema.geo_runs)
        .where(_runs.run_id == run_id, _runs.lease_fence == fence, _runs.lease_owner == owner)
        .values(
            lease_owner=None,
            lease_expires_at_ms=case((_runs.lease_expires_at_ms < now, _runs.lease_expires_at_ms), else_=now),
        )
    )
    return bool(released.rowcount == 1)


async def refuse_losers(connection: AsyncConnection, held: Mapping[str, int], run_ids: Collection[str]) -> None:
    """Refuses to write rows of model runs whose lease was held and has gone to another owner.

    Args:
        connection: The transaction that writes them.
        held: Model run to the fence it was leased with. A model run that was never leased is not looked at.
        run_ids: The model runs of the rows.

    Raises:
        LeaseLost: Names the new owner.
    """
    leased = [run_id for run_id in dict.fromkeys(run_ids) if run_id in held]
    if not leased:
        return
    wanted = select(_runs.run_id, _runs.model, _runs.lease_fence, _runs.lease_owner).where(_runs.run_id.in_(leased))
    for row in await connection.execute(wanted.with_for_update(read=True)):
        if row.lease_fence != held[row.run_id]:
            who = "another start that has ended since" if row.lease_owner is None else _owners.describe(row.lease_owner)
            raise LeaseLost(
                f"{row.model} was taken over by {who}: what this start still has of it is not written", model=row.model
            )


async def ended(connection: AsyncConnection, batch_id: str | None = None) -> Sequence[Row[Any, Any, Any, Any]]:
    """`run_id`, status and lease of model runs whose lease has expired or whose owner is dead; None: of all batches.

    A row that is part of no batch is another system's, and none of ours to judge.
    """
    now = now_ms()
    wanted = select(_runs.run_id, _runs.status, _runs.lease_owner, _runs.lease_expires_at_ms)
    not_given_back = _runs.status.in_(("completed", "failed")) & _runs.lease_owner.is_not(None)
    wanted = wanted.where(_runs.batch_id.is_not(None), or_(_runs.status == "running", not_given_back))
    if batch_id is not None:
        wanted = wanted.where(_runs.batch_id == batch_id)
    return [
        row
        for row in (await connection.execute(wanted)).all()
        if row.lease_expires_at_ms is None
        or row.lease_expires_at_ms <= now
        or (row.lease_owner is not None and _owners.is_dead(row.lease_owner))
    ]


async def requeue_ended(connection: AsyncConnection, batch_id: str | None = None) -> None:
    """Puts the model runs of `ended` back into the queue.

    One that has ended keeps its status; only the lease goes that its start, killed since, could not give back.
    """
    now = now_ms()
    for row in await ended(connection, batch_id):
        expires = row.lease_expires_at_ms
        await connection.execute(
            update(schema.geo_runs)
            .where(
                _runs.run_id == row.run_id,
                _runs.status == row.status,
                _runs.lease_owner.is_not_distinct_from(row.lease_owner),
                _runs.lease_expires_at_ms.is_not_distinct_from(expires),
            )
            .values(
                status="queued" if row.status == "running" else row.status,
                lease_owner=None,
                lease_expires_at_ms=None if expires is None else min(expires, now),
            )
        )

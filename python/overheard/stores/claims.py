"""Claims of what follows the end of a batch: statements on an open transaction, for both databases. Opens nothing.

A row is one revision of one name. Its mark says of which answers: the same mark is the same revision, for ever.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Row, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from overheard import _owners
from overheard.batch import Claim, now_ms
from overheard.stores import schema

TAKEOVERS = 1
"""Times a claim is given to another owner: work that killed two processes is not tried on a third."""

_claims = schema.claims.c


async def claim(connection: AsyncConnection, name: str, mark: str, owner: str, ttl_ms: int) -> Claim:
    """Grants the claim to the first asker under this mark; to one more when its owner is dead or its time is over."""
    while True:
        now = now_ms()
        # The newest revision before the mark: a claim that another asker makes between the two is then either found
        # under its mark or has taken the revision that this one would insert. The other way round it could be missed.
        newest = await connection.execute(select(func.max(_claims.revision)).where(_claims.name == name))
        revision = (newest.scalar() or 0) + 1
        wanted = select(schema.claims).where(_claims.name == name, _claims.mark == mark)
        found = (await connection.execute(wanted.order_by(_claims.revision).limit(1).with_for_update())).first()
        if found is not None:
            return await _again(connection, found, owner, now, ttl_ms)
        values = {"name": name, "revision": revision, "mark": mark, "owner": owner, "expires_at_ms": now + ttl_ms}
        insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
        made = await connection.execute(insert(schema.claims).values(values).on_conflict_do_nothing())
        if made.rowcount == 1:
            return Claim(granted=True, revision=revision, owner=owner, expires_at_ms=now + ttl_ms)
        # Another asker made this revision in the meantime: of our mark, or of another one and ours is the next.


async def _again(connection: AsyncConnection, found: Row[Any], owner: str, now: int, ttl_ms: int) -> Claim:
    """A claim that is there: done, another's, or free for one more owner. Its own owner is granted it again."""
    mine = found.owner == owner
    over = found.expires_at_ms <= now or _owners.is_dead(found.owner)
    free = found.done_at is None and (mine or (over and found.takeovers < TAKEOVERS))
    if not free:
        return Claim(
            granted=False,
            revision=found.revision,
            done=found.done_at is not None,
            owner=found.owner,
            expires_at_ms=found.expires_at_ms,
        )
    takeovers = found.takeovers + (not mine)
    await connection.execute(
        update(schema.claims)
        .where(_claims.name == found.name, _claims.revision == found.revision)
        .values(owner=owner, expires_at_ms=now + ttl_ms, takeovers=takeovers)
    )
    return Claim(
        granted=True,
        revision=found.revision,
        taken_over=takeovers > 0,
        note=found.note,
        owner=owner,
        expires_at_ms=now + ttl_ms,
    )


async def renew(
    connection: AsyncConnection, name: str, revision: int, owner: str, ttl_ms: int, note: str | None
) -> bool:
    """Makes it last from now; one whose time is over and that nobody has taken since is still its owner's."""
    values: dict[str, Any] = {"expires_at_ms": now_ms() + ttl_ms}
    if note is not None:
        values["note"] = note
    held = (*_held(name, revision, owner), _claims.done_at.is_(None))
    renewed = await connection.execute(update(schema.claims).where(*held).values(values))
    return bool(renewed.rowcount == 1)


async def finish(connection: AsyncConnection, name: str, revision: int, owner: str) -> bool:
    """Says that it is done; the same owner may say so twice."""
    held = _held(name, revision, owner)
    finished = await connection.execute(
        update(schema.claims).where(*held, _claims.done_at.is_(None)).values(done_at=now_ms())
    )
    if finished.rowcount == 1:
        return True
    return (await connection.execute(select(_claims.revision).where(*held))).first() is not None


def _held(name: str, revision: int, owner: str) -> tuple[ColumnElement[bool], ...]:
    return (_claims.name == name, _claims.revision == revision, _claims.owner == owner)

"""Brings a database to the newest schema, one numbered step at a time, in one transaction. Touches no row of a user's.

A step is never edited after a release: a change of the tables is a new step. The first makes the tables of `schema.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, func, insert, inspect, select

from overheard.batch import now_ms
from overheard.errors import StoreError
from overheard.stores import schema


def _create_tables(connection: Connection) -> None:
    schema.metadata.create_all(connection)


STEPS: tuple[Callable[[Connection], None], ...] = (_create_tables,)
"""Step n (counted from 1) leads from version n-1 to version n."""


def migrate(connection: Connection) -> None:
    """Applies the steps that are missing.

    Raises:
        StoreError: The database was made by a newer version of this package.
    """
    schema.migrations.create(connection, checkfirst=True)
    version = connection.execute(select(func.coalesce(func.max(schema.migrations.c.version), 0))).scalar_one()
    if version > len(STEPS):
        raise StoreError(
            f"the database has schema version {version}, this overheard knows up to {len(STEPS)}: install a newer one"
        )
    for number, step in enumerate(STEPS[version:], start=version + 1):
        step(connection)
        connection.execute(insert(schema.migrations).values(version=number, applied_at=now_ms()))


def is_current(connection: Connection) -> bool:
    """True when nothing has to be applied; reads only."""
    if not inspect(connection).has_table(schema.migrations.name):
        return False
    return connection.execute(select(func.max(schema.migrations.c.version))).scalar() == len(STEPS)

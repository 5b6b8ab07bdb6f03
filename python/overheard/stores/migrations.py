"""Brings a database to the newest schema, one numbered step at a time, in one transaction. Touches no row of a user's.

A step is never edited after a release: a change of the tables is a new step. The first makes the tables of `schema.py`.
A table of our name that no step of ours has made is another system's: `foreign.py` looks whether it can be used.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Table, func, insert, inspect, select
from sqlalchemy.schema import CreateColumn, CreateSchema

from overheard.batch import now_ms
from overheard.errors import StoreError
from overheard.stores import foreign, rows, schema

_LOCK = 0x6F766572  # any number that others do not take

Step = Callable[[Connection, "str | None"], None]


def _create_tables(connection: Connection, _place: str | None) -> None:
    schema.metadata.create_all(connection)


def _leases_and_overhead(connection: Connection, place: str | None) -> None:
    """Fencing, the journal's id and the money of no cell on `geo_runs`."""
    for name in (
        "lease_fence",
        "journal_id",
        "journal_host",
        "overhead_micro_usd",
        "overhead_maybe_charged_micro_usd",
    ):
        _add_column(connection, schema.geo_runs, name, place)


def _claims_and_insights(connection: Connection, _place: str | None) -> None:
    """What follows the end of a batch."""
    for table in (schema.claims, schema.geo_batch_insights):
        table.create(connection, checkfirst=True)


def _batch_ids(connection: Connection, place: str | None) -> None:
    """`batch_id` is `uuid` in PostgreSQL; before, it was text."""
    if connection.dialect.name != "postgresql":
        return
    looked = inspect(connection)
    tables = [
        table
        for table in schema.metadata.sorted_tables
        if "batch_id" in table.c and not foreign.is_uuid(looked, table.name, place)
    ]
    for table in tables:
        # Only names of our own tables stand in the text.
        query = f"SELECT DISTINCT batch_id FROM {rows.named(table, place)}"  # noqa: S608
        for (batch_id,) in connection.exec_driver_sql(query):
            if schema.batch_id_of(batch_id) is None:
                raise StoreError(
                    f"{table.name} has the batch '{batch_id}', which is no UUID, and PostgreSQL's column is one from "
                    "this version on: give that batch a UUID in every table, or remove it"
                )
    # A key that leads from text to uuid cannot be: the keys between these tables go and come back. As text, because
    # SQLAlchemy's own way leaves the constraint out of every table that this process makes later.
    keys = [key for table in tables for key in table.foreign_key_constraints if "batch_id" in key.column_keys]
    for key in keys:
        columns = list(key.column_keys)
        for found in looked.get_foreign_keys(key.table.name, schema=place):
            if found["constrained_columns"] == columns and found["name"]:
                name = rows.quoted(found["name"])
                connection.exec_driver_sql(f"ALTER TABLE {rows.named(key.table, place)} DROP CONSTRAINT {name}")
    for table in tables:
        connection.exec_driver_sql(
            f"ALTER TABLE {rows.named(table, place)} ALTER COLUMN batch_id TYPE uuid USING batch_id::uuid"
        )
    for key in keys:
        ours, theirs = ", ".join(key.column_keys), ", ".join(entry.column.name for entry in key.elements)
        connection.exec_driver_sql(
            f"ALTER TABLE {rows.named(key.table, place)} ADD FOREIGN KEY ({ours})"
            f" REFERENCES {rows.named(key.referred_table, place)} ({theirs}) ON DELETE {key.ondelete}"
        )


def _evidence(connection: Connection, place: str | None) -> None:
    """What an extraction rests on, and what the org's entry tells the rules. Touches no row: all may be NULL."""
    added = {
        schema.orgs: ("rules",),
        schema.org_evals: (
            "sentiment_quote",
            "list_position",
            "occurrences",
            "prominence",
            "shares",
            "evidence",
            "fingerprint",
            "injection_suspected",
        ),
        schema.org_competitors: ("occurrences", "parent", "merged"),
        schema.org_citations: ("class", "source", "cited_text"),
    }
    for table, names in added.items():
        for name in names:
            _add_column(connection, table, name, place)


def _add_column(connection: Connection, table: Table, name: str, place: str | None) -> None:
    """Adds a column of `schema.py` unless it is there: the first step makes the tables as they are today."""
    if name in {column["name"] for column in inspect(connection).get_columns(table.name, schema=place)}:
        return
    column = CreateColumn(table.c[name]).compile(dialect=connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE {rows.named(table, place)} ADD COLUMN {column}")


STEPS: tuple[Step, ...] = (_create_tables, _leases_and_overhead, _claims_and_insights, _batch_ids, _evidence)
"""Step n (counted from 1) leads from version n-1 to version n; each is given the connection and PostgreSQL's schema."""

_MADE_BY_STEP = {schema.claims.name: 3, schema.geo_batch_insights.name: 3}  # else 1


def migrate(connection: Connection, place: str | None = None) -> None:
    """Applies the steps that are missing.

    Args:
        connection: In a transaction that writes; it translates the tables to `place`.
        place: PostgreSQL's schema, made when it is missing; None: not named.

    Raises:
        StoreError: The database was made by a newer version of this package, or has tables of our names that are not
            ours and cannot be used.
    """
    if connection.dialect.name == "postgresql":
        # Two processes that open a new database at once: the second waits here, and finds the tables made.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    # Who may not make one may use one that is there.
    if place is not None and not inspect(connection).has_schema(place):
        connection.execute(CreateSchema(place))
    version = _version(connection, place)
    if version > len(STEPS):
        raise StoreError(
            f"the database has schema version {version}, this overheard knows up to {len(STEPS)}: install a newer one"
        )
    foreign.refuse(
        connection,
        [table for table in schema.metadata.sorted_tables if _MADE_BY_STEP.get(table.name, 1) > version],
        place,
    )
    schema.migrations.create(connection, checkfirst=True)
    for number, step in enumerate(STEPS[version:], start=version + 1):
        step(connection, place)
        connection.execute(insert(schema.migrations).values(version=number, applied_at=now_ms()))


def is_current(connection: Connection, place: str | None = None) -> bool:
    """True when nothing has to be applied; reads only."""
    return _version(connection, place) == len(STEPS)


def _version(connection: Connection, place: str | None) -> int:
    if not inspect(connection).has_table(schema.migrations.name, schema=place):
        return 0
    version: int = connection.execute(select(func.coalesce(func.max(schema.migrations.c.version), 0))).scalar_one()
    return version

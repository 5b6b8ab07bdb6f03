"""What PostgreSQL needs beside its URL: the driver's name in it, limits for a connection, text without NUL.

Only this file knows the driver, psycopg, which is an extra. It must not hold a connection or know a table.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection

from overheard.errors import ConfigError

SCHEMES = ("postgresql", "postgres", "postgresql+psycopg", "postgresql+asyncpg")
"""The schemes that lead here; what another driver's URL says is told to ours."""

CONNECT_ARGS: Mapping[str, Any] = {"connect_timeout": 10, "prepare_threshold": None}
"""Seconds for a connection, so that a server that is halted or unreachable is told within a host call's time; and no
statement that outlives its transaction in the server, where a pooler gives the next transaction another one."""

READERS = 4
"""Connections for reading, beside the one that writes: who reads does not wait behind the writer."""

STATEMENT_SECONDS = 30
"""Seconds that a statement may take, and that one waits for the process's connection."""

RESTART_SECONDS = 15
"""Seconds that a server which was there before is waited for; with a connection's limit less than a host call's."""

RESTART_POLL_SECONDS = 0.2
"""Seconds between two looks at it."""

# Milliseconds; a value of 0 is no limit. The lock's is SQLite's patience.
_LIMITS = {
    "statement_timeout": str(STATEMENT_SECONDS * 1000),
    "lock_timeout": "10000",
    "idle_in_transaction_session_timeout": "60000",
}
# For one transaction: behind a pooler that hands out transactions, a session's setting is lost, or somebody else's.
# What the server, the role or the database has set stands; but an acknowledged row survives a crash of the server.
BEGIN = (
    "SELECT "
    + ", ".join(
        f"set_config('{name}', CASE WHEN current_setting('{name}') IN ('0', '0ms') THEN '{value}'"
        f" ELSE current_setting('{name}') END, true)"
        for name, value in _LIMITS.items()
    )
    + ", set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'"
    " ELSE current_setting('synchronous_commit') END, true)"
)
"""The first statement of each transaction: limits where the server sets none, commits that wait for the disk."""

_LONGEST_NAME = 63
_EXAMPLE = "postgresql://user:password@host:5432/database"


def driver_url(url: str, schema: str | None = None) -> tuple[URL, str | None]:
    """The URL for SQLAlchemy with psycopg, and the schema of our tables; None: the server's own choice.

    Args:
        url: With any scheme of `SCHEMES`; its query may name the schema: `?schema=geo`.
        schema: Wins over the URL's; empty: none.

    Raises:
        ConfigError: Not such a URL, psycopg is not installed, or the schema cannot be one. The message never holds the
            URL: a password may stand in it.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or not parsed.database:
        raise ConfigError(f"OVERHEARD_STORE: write {_EXAMPLE}", field="OVERHEARD_STORE") from None
    if importlib.util.find_spec("psycopg") is None:
        raise ConfigError(
            "OVERHEARD_STORE: PostgreSQL needs psycopg: pip install 'overheard[postgres]'", field="OVERHEARD_STORE"
        )
    named = parsed.query.get("schema") if schema is None else schema
    if not isinstance(named, str | None):
        raise ConfigError("OVERHEARD_STORE: ?schema= stands in it twice", field="OVERHEARD_STORE")
    if "ssl" in parsed.query and "sslmode" not in parsed.query:  # asyncpg's word for libpq's
        parsed = parsed.update_query_dict({"sslmode": parsed.query["ssl"]})
    # What asyncpg and poolers are told and libpq does not know: statements are never kept here.
    others = ["ssl", "schema", "prepared_statement_cache_size", "statement_cache_size", "pgbouncer"]
    return parsed.difference_update_query(others).set(drivername="postgresql+psycopg"), _schema(named)


def _schema(name: str | None) -> str | None:
    if not name:
        return None
    servers = name.startswith("pg_") or name == "information_schema"
    if servers or len(name.encode()) > _LONGEST_NAME or any(character in name for character in "\0[]"):
        raise ConfigError(
            f"OVERHEARD_STORE_SCHEMA: a schema's name has at most {_LONGEST_NAME} bytes, no square brackets, and is "
            "none of the server's own (pg_…, information_schema)",
            field="OVERHEARD_STORE_SCHEMA",
        )
    return name


def prepare(connection: Any, _record: Any) -> None:
    """Sets up the driver's side of a new connection; the server is told nothing, see `BEGIN`."""
    from psycopg.types.string import StrDumperUnknown, TextLoader

    class WithoutNul(StrDumperUnknown):
        """PostgreSQL's text has no NUL, an answer may: the raw body keeps it, text shows that something was there."""

        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)

    connection.driver_connection.adapters.register_dumper(str, WithoutNul)
    connection.driver_connection.adapters.register_loader("uuid", TextLoader)  # a batch id is text here


def begin(connection: Connection) -> None:
    """Begins a transaction: see `BEGIN`."""
    connection.exec_driver_sql(BEGIN)


@asynccontextmanager
async def numbered(connection: AsyncConnection) -> AsyncIterator[None]:
    """Within the block the driver takes `$1`, `$2` and so on on this connection, and looks for no other placeholder."""
    from psycopg import AsyncRawCursor

    driver: Any = (await connection.get_raw_connection()).driver_connection
    before = driver.cursor_factory
    driver.cursor_factory = AsyncRawCursor
    try:
        yield
    finally:
        driver.cursor_factory = before

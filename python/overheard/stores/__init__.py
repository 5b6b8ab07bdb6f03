"""The stores that come with the package. `open_store` turns a URL into one; nothing here knows the engine."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from sqlalchemy.engine import URL

from overheard.errors import ConfigError
from overheard.settings import environment
from overheard.stores import postgres
from overheard.stores.database import Database
from overheard.stores.sql import SqlStore

__all__ = ["DEFAULT_STORE", "Database", "SqlStore", "open_store", "script"]

DEFAULT_STORE = "sqlite:///overheard.db"
"""Where results are kept when nothing is said."""


def open_store(url: str = DEFAULT_STORE, *, light: bool = False, schema: str | None = None) -> SqlStore:
    """A store for a URL; the database is opened on first use.

    Args:
        url: `sqlite:///file.db` (relative), `sqlite:////folder/file.db` (absolute), `sqlite://` (in memory) or
            `postgresql://user:password@host:5432/database`, with `?schema=geo` if wanted.
        light: Keep keys, status, text and counts only.
        schema: PostgreSQL's schema for the tables, made when it is missing; every statement names it. None: the URL's
            `?schema=`, else `OVERHEARD_STORE_SCHEMA`, else (and when empty) the server's own choice, usually `public`.

    Raises:
        ConfigError: Not such a URL, its driver is not installed, or a schema for SQLite.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme in postgres.SCHEMES:
        parsed, named = postgres.driver_url(url, schema)
        if named is None and schema is None:
            parsed, named = postgres.driver_url(url, environment().get("OVERHEARD_STORE_SCHEMA", "").strip())
        return SqlStore(Database(parsed, None, schema=named), light=light)
    if scheme != "sqlite" or not separator:
        known = "sqlite:///overheard.db or postgresql://user:password@host:5432/database"
        said = scheme if separator else "this"
        raise ConfigError(
            f"OVERHEARD_STORE: {said} is not a store this version knows; write {known}", field="OVERHEARD_STORE"
        )
    if schema or "?schema=" in rest:
        raise ConfigError(
            "schema: an SQLite file has no schemas; leave it out, or set OVERHEARD_STORE to a PostgreSQL database",
            field="schema",
        )
    if rest in ("", "/:memory:"):
        return SqlStore(Database(URL.create("sqlite+aiosqlite", database=":memory:"), None), light=light)
    if not rest.startswith("/") or rest == "/":
        raise ConfigError("OVERHEARD_STORE: write sqlite:/// and then the file", field="OVERHEARD_STORE")
    # Absolute now: a later change of the working directory must not change the file.
    path = Path(rest[1:]).expanduser().absolute()
    return SqlStore(Database(URL.create("sqlite+aiosqlite", database=str(path)), path), light=light)


def script() -> str:
    """The SQL that brings another system's `geo_runs` up, for psql or any driver; see `geo_runs.sql`."""
    return files("overheard").joinpath("stores/geo_runs.sql").read_text("utf-8")

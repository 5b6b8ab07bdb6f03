"""The stores that come with the package. `open_store` turns a URL into one; nothing here knows the engine."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL

from overheard.errors import ConfigError
from overheard.stores.database import Database
from overheard.stores.sql import SqlStore

__all__ = ["DEFAULT_STORE", "Database", "SqlStore", "open_store"]

DEFAULT_STORE = "sqlite:///overheard.db"
"""Where results are kept when nothing is said."""


def open_store(url: str = DEFAULT_STORE, *, light: bool = False) -> SqlStore:
    """A store for a URL; the database is opened on first use.

    Args:
        url: `sqlite:///file.db` (relative), `sqlite:////folder/file.db` (absolute) or `sqlite://` (in memory).
        light: Keep keys, status, text and counts only.

    Raises:
        ConfigError: Not such a URL.
    """
    scheme, separator, rest = url.partition("://")
    if scheme != "sqlite" or not separator:
        known = "sqlite:///overheard.db"
        said = scheme if separator else "this"
        raise ConfigError(
            f"OVERHEARD_STORE: {said} is not a store this version knows; write {known}", field="OVERHEARD_STORE"
        )
    if rest in ("", "/:memory:"):
        return SqlStore(Database(URL.create("sqlite+aiosqlite", database=":memory:"), None), light=light)
    if not rest.startswith("/") or rest == "/":
        raise ConfigError("OVERHEARD_STORE: write sqlite:/// and then the file", field="OVERHEARD_STORE")
    # Absolute now: a later change of the working directory must not change the file.
    path = Path(rest[1:]).expanduser().absolute()
    return SqlStore(Database(URL.create("sqlite+aiosqlite", database=str(path)), path), light=light)

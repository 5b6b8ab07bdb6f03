"""Where a batch's results lie, and how they are read from outside: an SQLite file, or a PostgreSQL database.

Reads with drivers of its own, not with the store. Judges nothing.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

PATIENCE_S = 60
"""For a server to end the sessions of a process that was killed."""


class Results(Protocol):
    """The results of one batch.

    Attributes:
        url: For a start.
        journal: The folder of the journal.
    """

    url: str
    journal: Path

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Rows; none while the store is not made."""

    def made(self) -> bool:
        """Whether the store is made."""

    def quiet(self) -> None:
        """Waits until nothing of a killed process is at work any more."""

    def holds(self, text: str) -> bool:
        """Whether a text stands anywhere in the results."""


def count(results: Results, what: str) -> int:
    found = results.rows(f"SELECT count(*) AS count FROM {what}")
    return int(found[0]["count"]) if found else 0


class SqliteResults:
    """In a file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "s.db"
        self.url = f"sqlite:///{self.path}"
        self.journal = Path(f"{self.path}.journal")

    def rows(self, query: str) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in connection.execute(query)]
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise

    def made(self) -> bool:
        return bool(self.rows("SELECT name FROM sqlite_master WHERE name = 'facts'"))

    def quiet(self) -> None:
        """A file has no sessions."""

    def holds(self, text: str) -> bool:
        files = [self.path, Path(f"{self.path}-wal")]
        return any(text.encode() in file.read_bytes() for file in files if file.exists())


class PostgresResults:
    """In a database of their own; what a killed process had sent may still be carried out."""

    def __init__(self, url: str, folder: Path) -> None:
        import psycopg

        self.url = url
        self.journal = folder / "journal"
        self._connection = psycopg.connect(url, autocommit=True, row_factory=psycopg.rows.dict_row)

    def rows(self, query: str) -> list[dict[str, Any]]:
        import psycopg

        try:
            found = self._connection.execute(query.replace("%", "%%")).fetchall()
        except psycopg.errors.UndefinedTable:
            return []
        return [{name: str(value) if name == "batch_id" else value for name, value in row.items()} for row in found]

    def made(self) -> bool:
        return bool(self.rows("SELECT 1 AS made FROM pg_class WHERE relname = 'facts'"))

    def quiet(self) -> None:
        others = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )
        deadline = time.monotonic() + PATIENCE_S
        while self.rows(others):
            assert time.monotonic() < deadline, "sessions of a killed process do not end"
            time.sleep(0.01)

    def holds(self, text: str) -> bool:
        tables = self.rows("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
        names = [table["relname"] for table in tables]
        searched = [f"SELECT 1 AS found FROM {name} t WHERE strpos(t::text, '{text}') > 0" for name in names]
        searched.append(f"SELECT 1 AS found FROM question_runs WHERE position('{text}'::bytea IN raw_body) > 0")
        return any(self.rows(f"{query} LIMIT 1") for query in searched)

    def end(self) -> None:
        self._connection.close()

"""One connection to the database per event loop, opened on first use, and its transactions. Knows no table of ours.

SQLite: the file is made with mode 0600; WAL; 10 s of patience for another process's lock; foreign keys; a writing
transaction takes the write lock at its start, so it cannot lose it half-way.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from overheard.errors import StoreError
from overheard.stores.migrations import is_current, migrate

_PATIENCE_MS = 10_000
_WRITES = "overheard_writes"


class Database:
    """Transactions on one database, from any number of event loops."""

    def __init__(self, url: URL, path: Path | None) -> None:
        """Nothing is opened yet.

        Args:
            url: SQLAlchemy's URL with an asyncio driver.
            path: SQLite's file; None: in memory, or not SQLite.
        """
        self.url = url
        self.path = path
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._engines: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine] = WeakKeyDictionary()
        self._opening: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes nothing."""
        engine = await self._engine()
        async with engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: kept when the block ends, undone when it raises."""
        engine = await self._engine()
        async with engine.execution_options(**{_WRITES: True}).begin() as connection:
            yield connection

    async def open(self) -> None:
        """Opens now, so that a store that cannot be written is told before any work.

        Raises:
            StoreError: The database cannot be opened or written.
        """
        await self._engine()

    async def aclose(self) -> None:
        """Closes this event loop's connection; the next use opens it again."""
        engine = self._engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            await engine.dispose()

    async def _engine(self) -> AsyncEngine:
        loop = asyncio.get_running_loop()
        if (engine := self._engines.get(loop)) is not None:
            return engine
        async with self._opening.setdefault(loop, asyncio.Lock()):
            if (engine := self._engines.get(loop)) is None:
                engine = await self._opened()
                self._engines[loop] = engine
        return engine

    async def _opened(self) -> AsyncEngine:
        if self.path is not None:
            _make_file(self.path)
        # One connection: within a process the writers queue here and not at the lock of the file.
        engine = create_async_engine(
            self.url, poolclass=AsyncAdaptedQueuePool, pool_size=1, max_overflow=0, pool_timeout=600
        )
        if self.is_sqlite:
            event.listen(engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(engine.sync_engine, "begin", _begin_sqlite)
        try:
            async with engine.connect() as connection:
                current = await connection.run_sync(is_current)
            if not current:
                async with engine.execution_options(**{_WRITES: True}).begin() as connection:
                    await connection.run_sync(migrate)
        except (DBAPIError, sqlite3.Error, OSError) as error:
            await engine.dispose()
            reason = getattr(error, "orig", None) or error
            raise StoreError(f"{self.name}: {reason}; set OVERHEARD_STORE to a store that can be written") from error
        except BaseException:
            await engine.dispose()
            raise
        return engine

    @property
    def name(self) -> str:
        """What errors call it: the file, or the URL without its password."""
        return str(self.path) if self.path else self.url.render_as_string(hide_password=True)


def _make_file(path: Path) -> None:
    try:
        # SQLite gives its -wal and -shm files the mode of the database.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"{path}: {reason}; set OVERHEARD_STORE to a file that can be written") from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours, see `_begin_sqlite`
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={_PATIENCE_MS}",
        "page_size=16384",  # a run with its bodies fits into few pages: 14 µs a run less than 4096 (measured)
        "journal_mode=WAL",
        "synchronous=FULL",  # an acknowledged row survives a power cut
        "foreign_keys=ON",
        "cache_size=-16000",
        "wal_autocheckpoint=4000",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

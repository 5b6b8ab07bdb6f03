"""Connections to the database per event loop, opened on first use, and their transactions. Knows no table of ours.

SQLite: one connection; the file is made with mode 0600; WAL; 10 s of patience for another process's lock; foreign keys;
a writing transaction takes the write lock at its start, so it cannot lose it half-way. PostgreSQL: one connection that
writes, so that writers queue here, and a few that read; see `postgres.py`. A connection that the server has dropped is
found at the first statement of a transaction, which writes nothing, and made anew.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Table, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from overheard.errors import StoreError
from overheard.stores import postgres, rows
from overheard.stores.handover import Insert
from overheard.stores.migrations import is_current, migrate
from overheard.stores.operations import Operations
from overheard.stores.schema import batch_id_of

_PATIENCE_MS = 10_000
_WRITES = "overheard_writes"


@dataclass(frozen=True)
class _Engines:
    """Of one event loop; on SQLite both are the same."""

    reads: AsyncEngine
    writes: AsyncEngine

    async def dispose(self) -> None:
        await self.writes.dispose()
        if self.reads is not self.writes:
            await self.reads.dispose()


class Database:
    """Transactions on one database, from any number of event loops."""

    def __init__(self, url: URL, path: Path | None, *, schema: str | None = None) -> None:
        """Nothing is opened yet.

        Args:
            url: SQLAlchemy's URL with an asyncio driver.
            path: SQLite's file; None: in memory, or not SQLite.
            schema: Where the tables are, for PostgreSQL; None: the server's own choice.
        """
        self.url = url
        self.path = path
        self.schema = schema
        self.is_sqlite = url.get_backend_name() == "sqlite"
        #: What is under way: run through it what a cancellation must not cut in two.
        self.operations = Operations()
        self._engines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Engines] = WeakKeyDictionary()
        self._opening: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    @property
    def mark(self) -> str:
        """The driver's placeholder."""
        return "?" if self.is_sqlite else "%s"

    def check_batch_id(self, batch_id: str) -> None:
        """Refuses to write a batch id that PostgreSQL has no place for; SQLite takes every text.

        Raises:
            StoreError: Names it.
        """
        if not self.is_sqlite and batch_id_of(batch_id) is None:
            raise StoreError(f"batch_id: '{batch_id[:80]}' is no UUID, and in PostgreSQL a batch's id is one")

    def insert(self, table: Table, columns: Sequence[str], *, keys: Sequence[str] = ()) -> Insert:
        """The statement for tuples of these columns; with `keys` an upsert."""
        return Insert(table, columns, keys=keys, sqlite=self.is_sqlite, schema=self.schema)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes nothing."""
        engines = await self._opened()
        async with AsyncExitStack() as stack:
            yield await self._entered(stack, engines.reads.begin)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes nothing and sees one moment; its statements need not name the schema."""
        engine = (await self._opened()).reads
        if not self.is_sqlite:
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        async with AsyncExitStack() as stack:
            connection = await self._entered(stack, engine.begin)
            if self.schema is not None:
                # For this transaction: behind a pooler the session is everybody's.
                path = "SELECT set_config('search_path', %s, true)"
                await connection.exec_driver_sql(path, (rows.quoted(self.schema),))
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: kept when the block ends, undone when it raises."""
        engines = await self._opened()
        async with AsyncExitStack() as stack:
            yield await self._entered(stack, engines.writes.execution_options(**{_WRITES: True}).begin)

    async def _entered(
        self, stack: AsyncExitStack, begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]]
    ) -> AsyncConnection:
        """Begins a transaction. A server that is starting again is waited for: nothing has been sent to it yet."""
        deadline = time.monotonic() + postgres.RESTART_SECONDS
        fresh = False
        while True:
            try:
                return await stack.enter_async_context(begin())
            except OperationalError as error:
                if self.is_sqlite or time.monotonic() > deadline:
                    raise
                # A connection that the server dropped while it was idle: the next one is new.
                again = error.connection_invalidated and not fresh
            fresh = True
            if not again:
                await asyncio.sleep(postgres.RESTART_POLL_SECONDS)

    async def open(self) -> None:
        """Opens now, so that a store that cannot be written is told before any work.

        Raises:
            StoreError: The database cannot be opened or written.
        """
        await self._opened()

    async def aclose(self) -> None:
        """Closes this event loop's connections, when what is under way has ended; the next use opens them again."""
        try:
            await self.operations.settled()
        finally:
            engines = self._engines.pop(asyncio.get_running_loop(), None)
            if engines is not None:
                await engines.dispose()

    async def _opened(self) -> _Engines:
        loop = asyncio.get_running_loop()
        if (engines := self._engines.get(loop)) is not None:
            return engines
        async with self._opening.setdefault(loop, asyncio.Lock()):
            if (engines := self._engines.get(loop)) is None:
                engines = await self._made()
                self._engines[loop] = engines
        return engines

    def _engine(self, connections: int) -> AsyncEngine:
        engine = create_async_engine(
            self.url,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=600 if self.is_sqlite else postgres.STATEMENT_SECONDS,
            hide_parameters=True,  # an error's text goes into logs, answers and questions do not
            connect_args={} if self.is_sqlite else dict(postgres.CONNECT_ARGS),
            execution_options={} if self.schema is None else {"schema_translate_map": {None: self.schema}},
        )
        if self.is_sqlite:
            event.listen(engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(engine.sync_engine, "begin", _begin_sqlite)
        else:
            event.listen(engine.sync_engine, "connect", postgres.prepare)
            event.listen(engine.sync_engine, "begin", postgres.begin)
        return engine

    async def _made(self) -> _Engines:
        if self.path is not None:
            _make_file(self.path)
        # One connection: within a process the writers queue here and not at the lock of the file, or of a row.
        writes = self._engine(1)
        engines = _Engines(writes if self.is_sqlite else self._engine(postgres.READERS), writes)
        try:
            async with engines.writes.connect() as connection:
                current = await connection.run_sync(is_current, self.schema)
            if not current:
                async with engines.writes.execution_options(**{_WRITES: True}).begin() as connection:
                    await connection.run_sync(migrate, self.schema)
        except (DBAPIError, sqlite3.Error, OSError) as error:
            await engines.dispose()
            reason = getattr(error, "orig", None) or error
            raise StoreError(f"{self.name}: {reason}; set OVERHEARD_STORE to a store that can be written") from error
        except StoreError as error:
            await engines.dispose()
            raise StoreError(f"{self.name}: {error}") from error
        except BaseException:
            await engines.dispose()
            raise
        return engines

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

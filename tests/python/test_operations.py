"""A cancelled call of the store ends first: no statement is cut, no connection lost, nothing runs after the close."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from overheard._loops import forget_quietly
from overheard.errors import StoreError
from overheard.stores import SqlStore, open_store, operations
from sqlalchemy import Engine, event


class Seen:
    """The connections that were made, and the statement that begins now."""

    def __init__(self) -> None:
        self.connections = 0
        self.begins = asyncio.Event()

    def connected(self, _connection: Any, _record: Any) -> None:
        self.connections += 1

    def executes(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement == "BEGIN IMMEDIATE":
            self.begins.set()


@pytest.fixture
def seen() -> Iterator[Seen]:
    seen = Seen()
    event.listen(Engine, "connect", seen.connected)
    event.listen(Engine, "before_cursor_execute", seen.executes)
    yield seen
    event.remove(Engine, "connect", seen.connected)
    event.remove(Engine, "before_cursor_execute", seen.executes)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is cut because the machine is busy."""
    monkeypatch.setattr(operations, "PATIENCE", 60.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path, seen: Seen) -> AsyncIterator[SqlStore]:
    async with open_store(f"sqlite:///{path}") as store:
        await store.save_fact("name", "before")
        seen.begins.clear()
        yield store


class Locked:
    """Another program that holds the write lock of the file."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        self._connection.rollback()
        self._connection.close()


async def test_a_call_that_is_cancelled_in_its_statement_ends_and_keeps_its_connection(
    path: Path, store: SqlStore, seen: Seen
) -> None:
    lock = Locked(path)
    writing = asyncio.ensure_future(store.save_fact("name", "after"))
    await seen.begins.wait()
    writing.cancel()
    asyncio.get_running_loop().call_soon(lock.release)
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await store.load_fact("name") == "after", "it had begun, so it ended"
    assert seen.connections == 1


async def test_a_call_that_hangs_is_cut_and_the_next_one_works(
    path: Path, store: SqlStore, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "PATIENCE", 0.05)
    lock = Locked(path)
    writing = asyncio.ensure_future(store.save_fact("name", "after"))
    await seen.begins.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    lock.release()
    assert await store.load_fact("name") == "before"
    await store.save_fact("name", "later")
    assert await store.load_fact("name") == "later"


async def test_a_second_cancellation_waits_no_longer(path: Path, store: SqlStore, seen: Seen) -> None:
    lock = Locked(path)
    writing = asyncio.ensure_future(store.save_fact("name", "after"))
    await seen.begins.wait()
    writing.cancel()
    await asyncio.sleep(0)
    writing.cancel()
    asyncio.get_running_loop().call_soon(lock.release)
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await store.load_fact("name") in ("before", "after")


async def test_the_close_waits_for_what_is_under_way(path: Path, store: SqlStore, seen: Seen) -> None:
    lock = Locked(path)
    writing = asyncio.ensure_future(store.save_fact("name", "after"))
    await seen.begins.wait()
    writing.cancel()
    asyncio.get_running_loop().call_soon(lock.release)
    await store.aclose()
    assert writing.done()
    assert sqlite3.connect(path).execute("SELECT value FROM facts WHERE name = 'name'").fetchall() == [("after",)]


async def test_a_close_that_is_cancelled_says_so_and_has_closed(path: Path, store: SqlStore, seen: Seen) -> None:
    lock = Locked(path)
    writing = asyncio.ensure_future(store.save_fact("name", "after"))
    await seen.begins.wait()
    closing = asyncio.ensure_future(store.aclose())
    asyncio.get_running_loop().call_soon(closing.cancel)
    asyncio.get_running_loop().call_soon(lock.release)
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert writing.done()
    assert seen.connections == 1
    await store.load_fact("name")
    assert seen.connections == 2, "the first one was closed"
    await asyncio.gather(writing, return_exceptions=True)


@pytest.mark.parametrize("error", [StoreError("no"), KeyboardInterrupt(), SystemExit(2)], ids=repr)
async def test_what_a_call_raises_reaches_its_caller(store: SqlStore, error: BaseException) -> None:
    async def refused() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await store.database.operations.run(refused)
    assert caught.value is error


def test_a_loop_that_ends_before_the_first_step_leaves_nothing_to_say(path: Path) -> None:
    store = open_store(f"sqlite:///{path}")
    loop = asyncio.new_event_loop()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        task = loop.create_task(store.load_fact("name"))
        forget_quietly(task)
        loop.call_soon(loop.stop)
        loop.run_forever()  # one turn: the call has begun, its operation has not had a step
        loop.close()
        del task
        gc.collect()
    assert [str(entry.message) for entry in told] == []

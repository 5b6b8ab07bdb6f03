"""Files that only their owner reads, and how many connections write them (security items 36 and 39)."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from e2e_help import dump, environment, pipeline, quillmark, url
from overheard import verify as verify_module
from overheard.simulator import Simulator
from overheard.stores import open_store

CHILD = """
import asyncio, os, sys
os.umask(0)
from pathlib import Path
from overheard import Pipeline
from overheard.cli import starts

def look(*_):
    for path in [Path("."), *Path(".").rglob("*"), *Path(os.environ["XDG_STATE_HOME"]).rglob("*")]:
        try:
            print("MODE", oct(path.lstat().st_mode & 0o7777), "d" if path.is_dir() else "f", path)
        except FileNotFoundError:
            pass

async def main():
    limits = dict(first_poll_ms=20, min_poll_ms=10)
    async with Pipeline("sqlite:///own.db", on_progress=look, **limits) as pipeline:
        await pipeline.run("demo", models=["chatgpt", "gpt-4.1"], questions=4)
        look()
    calls = Pipeline(on_question_runs=look, on_extractions=look, **limits)
    await calls.run("demo", models=["chatgpt"], questions=2)
    look()

asyncio.run(main())
"""


def test_s36_everything_we_make_is_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    state = tmp_path / "not" / "there" / "yet"
    with Simulator(seed=1, snapshot_ms=50, perfect=True) as simulator:
        variables = environment(simulator, folder) | {"XDG_STATE_HOME": str(state)}
        told = subprocess.run(
            [sys.executable, "-c", CHILD],
            cwd=folder,
            env=variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert told.returncode == 0, told.stderr
    modes = {tuple(line.split(" ", 3)[1:]) for line in told.stdout.splitlines() if line.startswith("MODE ")}
    ours = {(mode, kind, path) for mode, kind, path in modes if path != "."}
    names = {Path(path).name for _, _, path in ours}
    wrong = [(mode, path) for mode, kind, path in ours if mode != ("0o700" if kind == "d" else "0o600")]
    assert not wrong
    for expected in (
        "own.db",
        "own.db-wal",
        "own.db-shm",
        "own.db.journal",
        "overheard-state.db",
        "overheard",
        "journal.id",
    ):
        assert expected in names, f"{expected} was not seen: {sorted(names)}"
    assert any(name.endswith(".journal") and "." in name.removesuffix(".journal") for name in names), names
    for parent in (state, state.parent, state.parent.parent):
        assert stat.S_IMODE(parent.stat().st_mode) == 0o700, f"{parent}: made by us on the way"


# --- s39: the WAL-reset bug of SQLite before 3.51.3 needs two connections that write or checkpoint at the same time ---


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Every connection to SQLite of this process, with every statement it ran."""
    connections: list[tuple[str, list[str]]] = []
    connect = sqlite3.connect

    def traced(database: Any, *arguments: Any, **keywords: Any) -> sqlite3.Connection:
        connection = connect(database, *arguments, **keywords)
        statements: list[str] = []
        connections.append((str(database), statements))
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    monkeypatch.setattr(aiosqlite.core.sqlite3, "connect", traced)
    return connections


def log_of(path: Path) -> bytes:
    return Path(f"{path}-wal").read_bytes()


def writes(statements: list[str]) -> list[str]:
    words = ("BEGIN IMMEDIATE", "INSERT", "UPDATE", "DELETE", "CREATE", "PRAGMA WAL_CHECKPOINT")
    return [statement for statement in statements if statement.lstrip().upper().startswith(words)]


async def test_s39_a_process_writes_through_one_connection(
    tmp_path: Path, perfect: Simulator, opened: list[tuple[str, list[str]]]
) -> None:
    path = tmp_path / "one.db"
    models = ("chatgpt", "perplexity", "gemini", "gpt-4.1", "claude-sonnet-4-5")
    async with pipeline(perfect, url(path)) as running:
        summary = await running.run(quillmark(6, models, ("US", "DE")))
        await running.status(summary.batch_id)
        await running.resume(summary.batch_id)
        ours = [statements for database, statements in opened if database == str(path)]
        assert len(ours) == 1, "one connection for all models, pairs, phases and starts"
        assert writes(ours[0])
        assert not [statement for statement in ours[0] if "wal_checkpoint" in statement.lower()]


async def test_s39_those_who_only_look_change_and_checkpoint_nothing(
    tmp_path: Path, perfect: Simulator, opened: list[tuple[str, list[str]]]
) -> None:
    path = tmp_path / "look.db"
    async with pipeline(perfect, url(path)) as running:
        summary = await running.run(quillmark(4, ("chatgpt", "gpt-4.1")))
        before, log = dump(path), log_of(path)
        opened.clear()
        # While the writer is there: status and verify as another process would open them.
        async with open_store(url(path)) as store:
            assert await store.load_batch(summary.batch_id) is not None
            assert all(check.problem is None for check in await verify_module.verify(store, summary.batch_id))
        looked = [statements for database, statements in opened if database == str(path)]
        assert looked
        words = ("INSERT", "DELETE", "CREATE", "PRAGMA WAL_CHECKPOINT")
        assert not [
            told for statements in looked for told in writes(statements) if told.lstrip().upper().startswith(words)
        ]
        assert log_of(path) == log, "the log is the writer's alone to move"
        assert dump(path) == before


def test_s39_the_library_is_named_where_the_bug_can_matter() -> None:
    """What holds on this machine: printed, so that a report shows it; the two tests above hold on any."""
    version = tuple(int(part) for part in sqlite3.sqlite_version.split("."))
    print(f"SQLite {sqlite3.sqlite_version}: {'has' if version < (3, 51, 3) else 'is free of'} the WAL-reset bug")
    assert version >= (3, 37), "older ones lack what the store uses"

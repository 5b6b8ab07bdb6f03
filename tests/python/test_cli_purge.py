"""`overheard purge`: what goes, what stays, who is asked, and that no record of paid work is removed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from e2e_help import pipeline, quillmark, rows, url
from overheard import _closed_journals
from overheard.cli.app import app
from overheard.simulator import Simulator
from overheard.stores import SqlStore
from overheard.stores import schema as tables
from sqlalchemy import delete, func, select
from typer.testing import CliRunner

JOURNAL = next((Path(__file__).parents[1] / "fixtures" / "journal" / "v1").glob("*.journal"))
LONG_AGO = "2020-01-01T00:00:00.000Z"


async def _stand_in(self: SqlStore, moment_ms: int, *, dry_run: bool = False) -> Mapping[str, int]:
    """`SqlStore.purge_before` as its contract says, for as long as this version has none."""
    counts = {}
    old = select(tables.batches.c.batch_id).where(tables.batches.c.finished_at < moment_ms)
    async with self.database.writing() as connection:
        for table in (tables.org_citations, tables.org_competitors, tables.org_evals, tables.extractions,
                      tables.question_runs, tables.geo_runs, tables.batches):  # fmt: skip
            wanted = table.c.batch_id.in_(old)
            found = await connection.execute(select(func.count()).select_from(table).where(wanted))
            counts[table.name] = found.scalar_one()
            if not dry_run:
                await connection.execute(delete(table).where(wanted))
        if not dry_run:
            await connection.execute(delete(tables.facts).where(tables.facts.c.name.like("summary:%")))
    return counts


@pytest.fixture(autouse=True)
def purging(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(SqlStore, "purge_before"):
        monkeypatch.setattr(SqlStore, "purge_before", _stand_in, raising=False)


@pytest.fixture
def path(tmp_path: Path, perfect: Simulator) -> Path:
    """A store with a batch that finished long ago and one that finished just now."""
    file = tmp_path / "x.db"

    async def run() -> None:
        async with pipeline(perfect, url(file)) as running:
            await running.store.save_org(quillmark(2))
            old = await running.run("quill", batch_key="old")
            batch = await running.store.load_batch(old.batch_id)
            async with running.store.database.writing() as connection:
                for table, begun in (("batches", "created_at"), ("geo_runs", "started_at")):
                    await connection.exec_driver_sql(
                        f"UPDATE {table} SET {begun} = '{LONG_AGO}', finished_at = '{LONG_AGO}'"
                        f" WHERE batch_id = '{batch.batch_id}'"
                    )
            await running.run("quill", batch_key="new")

    asyncio.run(run())
    return file


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["purge", *arguments])
    assert "Traceback" not in done.output
    return done.exit_code, done.output


def batch_ids(path: Path, key: str) -> list[str]:
    return [row["batch_id"] for row in rows(path, "SELECT batch_id FROM batches WHERE batch_key = ?", key)]


def test_old_batches_go_and_nothing_else(path: Path) -> None:
    store = ("--store", url(path))
    (old,), (new,) = batch_ids(path, "old"), batch_ids(path, "new")
    before = rows(path, "SELECT count(*) AS n FROM question_runs")[0]["n"]
    code, out = command("--older-than", "90d", "--dry-run", *store)
    assert (code, "Would go" in out) == (0, True)
    cells = [line.split() for line in out.splitlines()]
    shown = {entry[0]: int(entry[1]) for entry in cells if len(entry) == 2 and entry[1].isdigit()}
    assert shown["question_runs"] == 2
    assert shown["batches"] == 1
    assert batch_ids(path, "old") == [old]
    code, out = command("--older-than", "2021-06-30", "--yes", *store)
    assert (code, "Gone" in out) == (0, True), out
    assert rows(path, "SELECT DISTINCT batch_id FROM question_runs") == [{"batch_id": new}]
    assert rows(path, "SELECT count(*) AS n FROM question_runs")[0]["n"] == before - 2
    for table in ("batches", "geo_runs", "extractions", "org_evals", "org_citations"):
        assert [row["batch_id"] for row in rows(path, f"SELECT DISTINCT batch_id FROM {table}")] == [new], table
    assert rows(path, "SELECT org_id FROM orgs") == [{"org_id": "quill"}]
    code, out = command("--older-than", "2021-06-30", "--yes", *store)
    assert (code, out) == (0, "Nothing to purge: no batch finished before 2021-06-30 00:00 UTC\n")


def test_where_nobody_can_be_asked_nothing_goes_without_yes(path: Path) -> None:
    code, out = command("--older-than", "90d", "--store", url(path))
    assert (code, out) == (2, "Error: purge deletes for good; look with --dry-run, then give --yes\n")
    assert batch_ids(path, "old")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of its own")
@pytest.mark.parametrize(("reply", "stays"), [("n\n", True), ("y\n", False)])
def test_on_a_terminal_it_asks(path: Path, reply: str, stays: bool) -> None:
    if not stays and purging_is_a_stand_in():
        return  # another process has not got the stand-in: it tells so, which the next test looks at
    ours, theirs = pty.openpty()
    arguments = ["purge", "--older-than", "90d", "--store", url(path)]
    with subprocess.Popen(
        [sys.executable, "-m", "overheard", *arguments], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        os.write(ours, reply.encode())
        assert process.stdout is not None
        out = process.stdout.read().decode()
    os.close(ours)
    os.close(theirs)
    assert bool(batch_ids(path, "old")) is stays
    if not purging_is_a_stand_in():
        assert process.returncode == 0
        assert "Delete these rows for good?" in out
        assert ("Nothing was deleted" in out) is stays


def purging_is_a_stand_in() -> bool:
    return SqlStore.__dict__.get("purge_before") is _stand_in


def test_a_store_that_cannot_purge_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(SqlStore, "purge_before")
    code, out = command("--older-than", "90d", "--store", url(path))
    assert (code, out) == (1, "Error: purge: SqlStore cannot delete batches: it has no purge_before\n")


@pytest.mark.parametrize("text", ["soon", "-3d", "d", "", "9999999999d", "2999-01-01", "90", "٣d", "2026-02-30"])
def test_what_is_no_age_and_no_date_is_a_usage_error(text: str, tmp_path: Path) -> None:
    code, out = command("--older-than", text, "--store", url(tmp_path / "none.db"))
    assert (code, "--older-than" in out) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    code, out = command("--older-than", "12w", "--yes", "--store", url(tmp_path / "none.db"))
    assert (code, "there is no such file" in out) == (1, True)
    assert list(tmp_path.iterdir()) == []


# --- journal files ---


def journal_file(folder: Path, batch_id: str, name: str, *, is_open: bool) -> Path:
    """A file of a batch: its header alone, or one with open entries, as a killed start left them."""
    folder.mkdir(exist_ok=True)
    content = JOURNAL.read_bytes()
    file = folder / f"{batch_id}.{name}.journal"
    file.write_bytes(content if is_open else content.splitlines(keepends=True)[0])
    return file


def test_closed_journal_files_of_purged_batches_go_with_them(path: Path) -> None:
    folder = Path(f"{path}.journal")
    (old,), (new,) = batch_ids(path, "old"), batch_ids(path, "new")
    closed = journal_file(folder, old, "a", is_open=False)
    another = journal_file(folder, new, "b", is_open=False)
    code, out = command("--older-than", "90d", "--yes", "--store", url(path))
    assert code == 0
    assert not closed.exists()
    assert another.exists()
    assert any(line.split() == ["journal", "files", "1"] for line in out.splitlines()), out
    another.unlink()


def test_what_may_have_been_paid_for_stays(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    paid = journal_file(folder, "old", "a", is_open=True)
    damaged = journal_file(folder, "old", "b", is_open=False)
    damaged.write_bytes(b"this is no journal\nand has two lines\n")
    closed = journal_file(folder, "old", "c", is_open=False)
    held = journal_file(folder, "old", "d", is_open=False)
    longer_name = journal_file(folder, "older", "e", is_open=False)
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        removed, kept = _closed_journals.remove(folder, ["old", "never"])
    assert removed == 1
    assert sorted(folder.iterdir()) == sorted([paid, damaged, held, longer_name])
    assert not closed.exists()
    assert [line.partition(" stays: ")[0] for line in kept] == [str(paid), str(damaged), str(held)]
    assert "may have been paid for" in kept[0]
    assert "a process works with it" in kept[2]
    assert _closed_journals.remove(tmp_path / "nowhere", ["old"]) == (0, [])


def test_help_teaches() -> None:
    code, out = command("--help")
    assert code == 0
    for word in ("--dry-run", "90d", "2026-01-01", "There is no way back"):
        assert word in out


def test_every_new_command_has_examples() -> None:
    for name in ("insights", "export", "purge"):
        done = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"})
        assert done.exit_code == 0
        assert "Examples:" in done.output

"""The plugin that verifies after every test: it finds a broken store, and no sound, marked or failed one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

INNER = """
import asyncio, sqlite3
import pytest
from e2e_help import quillmark, run, url
from overheard.simulator import Simulator

def batch(store):
    with Simulator(seed=3, snapshot_ms=20, perfect=True) as simulator:
        return asyncio.run(run(simulator, store, quillmark(2)))

def edit(path):
    connection = sqlite3.connect(path)
    connection.execute("UPDATE question_runs SET cost_micro_usd = cost_micro_usd + 1")
    connection.commit()
    connection.close()

def test_sound(tmp_path):
    batch(url(tmp_path / "a.db"))

def test_broken(tmp_path):
    batch(url(tmp_path / "a.db"))
    edit(tmp_path / "a.db")

def test_broken_elsewhere(tmp_path_factory):
    path = tmp_path_factory.mktemp("elsewhere") / "a.db"
    batch(url(path))
    edit(path)

def test_broken_by_another_process(tmp_path):
    batch(url(tmp_path / "a.db"))
    import verified
    verified._worked_on.clear()
    edit(tmp_path / "a.db")

@pytest.mark.broken_store("on purpose")
def test_marked(tmp_path):
    batch(url(tmp_path / "a.db"))
    edit(tmp_path / "a.db")

@pytest.mark.broken_store()
def test_marked_without_a_reason(tmp_path):
    pass

def test_failed_itself(tmp_path):
    batch(url(tmp_path / "a.db"))
    edit(tmp_path / "a.db")
    assert False, "its own failure"

def test_in_memory():
    batch("sqlite://")
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("inner")
    (folder / "test_inner.py").write_text(INNER)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "verified", "-p", "no:cacheprovider", "-rA", "-q", "--rootdir", "."],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout + done.stderr


def test_only_what_is_broken_and_not_said_to_be_is_an_error(outcome: str) -> None:
    ends = {line.split("::")[1].split()[0] for line in outcome.splitlines() if line.startswith("ERROR ")}
    assert ends == {
        "test_broken",
        "test_broken_elsewhere",
        "test_broken_by_another_process",
        "test_marked_without_a_reason",
    }, outcome
    failed = {line.split("::")[1].split()[0] for line in outcome.splitlines() if line.startswith("FAILED ")}
    assert failed == {"test_failed_itself"}, outcome
    assert "its own failure" in outcome


def test_the_error_names_store_and_invariant(outcome: str) -> None:
    assert "a.db: FAIL I4 cost equals the sum of the rows: batch " in outcome
    assert "broken_store: say why" in outcome

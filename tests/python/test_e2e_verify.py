"""`overheard verify` on stores damaged by hand: each invariant finds its damage and names the first bad row."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest
from e2e_help import cli, damage, quillmark, rows, run, url
from overheard.simulator import Simulator


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "sound.db"
    with Simulator(seed=2, snapshot_ms=30, perfect=True) as simulator:
        asyncio.run(run(simulator, url(path), quillmark(4, ("chatgpt", "gpt-4.1"))))
    return path


CELL = "q002|chatgpt|US|1"
HERE = f"cell_key = '{CELL}'"
# Statement, the invariant that must fail, and what the line must name.
DAMAGE = {
    "a cell of a foreign model": (
        "UPDATE question_runs SET run_id = (SELECT run_id FROM geo_runs WHERE model = 'gpt-4.1') WHERE " + HERE,
        "I1",
        CELL,
    ),
    "a missing cell": (f"DELETE FROM question_runs WHERE {HERE}", "I2", "chatgpt"),
    "a failed cell that is counted as answered": (
        f"UPDATE question_runs SET status = 'failed' WHERE {HERE}",
        "I2",
        "chatgpt",
    ),
    "a model run that is complete without answers": (
        "UPDATE geo_runs SET query_count = 5 WHERE model = 'chatgpt'",
        "I2",
        "chatgpt",
    ),
    "one micro-dollar too much": (
        f"UPDATE question_runs SET cost_micro_usd = cost_micro_usd + 1 WHERE {HERE}",
        "I4",
        "micro-dollars",
    ),
    "one micro-dollar of an extraction lost": (
        f"UPDATE extractions SET cost_micro_usd = cost_micro_usd - 1 WHERE {HERE}",
        "I4",
        "micro-dollars",
    ),
    "an evaluation lost": (f"DELETE FROM org_evals WHERE {HERE}", "I6", CELL),
    "a citation lost": (f"DELETE FROM org_citations WHERE {HERE} AND position = 1", "I6", CELL),
    "a competitor lost": (f"DELETE FROM org_competitors WHERE {HERE} AND position = 1", "I6", CELL),
    "rows of an extraction that failed": (f"UPDATE extractions SET extracted_at_ms = NULL WHERE {HERE}", "I6", CELL),
    "an extraction without its question run": (f"DELETE FROM question_runs WHERE {HERE}", "I7", CELL),
    "a citation of nobody": (
        "INSERT INTO org_citations (batch_id, cell_key, position, url, canonical_url, domain, type)"
        " VALUES ('nobody', 'q|m|US|1', 1, 'u', 'u', 'd', 'primary')",
        "I7",
        "nobody",
    ),
    "question runs without their model run": ("DELETE FROM geo_runs WHERE model = 'chatgpt'", "I7", "run_id"),
}


def lines(path: Path) -> tuple[int, dict[str, str], str]:
    done = cli(path.parent, "verify", "--store", url(path))
    told = done.stdout.strip().splitlines()
    by_name = {line.split()[1]: line for line in told if line.split()[0] in ("PASS", "FAIL")}
    return done.returncode, by_name, told[-1] if told else done.stderr


def test_a_sound_store_passes(sound: Path) -> None:
    code, by_name, last = lines(sound)
    assert (code, last) == (0, "verify passed")
    assert list(by_name) == ["I1", "I2", "I4", "I6", "I7"]
    assert all(line.startswith("PASS") for line in by_name.values())
    assert all("0 rows" not in line for line in by_name.values()), "it looked at nothing"


@pytest.mark.parametrize("what", list(DAMAGE))
def test_damage_is_found_and_named(sound: Path, tmp_path: Path, what: str) -> None:
    statement, invariant, named = DAMAGE[what]
    path = tmp_path / "damaged.db"
    shutil.copy(sound, path)
    assert rows(path, f"SELECT 1 FROM question_runs WHERE {HERE}")
    damage(path, statement)
    code, by_name, last = lines(path)
    assert code == 1
    assert last == "verify FAILED"
    assert by_name[invariant].startswith("FAIL"), by_name
    assert named in by_name[invariant]


def test_a_cell_twice_cannot_be_stored_and_is_found_where_the_constraint_is_gone(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "twice.db"
    shutil.copy(sound, path)
    names = ", ".join(row["name"] for row in rows(path, "SELECT name FROM pragma_table_info('question_runs')"))
    other_key = names.replace("cell_key", "cell_key || ' '")
    again = f"INSERT INTO question_runs ({names}) SELECT {other_key} FROM question_runs WHERE {HERE}"
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        damage(path, again)
    damage(
        path,
        "CREATE TABLE copied AS SELECT * FROM question_runs",
        "DROP TABLE question_runs",
        "ALTER TABLE copied RENAME TO question_runs",
        again,
    )
    code, by_name, _ = lines(path)
    assert code == 1
    assert by_name["I1"].startswith("FAIL")
    assert "q002" in by_name["I1"]


def test_one_batch_alone(sound: Path) -> None:
    (batch,) = rows(sound, "SELECT batch_id FROM batches")
    done = cli(sound.parent, "verify", batch["batch_id"], "--store", url(sound))
    assert done.returncode == 0, done.stdout
    unknown = cli(sound.parent, "verify", "no-such-batch", "--store", url(sound))
    assert unknown.returncode != 0
    assert "no-such-batch" in unknown.stdout + unknown.stderr


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, but it is long enough to look like one" * 20)
    done = cli(tmp_path, "verify", "--store", url(tmp_path / "text.db"))
    assert done.returncode == 1
    assert "text.db" in done.stderr
    assert "Traceback" not in done.stderr

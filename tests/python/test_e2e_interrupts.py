"""Ctrl-C once, twice, and SIGKILL, in the middle of paid work: nothing is lost and no record is bought twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from e2e_help import (
    Started,
    asked,
    assert_every_cell_once,
    assert_paid_as_charged,
    cli,
    command,
    environment,
    ids_noted,
    last_json,
    quillmark,
    requests,
    rows,
    started,
    wait_until,
)
from overheard.simulator import Simulator

STORE = ("--store", "sqlite:///s.db")


@pytest.fixture
def slow() -> Iterator[Simulator]:
    """Snapshots that take two seconds, so that a signal meets them in flight."""
    with Simulator(seed=21, snapshot_ms=2_000, perfect=True) as running:
        yield running


def start(folder: Path, simulator: Simulator, *models: str, count: int = 30) -> tuple[list[str], dict[str, str]]:
    org = quillmark(count, models or ("chatgpt",), ("US", "DE"))
    (folder / "orgs.json").write_text(json.dumps([org.to_dict()]))
    arguments = command("run", "quill", "--orgs-file", "orgs.json", *STORE, "--extraction", "local")
    return arguments, environment(simulator, folder)


def in_flight(simulator: Simulator, triggers: int) -> Callable[[], bool]:
    return lambda: requests(simulator).get("brightdata.trigger", 0) >= triggers


def batch_of(folder: Path) -> str:
    (row,) = rows(folder / "s.db", "SELECT batch_id FROM batches")
    return str(row["batch_id"])


def resumed(folder: Path, simulator: Simulator, *models: str, count: int = 30) -> None:
    """Resumes to the end and holds the store against the ledger."""
    done = cli(folder, "resume", batch_of(folder), *STORE, "--json", simulator=simulator)
    assert done.returncode == 0, done.stdout + done.stderr
    assert last_json(done.stdout)["status"] == "complete"
    org = quillmark(count, models or ("chatgpt",), ("US", "DE"))
    assert_every_cell_once(folder / "s.db", org)
    scraped = {key: times for key, times in asked(simulator).items() if key[0] == "chatgpt"}
    assert set(scraped.values()) == {2}, "a record was bought twice"  # two locations
    assert simulator.ledger()["records"] == 2 * count
    verified = cli(folder, "verify", *STORE)
    assert verified.returncode == 0, verified.stdout


def resume_line(process: Started, folder: Path) -> None:
    found = re.search(r"overheard resume (\S+)", process.output)
    assert found is not None, process.output
    assert found[1] == batch_of(folder)
    assert "Traceback" not in process.output


def test_ctrl_c_once_lets_paid_work_land_and_says_how_to_resume(tmp_path: Path) -> None:
    """Snapshots and direct calls are in flight, and more direct calls wait for a place."""
    models = ("chatgpt", "gpt-4.1")
    with Simulator(seed=21, snapshot_ms=2_000, latency_ms=2_000, perfect=True) as simulator:
        arguments, variables = start(tmp_path, simulator, *models, count=50)
        with started(arguments, tmp_path, variables) as process:
            wait_until(in_flight(simulator, 6), "all snapshots are in flight")
            wait_until(lambda: requests(simulator).get("openai.responses", 0) >= 64, "all places are taken")
            process.interrupt()
            code = process.end(25)
        assert code == 130, process.output
        resume_line(process, tmp_path)
        # What was in flight was paid, and is stored; what waited was not begun.
        stored = rows(tmp_path / "s.db", "SELECT model FROM question_runs")
        assert sum(row["model"] == "chatgpt" for row in stored) == 100
        assert sum(row["model"] == "gpt-4.1" for row in stored) == requests(simulator)["openai.responses"] < 100
        assert_paid_as_charged(tmp_path / "s.db", simulator)
        resumed(tmp_path, simulator, *models, count=50)
        assert set(asked(simulator).values()) == {2}, "asked or paid twice"
        assert_paid_as_charged(tmp_path / "s.db", simulator)


def test_ctrl_c_when_all_that_is_left_is_in_flight_completes(tmp_path: Path, slow: Simulator) -> None:
    arguments, variables = start(tmp_path, slow)
    with started(arguments, tmp_path, variables) as process:
        wait_until(in_flight(slow, 4), "all snapshots are in flight")
        process.interrupt()
        assert process.end(25) in (0, 130), process.output
    assert_every_cell_once(tmp_path / "s.db", quillmark(30, ("chatgpt",), ("US", "DE")))
    assert_paid_as_charged(tmp_path / "s.db", slow)


def test_ctrl_c_twice_stops_at_once_and_nothing_is_bought_twice(tmp_path: Path, slow: Simulator) -> None:
    arguments, variables = start(tmp_path, slow)
    with started(arguments, tmp_path, variables) as process:
        wait_until(in_flight(slow, 4), "all snapshots are in flight")
        process.interrupt()
        wait_until(lambda: "Stopping" in process.output, "the first signal is answered")
        process.interrupt()
        code = process.end(10)
    assert code == 130, process.output
    assert "Traceback" not in process.output
    assert "resume" in process.output
    # It stopped before the snapshots were fetched.
    assert rows(tmp_path / "s.db", "SELECT * FROM question_runs") == []
    resumed(tmp_path, slow)
    assert_paid_as_charged(tmp_path / "s.db", slow)


def snapshots_taken(simulator: Simulator) -> Callable[[], bool]:
    return lambda: requests(simulator).get("brightdata.snapshot", 0) >= 1


def rows_stored(folder: Path) -> Callable[[], bool]:
    tables = "SELECT 1 FROM sqlite_master WHERE name = 'question_runs'"
    return lambda: (
        (folder / "s.db").exists()
        and bool(rows(folder / "s.db", tables))
        and bool(rows(folder / "s.db", "SELECT 1 FROM question_runs LIMIT 1"))
    )


@pytest.mark.parametrize("point", ["triggered", "ready", "downloading", "storing"])
def test_sigkill_and_resume_pays_nothing_twice(tmp_path: Path, point: str) -> None:
    wait_ms = 2_000 if point in ("triggered", "ready") else 200
    with Simulator(seed=22, snapshot_ms=wait_ms, perfect=True) as simulator:
        arguments, variables = start(tmp_path, simulator)
        with started(arguments, tmp_path, variables) as process:
            reached: dict[str, Callable[[], bool]] = {
                "triggered": in_flight(simulator, 4),
                "ready": lambda: simulator.ledger(charges=False)["records"] >= 20,
                "downloading": snapshots_taken(simulator),
                "storing": rows_stored(tmp_path),
            }
            wait_until(in_flight(simulator, 4), "the work has begun")
            # The triggers are answered; their ids must be on the disk before anything else happens.
            wait_until(lambda: simulator.ledger()["replies"]["brightdata.trigger"].get("200", 0) >= 4, "answered")
            wait_until(reached[point], point)
            wait_until(lambda: ids_noted(tmp_path) >= 4, "the ids are in the journal")
            process.kill()
            assert process.end() == -9
        resumed(tmp_path, simulator)
        assert_paid_as_charged(tmp_path / "s.db", simulator)


def test_sigkill_during_direct_calls_loses_at_most_what_was_in_flight(tmp_path: Path) -> None:
    """A lost direct reply cannot be reconciled: at most the calls in flight are asked once more."""
    with Simulator(seed=23, latency_ms=300, perfect=True) as simulator:
        arguments, variables = start(tmp_path, simulator, "gpt-4.1", count=60)
        with started(arguments, tmp_path, variables) as process:
            wait_until(rows_stored(tmp_path), "some answers are stored")
            process.kill()
            process.end()
        stored = {row["cell_key"] for row in rows(tmp_path / "s.db", "SELECT cell_key FROM question_runs")}
        before = sum(asked(simulator).values())
        done = cli(tmp_path, "resume", batch_of(tmp_path), *STORE, "--json", simulator=simulator)
        assert done.returncode == 0, done.stderr
        assert_every_cell_once(tmp_path / "s.db", quillmark(60, ("gpt-4.1",), ("US", "DE")))
        again = sum(asked(simulator).values()) - 120
        # 64 in flight, and at most as many again whose journal write was under way when the process died.
        assert again <= 128, "more was asked again than can have been in flight"
        assert sum(asked(simulator).values()) - before <= 120 - len(stored)


def test_a_second_process_on_the_same_batch_is_told_that_it_is_locked(tmp_path: Path, slow: Simulator) -> None:
    slow.inject({"endpoint": "brightdata.progress"}, "snapshot_forever_running", None)  # until both were told
    arguments, variables = start(tmp_path, slow)
    with started(arguments, tmp_path, variables) as process:
        wait_until(in_flight(slow, 4), "the first is at work")
        second = cli(tmp_path, "resume", batch_of(tmp_path), *STORE, simulator=slow)
        assert second.returncode == 1
        assert f"is locked: process {process.process.pid} on " in second.stderr
        status = cli(tmp_path, "status", batch_of(tmp_path), *STORE, "--json")
        assert last_json(status.stdout)["status"] == "running"
        slow.clear_faults()
        assert process.end(30) == 0, process.output
    assert slow.ledger()["records"] == 60
    assert_paid_as_charged(tmp_path / "s.db", slow)

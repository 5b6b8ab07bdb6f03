"""Two processes and one batch: other models side by side, the same model never; and what a halted process may do."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_help import (
    FAST,
    Started,
    assert_every_cell_once,
    assert_paid_as_charged,
    cli,
    dump,
    environment,
    eventually,
    ids_noted,
    last_json,
    pipeline,
    quillmark,
    requests,
    rows,
    started,
    url,
)
from overheard import BatchLocked
from overheard.simulator import Simulator

MODELS = ("chatgpt", "gpt-4.1")

CHILD = """
import asyncio, json, os, pathlib, signal, sys
from overheard import OverheardError, Pipeline
from overheard.stores import open_store

async def halt(store):
    # No transaction of the store is open while this has its one connection: a halted process holds no lock.
    while not pathlib.Path("halt").exists():
        await asyncio.sleep(0.01)
    async with store.database.reading():
        os.kill(os.getpid(), signal.SIGSTOP)

async def main(run_id, lease_ms):
    async with open_store("sqlite:///s.db") as store:
        halting = asyncio.ensure_future(halt(store))
        pipeline = Pipeline(store, first_poll_ms=20, min_poll_ms=10, lease_ms=int(lease_ms))
        try:
            print("ended", (await pipeline.run_model(run_id)).status, flush=True)
        except OverheardError as error:
            print(type(error).__name__, error, flush=True)
        halting.cancel()

asyncio.run(main(*sys.argv[1:]))
"""
"""Runs one model run of the batch in `s.db`; halts itself when a file `halt` appears."""


@pytest.fixture
def slow() -> Iterator[Simulator]:
    """Snapshots that are not ready before the test says `clear_faults`, so that they are met in flight."""
    with Simulator(seed=31, snapshot_ms=50, perfect=True) as running:
        running.inject({"endpoint": "brightdata.progress"}, "snapshot_forever_running", None)
        yield running


async def created(folder: Path, simulator: Simulator, count: int = 30) -> tuple[str, dict[str, str]]:
    """A batch of two models, not begun: its id, and model to model run."""
    batch_id = await pipeline(simulator, url(folder / "s.db")).create_batch(
        quillmark(count, MODELS, ("US", "DE")), extraction="local"
    )
    runs = {row["model"]: row["run_id"] for row in rows(folder / "s.db", "SELECT model, run_id FROM geo_runs")}
    return batch_id, runs


def child(run_id: str, folder: Path, simulator: Simulator, lease_ms: int = 60_000) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-c", CHILD, run_id, str(lease_ms)], environment(simulator, folder)


def triggered(simulator: Simulator, count: int) -> bool:
    return requests(simulator).get("brightdata.trigger", 0) >= count


def is_halted(process: Started) -> bool:
    stat = Path(f"/proc/{process.process.pid}/stat").read_text("utf-8", "replace")
    return stat.rpartition(")")[2].split()[0] == "T"


async def test_two_processes_work_on_two_models_of_one_batch(tmp_path: Path, slow: Simulator) -> None:
    _, runs = await created(tmp_path, slow)
    arguments, variables = child(runs["chatgpt"], tmp_path, slow)
    with started(arguments, tmp_path, variables) as process:
        await eventually(lambda: triggered(slow, 4), "the other process is at work")
        summary = await pipeline(slow, url(tmp_path / "s.db")).run_model(runs["gpt-4.1"])
        assert summary.processed == 60
        slow.clear_faults()
        assert await asyncio.to_thread(process.end) == 0
        assert "ended complete" in process.output
    assert_every_cell_once(tmp_path / "s.db", quillmark(30, MODELS, ("US", "DE")))
    assert_paid_as_charged(tmp_path / "s.db", slow)


async def test_f76_the_same_task_in_a_second_process_is_told_who_has_it_and_asks_nothing(
    tmp_path: Path, slow: Simulator
) -> None:
    batch_id, runs = await created(tmp_path, slow)
    arguments, variables = child(runs["chatgpt"], tmp_path, slow)
    second = pipeline(slow, url(tmp_path / "s.db"))
    with started(arguments, tmp_path, variables) as process:
        await eventually(lambda: triggered(slow, 4), "the first process is at work")
        who = f"process {process.process.pid} on {socket.gethostname()} (at work since "
        with pytest.raises(BatchLocked) as refused:
            await second.run_model(runs["chatgpt"])
        assert f"batch {batch_id} is locked: {who}" in str(refused.value)
        with pytest.raises(BatchLocked):
            await second.resume(batch_id)  # all or none: the model that nobody has is not begun either
        with pytest.raises(BatchLocked):
            await second.extract(batch_id)
        assert requests(slow).get("openai.responses", 0) == 0
        assert requests(slow)["brightdata.trigger"] == 4
        slow.clear_faults()
        assert await asyncio.to_thread(process.end) == 0
    before = requests(slow)
    late = await second.run_model(runs["chatgpt"])
    assert (late.processed, requests(slow)) == (60, before)
    await second.resume(batch_id)
    assert_every_cell_once(tmp_path / "s.db", quillmark(30, MODELS, ("US", "DE")))
    assert_paid_as_charged(tmp_path / "s.db", slow)


async def test_f75_a_halted_process_is_taken_over_when_its_lease_has_ended_and_changes_nothing_any_more(
    tmp_path: Path, slow: Simulator
) -> None:
    batch_id, runs = await created(tmp_path, slow)
    arguments, variables = child(runs["chatgpt"], tmp_path, slow, lease_ms=3_000)
    second = pipeline(slow, url(tmp_path / "s.db"))
    with started(arguments, tmp_path, variables) as process:
        await eventually(lambda: triggered(slow, 4) and ids_noted(tmp_path) >= 4, "four snapshots are in flight")
        (tmp_path / "halt").touch()
        await eventually(lambda: is_halted(process), "the process is halted")
        with pytest.raises(BatchLocked, match=f"process {process.process.pid} on "):
            await second.run_model(runs["chatgpt"])
        fence = "SELECT lease_fence FROM geo_runs WHERE model = 'chatgpt'"
        assert rows(tmp_path / "s.db", fence) == [{"lease_fence": 1}]
        slow.clear_faults()
        done = None
        while done is None:
            try:
                done = await second.run_model(runs["chatgpt"])
            except BatchLocked:
                await asyncio.sleep(0.05)
        assert (done.processed, done.failed, done.maybe_charged_micro_usd) == (60, 0, 0)
        assert rows(tmp_path / "s.db", fence) == [{"lease_fence": 2}]
        before = dump(tmp_path / "s.db")
        process.process.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(process.end) == 0
        assert "LeaseLost" in process.output, process.output
        assert "taken over by" in process.output
    assert dump(tmp_path / "s.db") == before, "the loser changed something"
    assert requests(slow)["brightdata.trigger"] == 4
    assert slow.ledger()["records"] == 60
    await second.resume(batch_id)
    assert_every_cell_once(tmp_path / "s.db", quillmark(30, MODELS, ("US", "DE")))
    assert_paid_as_charged(tmp_path / "s.db", slow)


async def test_a_halted_process_that_nobody_took_over_goes_on(tmp_path: Path, slow: Simulator) -> None:
    _, runs = await created(tmp_path, slow)
    arguments, variables = child(runs["chatgpt"], tmp_path, slow, lease_ms=1_000)
    with started(arguments, tmp_path, variables) as process:
        await eventually(lambda: triggered(slow, 4), "the process is at work")
        (tmp_path / "halt").touch()
        await eventually(lambda: is_halted(process), "the process is halted")
        ends = "SELECT max(lease_expires_at_ms) < strftime('%s', 'now') * 1000 AS ended FROM geo_runs"
        await eventually(lambda: rows(tmp_path / "s.db", ends)[0]["ended"], "its lease has ended")
        slow.clear_faults()
        process.process.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(process.end) == 0
        assert "ended complete" in process.output or "ended partial" in process.output, process.output
    assert slow.ledger()["records"] == 60
    done = rows(tmp_path / "s.db", "SELECT status FROM geo_runs WHERE model = 'chatgpt'")
    assert done == [{"status": "completed"}]


async def test_a_killed_process_is_not_running_and_is_taken_over_at_once(tmp_path: Path, slow: Simulator) -> None:
    batch_id, runs = await created(tmp_path, slow)
    arguments, variables = child(runs["chatgpt"], tmp_path, slow)
    with started(arguments, tmp_path, variables) as process:
        await eventually(lambda: triggered(slow, 4) and ids_noted(tmp_path) >= 4, "four snapshots are in flight")
        second = pipeline(slow, url(tmp_path / "s.db"))
        assert (await second.status(batch_id)).running == 1
        process.kill()
        process.end()
    slow.clear_faults()
    assert (await second.status(batch_id)).running == 0
    status = cli(tmp_path, "status", batch_id, "--store", "sqlite:///s.db", "--json")
    assert (last_json(status.stdout)["running"], last_json(status.stdout)["status"]) == (0, "partial")
    summary = await second.resume(batch_id)
    assert (summary.status, slow.ledger()["records"]) == ("complete", 60)
    assert_paid_as_charged(tmp_path / "s.db", slow)


async def test_a_start_of_a_complete_batch_leaves_the_database_byte_identical(tmp_path: Path) -> None:
    path = tmp_path / "s.db"

    def fingerprint() -> str:
        assert not path.with_name("s.db-wal").exists(), "the last connection has written everything into the file"
        return hashlib.sha256(path.read_bytes()).hexdigest()

    with Simulator(seed=32, snapshot_ms=20, perfect=True) as simulator:
        work = pipeline(simulator, url(path), **FAST)
        org = quillmark(6, MODELS, ("US", "DE"))
        first = await work.run(org, batch_key="monday", extraction="llm")
        assert first.status == "complete"
        (run_id,) = (row["run_id"] for row in rows(path, "SELECT run_id FROM geo_runs WHERE model = 'chatgpt'"))
        before, rows_before, asked_before = fingerprint(), dump(path), requests(simulator)
        starts = (
            lambda: work.run(org, batch_key="monday"),
            lambda: work.resume(first.batch_id),
            lambda: work.resume(first.batch_id, unfinished_only=True),
            lambda: work.extract(first.batch_id),
            lambda: work.run_model(run_id),
        )
        for number, start in enumerate(starts):
            again = await start()
            assert (again.requests_made, requests(simulator)) == (0, asked_before)
            assert (number, fingerprint() == before, dump(path) == rows_before) == (number, True, True)
        status = await work.status(first.batch_id)
        assert (status.complete, fingerprint()) == (True, before)

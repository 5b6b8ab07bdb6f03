"""F67-F71: a process killed, interrupted, out of memory or suspended at a chosen moment, and the start after it.

The moment is chosen from outside: the simulator holds a reply (K05, K06, K13), journal or store show how far it is.
Each case ends with every cell once and the store equal to the ledger.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e_help import (
    Started,
    asked,
    assert_every_cell_once,
    assert_paid_as_charged,
    cli,
    environment,
    ids_noted,
    journal_text,
    last_json,
    quillmark,
    requests,
    rows,
    wait_until,
)
from overheard.simulator import Simulator

STORE = ("--store", "sqlite:///s.db")
COUNT = 24
SCRAPED = "chatgpt"
DIRECT = "gpt-4.1"

QUICK = """
from overheard.cli import app, main, starts
from overheard.pipeline import Pipeline
class Quick(Pipeline):
    def __init__(self, *args, **settings):
        quick = dict(first_poll_ms=20, min_poll_ms=10, retry_base_ms=5, retry_throttle_base_ms=10, unknown_grace_ms=500)
        super().__init__(*args, **{**quick, **settings})
starts.Pipeline = app.Pipeline = Quick
{patch}
main()
"""

# K16 and K22: a store that has committed and whose acknowledgement never arrives.
COMMITTED = """
import asyncio
from overheard.stores import SqlStore
real = SqlStore.{method}
async def committed(self, rows):
    await real(self, rows)
    open("committed", "w").close()
    await asyncio.Event().wait()
SqlStore.{method} = committed
"""


def command(*arguments: str, patch: str = "") -> list[str]:
    return [sys.executable, "-c", QUICK.replace("{patch}", patch), *arguments]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=67, snapshot_ms=300, perfect=True) as running:
        yield running


def start(folder: Path, simulator: Simulator, *models: str, patch: str = "", extraction: str = "local") -> Started:
    org = quillmark(COUNT, models or (SCRAPED,))
    (folder / "orgs.json").write_text(json.dumps([org.to_dict()]))
    arguments = ("run", "quill", "--orgs-file", "orgs.json", *STORE, "--extraction", extraction)
    return Started(command(*arguments, patch=patch), folder, environment(simulator, folder))


def resume(folder: Path, simulator: Simulator) -> dict[str, Any]:
    """Goes on with the batch to its end; gives the summary."""
    (row,) = rows(folder / "s.db", "SELECT batch_id FROM batches")
    done = subprocess.run(
        command("resume", row["batch_id"], *STORE, "--json"),
        cwd=folder,
        env=environment(simulator, folder),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return last_json(done.stdout)


def resumed(folder: Path, simulator: Simulator, *models: str) -> None:
    """The next start completes the batch; every cell once, nothing bought twice, store equal to ledger."""
    chosen = models or (SCRAPED,)
    assert resume(folder, simulator)["status"] == "complete"
    assert_every_cell_once(folder / "s.db", quillmark(COUNT, chosen))
    bought = {key: times for key, times in asked(simulator).items() if key[0] == SCRAPED}
    assert set(bought.values()) <= {1}, f"a record was bought twice: {bought}"
    if DIRECT not in chosen:
        assert_paid_as_charged(folder / "s.db", simulator)
    verified = cli(folder, "verify", *STORE)
    assert verified.returncode == 0, verified.stdout


@dataclass
class Point:
    """A moment: a fault that holds the process there, and how to see that it is there."""

    there: Callable[[Path, Simulator], bool]
    fault: tuple[str, str] | None = None
    snapshot_ms: int = 300
    patch: str = ""


def triggers(folder: Path, simulator: Simulator, count: int = 2) -> bool:
    return requests(simulator).get("brightdata.trigger", 0) >= count


def both_noted(folder: Path, _simulator: Simulator) -> bool:
    return ids_noted(folder) >= 2


def stored(folder: Path, _simulator: Simulator) -> bool:
    try:
        return bool(rows(folder / "s.db", "SELECT 1 FROM question_runs LIMIT 1"))
    except sqlite3.OperationalError:
        return False


POINTS = {
    # The simulator reads the trigger and never answers: not accepted.
    "K03 intent is durable, nothing accepted": Point(
        lambda folder, simulator: triggers(folder, simulator) and '"kind":"intent"' in journal_text(folder),
        ("brightdata.trigger", "hang_uncharged"),
    ),
    "K05 the trigger is accepted, its reply is held": Point(triggers, ("brightdata.trigger", "hang_headers")),
    "K06 half of the trigger's reply has come": Point(triggers, ("brightdata.trigger", "stall_body")),
    "K09 the snapshot ids are durable": Point(both_noted, None, 3_000),
    "K10 between polls": Point(
        lambda folder, simulator: (
            both_noted(folder, simulator) and requests(simulator).get("brightdata.progress", 0) >= 3
        ),
        None,
        3_000,
    ),
    "K12 a download has begun and gives nothing": Point(
        lambda folder, simulator: requests(simulator).get("brightdata.snapshot", 0) >= 1,
        ("brightdata.snapshot", "hang_headers"),
    ),
    "K13 half of a download has come": Point(
        lambda folder, simulator: requests(simulator).get("brightdata.snapshot", 0) >= 1,
        ("brightdata.snapshot", "stall_body"),
    ),
    "K14 downloaded, no row stored": Point(
        lambda folder, simulator: (folder / "entered").exists(),
        patch="import asyncio\nfrom overheard.stores import SqlStore\n"
        "async def never(self, rows):\n    open('entered', 'w').close()\n    await asyncio.Event().wait()\n"
        "SqlStore.save_question_runs = never\n",
    ),
    "K16 the rows are committed, not acknowledged": Point(
        lambda folder, simulator: (folder / "committed").exists(), patch=COMMITTED.format(method="save_question_runs")
    ),
    "K18 stored, before any extraction": Point(
        lambda folder, simulator: stored(folder, simulator) and (folder / "entered").exists(),
        patch="import asyncio\nfrom overheard.stores import SqlStore\n"
        "async def never(self, rows):\n    open('entered', 'w').close()\n    await asyncio.Event().wait()\n"
        "SqlStore.save_extractions = never\n",
    ),
    "K22 the extractions are committed, not acknowledged": Point(
        lambda folder, simulator: (folder / "committed").exists(), patch=COMMITTED.format(method="save_extractions")
    ),
}


@pytest.mark.parametrize("name", POINTS)
def test_f67_sigkill_at_a_named_point(tmp_path: Path, name: str) -> None:
    point = POINTS[name]
    with Simulator(seed=67, snapshot_ms=point.snapshot_ms, perfect=True) as simulator:
        if point.fault is not None:
            endpoint, fault = point.fault
            simulator.inject({"endpoint": endpoint}, fault, None)
        process = start(tmp_path, simulator, patch=point.patch)
        try:
            wait_until(lambda: point.there(tmp_path, simulator), name, 60)
        finally:
            process.kill()
            code = process.end()
        assert code == -signal.SIGKILL, process.output
        simulator.clear_faults()
        resumed(tmp_path, simulator)


def test_f67_sigkill_during_the_extraction_calls_books_each_lost_reply_once(tmp_path: Path) -> None:
    """K19: an extraction model has answered (and charged), and nothing of it is durable."""
    with Simulator(seed=67, snapshot_ms=50, perfect=True) as simulator:
        for _ in range(6):  # each rule lets one request pass first: the name variations
            simulator.inject({"endpoint": "openai.responses", "nth": 2}, "hang_headers")
        process = start(tmp_path, simulator, extraction="llm")
        try:
            wait_until(lambda: requests(simulator).get("openai.responses", 0) >= 7, "extraction is under way", 60)
            wait_until(lambda: stored(tmp_path, simulator), "answers are stored")
        finally:
            process.kill()
            process.end()
        summary = resume(tmp_path, simulator)
        assert_every_cell_once(tmp_path / "s.db", quillmark(COUNT, (SCRAPED,)))
        ledger = simulator.ledger()
        # What was charged and has no durable reply is said apart, and covers the difference.
        difference = ledger["charged_micro_usd"] - summary["total_cost_micro_usd"]
        assert difference >= 0
        assert (summary["maybe_charged_micro_usd"] > 0) == (difference > 0), (difference, summary)
        assert ledger["records"] == COUNT


# --- F68: signals ---


def interrupted(folder: Path, simulator: Simulator, process: Started, numbers: list[int], grace: float) -> int:
    for number in numbers:
        before = process.output.count("top")
        process.process.send_signal(number)
        if len(numbers) > 1:
            wait_until(
                lambda seen=before: process.output.count("top") > seen or process.process.poll() is not None, "heard"
            )
    return process.end(grace)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_f68_one_signal_lets_paid_work_land(tmp_path: Path, number: int) -> None:
    with Simulator(seed=68, snapshot_ms=1_500, perfect=True) as simulator:
        process = start(tmp_path, simulator)
        wait_until(lambda: both_noted(tmp_path, simulator), "snapshots are in flight", 60)
        code = interrupted(tmp_path, simulator, process, [number], 12)
        assert code in (0, 130), process.output
        assert_every_cell_once(tmp_path / "s.db", quillmark(COUNT, (SCRAPED,)))
        assert_paid_as_charged(tmp_path / "s.db", simulator)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_f68_a_second_signal_stops_at_once_and_the_journal_stands(tmp_path: Path, second: int) -> None:
    with Simulator(seed=68, snapshot_ms=4_000, perfect=True) as simulator:
        process = start(tmp_path, simulator)
        wait_until(lambda: both_noted(tmp_path, simulator), "snapshots are in flight", 60)
        code = interrupted(tmp_path, simulator, process, [signal.SIGINT, second], 10)
        assert code == 130, process.output
        assert "Traceback" not in process.output
        assert rows(tmp_path / "s.db", "SELECT 1 FROM question_runs") == [], "it waited for the snapshots"
        resumed(tmp_path, simulator)


def interrupt_at_random(process: Started, chance: random.Random) -> None:
    """Once or twice, at a moment from the first line of its log on."""
    wait_until(lambda: "batch " in process.output.lower() or process.process.poll() is not None, "it has begun", 60)
    threading_wait(chance.uniform(0.0, 0.8))
    process.interrupt()
    if chance.random() < 0.5:
        threading_wait(chance.uniform(0.0, 0.1))
        process.interrupt()


@pytest.mark.timeout(600)
def test_f68_ctrl_c_at_twenty_random_times(tmp_path: Path) -> None:
    """Each batch is interrupted four times: a start ends 130, or 0 when it was quicker; nothing is bought twice."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    with Simulator(seed=68, snapshot_ms=400, latency_ms=60, perfect=True) as simulator:
        for number in range(20):
            folder = tmp_path / str(number // 4)
            folder.mkdir(exist_ok=True)
            process = start(folder, simulator, SCRAPED, DIRECT)
            interrupt_at_random(process, chance)
            code = process.end(12)
            assert code in (0, 130), f"seed {seed}, start {number}: {code}\n{process.output}"
            assert "Traceback" not in process.output, f"seed {seed}, start {number}: {process.output}"
        for folder in sorted(tmp_path.iterdir()):
            assert resume(folder, simulator)["status"] == "complete", f"seed {seed}"
            assert_every_cell_once(folder / "s.db", quillmark(COUNT, (SCRAPED, DIRECT)))
        bought = {count for (model, _), count in asked(simulator).items() if model == SCRAPED}
        assert bought == {5}, f"seed {seed}: five batches, and a record was bought twice"


def threading_wait(seconds: float) -> None:
    """The random moment itself: not a synchronisation."""
    threading.Event().wait(seconds)


# --- F69, F71 ---


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux only")
def test_f69_out_of_memory_in_the_middle(tmp_path: Path) -> None:
    with Simulator(seed=69, snapshot_ms=1_000, answer_chars=60_000, perfect=True) as simulator:
        process = start(tmp_path, simulator)
        wait_until(lambda: both_noted(tmp_path, simulator), "snapshots are in flight", 60)
        pages = int(Path(f"/proc/{process.process.pid}/statm").read_text().split()[0])
        now = pages * os.sysconf("SC_PAGE_SIZE")
        # Nothing more may be mapped: the rows cannot be taken in.
        resource.prlimit(process.process.pid, resource.RLIMIT_AS, (now, now))
        code = process.end(60)
        if code != 0:  # some allocators had room enough left: then there is nothing to resume
            resumed(tmp_path, simulator)
        assert_every_cell_once(tmp_path / "s.db", quillmark(COUNT, (SCRAPED,)))
        assert_paid_as_charged(tmp_path / "s.db", simulator)


def test_f71_a_suspended_process_goes_on_without_a_storm(tmp_path: Path) -> None:
    """Stopped for many polls and longer than a direct call may take; its timers fire once when it wakes."""
    with Simulator(seed=71, snapshot_ms=2_500, perfect=True) as simulator:
        process = start(tmp_path, simulator)
        wait_until(lambda: both_noted(tmp_path, simulator), "snapshots are in flight", 60)
        process.process.send_signal(signal.SIGSTOP)
        before = requests(simulator)
        threading_wait(3.5)
        asleep = requests(simulator)
        process.process.send_signal(signal.SIGCONT)
        assert process.end(30) == 0, process.output
        after = requests(simulator)
        assert sum(asleep.values()) - sum(before.values()) <= 4, "what was on its way when it was stopped"
        assert after["brightdata.trigger"] == 2
        # Both snapshots were ready meanwhile: a look each, a download each; 350 polls were missed and are not made up.
        assert sum(after.values()) - sum(asleep.values()) <= 10, (asleep, after)
        assert_every_cell_once(tmp_path / "s.db", quillmark(COUNT, (SCRAPED,)))
        assert_paid_as_charged(tmp_path / "s.db", simulator)

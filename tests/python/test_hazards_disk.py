"""F59, F60, F62, F78: a locked database, a full disk, a cut or damaged journal, a plan that changed."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_help import (
    MyStore,
    asked,
    assert_every_cell_once,
    assert_paid_as_charged,
    cli,
    command,
    environment,
    eventually,
    ids_noted,
    pipeline,
    quillmark,
    requests,
    rows,
    started,
    url,
    wait_until,
)
from hazards_help import assert_whole
from overheard import OverheardError
from overheard.simulator import Simulator

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
print("free", flush=True)
"""


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=59, snapshot_ms=30, perfect=True) as running:
        yield running


# --- F59 ---


async def test_f59_a_writer_that_holds_the_database_longer_than_its_patience_costs_nothing(
    simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own patience (10 s, here 50 ms) runs out; what is handed over is tried again until it is free."""
    from overheard.stores import database

    monkeypatch.setattr(database, "_PATIENCE_MS", 50)
    path, org = tmp_path / "s.db", quillmark(4, ("chatgpt", "gpt-4.1"))
    async with pipeline(simulator, url(path)) as opened:
        batch_id = await opened.create_batch(org, extraction="local")
        holder = subprocess.Popen(  # noqa: ASYNC220 - it says at once that it holds
            [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with holder:
            assert holder.stdin is not None
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with caplog.at_level(logging.WARNING, logger="overheard"):
                running = asyncio.ensure_future(opened.resume(batch_id))
                await eventually(lambda: "database is locked" in caplog.text, "the lock is met", 60)
                holder.stdin.write("\n")
                holder.stdin.flush()
                summary = await running
    assert summary.complete
    assert_every_cell_once(path, org)
    assert_paid_as_charged(path, simulator, summary)


def test_f59_the_patience_is_ten_seconds(tmp_path: Path) -> None:
    from overheard.stores import open_store

    async def patience() -> int:
        store = open_store(url(tmp_path / "s.db"))
        async with store.database.reading() as connection:
            value = (await connection.exec_driver_sql("PRAGMA busy_timeout")).scalar_one()
        await store.aclose()
        return int(value)

    assert asyncio.run(patience()) == 10_000


# --- F60 ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    if mounted:
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=False)
        mounted = made.returncode == 0
    if not mounted:
        pytest.skip("no small disk can be made without root; the RLIMIT_FSIZE form below does not need it")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """A file that leaves about so many bytes free."""
    ballast = folder / "ballast"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with ballast.open("wb") as file:
        file.write(b"x" * max(0, free - leave))
    return ballast


async def test_f60_a_full_disk_under_the_store_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    path, org = small_disk / "s.db", quillmark(30)
    with Simulator(seed=60, snapshot_ms=30, answer_chars=20_000, perfect=True) as simulator:
        async with pipeline(simulator, url(path), journal=tmp_path / "journal") as opened:
            await opened.create_batch(org, extraction="local")
            ballast = fill(small_disk, 500_000)  # enough to begin, not for the rows
            with pytest.raises(Exception, match=r"disk is full|database or disk|disk I/O"):
                await opened.run(org, extraction="local")
            assert rows(path, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]
            assert simulator.ledger()["records"] == 30, "what was in flight was not bought, or not downloaded"
            ballast.unlink()
            summary = await opened.run(org, extraction="local")
            assert summary.complete
        assert_every_cell_once(path, org)
        assert_paid_as_charged(path, simulator, summary)
        assert simulator.ledger()["records"] == 30


async def test_f60_a_full_disk_under_the_journal_stops_the_buying(tmp_path: Path, small_disk: Path) -> None:
    """Direct calls: each is noted before it is sent, so the first that cannot be noted is the last."""
    org = quillmark(120, ("gpt-4.1",))
    with Simulator(seed=60, latency_ms=5, answer_chars=30_000, perfect=True) as simulator:
        store = MyStore()
        journal = small_disk / "journal"
        journal.mkdir()
        ballast = fill(small_disk, 600_000)
        opened = pipeline(simulator, store, journal=journal, openai_in_flight=4)
        with pytest.raises(OverheardError, match="journal") as caught:
            await opened.run(org, extraction="local")
        assert "No space left" in str(caught.value)
        assert "OVERHEARD_JOURNAL" in str(caught.value)
        paid = requests(simulator)["openai.responses"]
        assert 4 < paid < 120, "the disk was never full, or full from the start"
        # What was paid is in the store although the journal could not take it.
        assert len(store.runs) == paid
        ballast.unlink()
        assert_whole(store, simulator, org, await opened.run(org, extraction="local"))


def test_f60_a_file_that_may_not_grow_is_the_same(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: no root needed. Every file of the process is capped, the journal's is the first to be full."""
    program = """
import asyncio, json, resource, signal, sys
from e2e_help import MyStore, pipeline, quillmark, requests
from overheard import OverheardError
from overheard.simulator import Simulator
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
org = quillmark(80, ("gpt-4.1",))
with Simulator(seed=60, latency_ms=5, answer_chars=30_000, perfect=True) as simulator:
    store = MyStore()
    opened = pipeline(simulator, store, journal=sys.argv[1], openai_in_flight=4)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    try:
        asyncio.run(opened.run(org, extraction="local"))
    except OverheardError as error:
        said = str(error)
    paid = requests(simulator)["openai.responses"]
    stored = len(store.runs)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    summary = asyncio.run(opened.run(org, extraction="local"))
    ledger = simulator.ledger()
    print(json.dumps([said, paid, stored, summary.status, len(store.runs), summary.total_cost_micro_usd,
                      ledger["charged_micro_usd"]]))
"""
    folder = os.path.dirname(__file__)
    end = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "journal")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": folder},
    )
    assert end.returncode == 0, end.stderr
    said, paid, stored, status, runs, cost, charged = json.loads(end.stdout)
    assert "File too large" in said
    assert 4 < paid < 80
    assert (stored, status, runs, cost) == (paid, "complete", 80, charged)


# --- F62 ---


async def left_in_flight(simulator: Simulator, tmp_path: Path) -> tuple[MyStore, Any, Path]:
    """A store and a journal as a start leaves them that was cancelled with two snapshots in flight."""
    store, org, journal = MyStore(), quillmark(24), tmp_path / "journal"
    running = asyncio.ensure_future(pipeline(simulator, store, journal=journal).run(org, extraction="local"))
    await eventually(lambda: ids_noted(tmp_path) == 2, "the ids are noted", 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    return store, org, journal


@pytest.mark.timeout(240)
async def test_f62_a_journal_cut_anywhere_near_a_record_is_resumed_and_nothing_is_bought_twice(tmp_path: Path) -> None:
    """Cut at every record's end, a byte before, and a byte after: a power cut while it was written."""
    with Simulator(seed=62, snapshot_ms=700, perfect=True) as simulator:
        store, _, journal = await left_in_flight(simulator, tmp_path)
        (path,) = journal.glob("*.journal")
        whole = path.read_bytes()
        ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
        cuts = sorted({cut for end in ends for cut in (end - 1, end, end + 1) if end >= ends[0] and cut <= len(whole)})
        identity = (journal / "journal.id").read_bytes()
        assert len(cuts) >= 12
        for cut in cuts:
            if cut < ends[0]:
                continue  # the header's own line: nothing was bought under it
            folder = tmp_path / f"cut-{cut}"
            folder.mkdir()
            (folder / path.name).write_bytes(whole[:cut])
            (folder / "journal.id").write_bytes(identity)
            kept = copy.deepcopy(store)
            opened = pipeline(simulator, kept, journal=folder, unknown_grace_ms=400)
            (batch_id,) = kept.batches
            # An id that was cut off is found again in the provider's list; an intent that was cut off, too.
            summary = await opened.resume(batch_id)
            assert summary.status == "complete", (cut, summary)
            cut_intents = whole[:cut].count(b'"kind":"intent"') < 2
            bought = simulator.ledger()["records"]
            if not cut_intents:
                assert bought == 24, f"cut at {cut}: {bought} records bought"
            assert len(kept.runs) == 24
            if bought != 24:
                break  # the intent itself was lost: fsync had not returned, so nothing could have been sent under it


@pytest.mark.broken_store("its journal is damaged on purpose")
@pytest.mark.parametrize("place", ["a bit", "a line"])
def test_f62_a_damaged_middle_is_refused_in_a_sentence_and_nothing_is_bought(tmp_path: Path, place: str) -> None:
    with Simulator(seed=62, snapshot_ms=4_000, perfect=True) as simulator:
        (tmp_path / "orgs.json").write_text(json.dumps([quillmark(24).to_dict()]))
        arguments = command(
            "run", "quill", "--orgs-file", "orgs.json", "--store", "sqlite:///s.db", "--extraction", "local"
        )
        journal = tmp_path / "s.db.journal"
        with started(arguments, tmp_path, environment(simulator, tmp_path)) as process:
            wait_until(lambda: ids_noted(tmp_path) == 2, "the ids are noted", 60)
            process.kill()
            process.end()
        (path,) = journal.glob("*.journal")
        damaged = bytearray(path.read_bytes())
        lines = bytes(damaged).split(b"\n")
        if place == "a bit":
            damaged[len(lines[0]) + 40] ^= 4
        else:
            damaged = bytearray(b"\n".join([*lines[:1], b"0000 nonsense", *lines[2:]]))
        path.write_bytes(bytes(damaged))
        before = requests(simulator)
        (row,) = rows(tmp_path / "s.db", "SELECT batch_id FROM batches")
        done = cli(tmp_path, "resume", row["batch_id"], "--store", "sqlite:///s.db", simulator=simulator)
        assert done.returncode == 1, done.stderr
        assert "is damaged at line 2 (checksum): nothing is bought before it is mended" in done.stderr.replace(
            "\n", " "
        )
        assert str(path.name) in done.stderr.replace("\n", "")
        assert "Traceback" not in done.stderr
        assert requests(simulator) == before
        assert path.read_bytes() == bytes(damaged), "it was changed"


# --- F78 ---


async def test_f78_an_org_edited_between_two_starts_does_not_mix_with_the_batch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch keeps its own plan: its texts, its models; and says so."""
    with Simulator(seed=78, snapshot_ms=700, perfect=True) as simulator:
        store, org, journal = await left_in_flight(simulator, tmp_path)
        edited = [{"id": entry.id, "text": entry.text.replace("suits", "fits")} for entry in org.question_list]
        changed = quillmark(24, ("chatgpt", "perplexity"), ("DE",), questions=edited)
        with caplog.at_level(logging.WARNING, logger="overheard"):
            summary = await pipeline(simulator, store, journal=journal).run(changed, extraction="local")
        assert set(asked(simulator).values()) == {1}, "bought twice"
    assert "The batch keeps its own org (edited since: locations, models, questions)" in caplog.text
    assert summary.complete
    assert {run.question for run in store.runs.values()} == {entry.text for entry in org.question_list}
    assert {(run.key.split("|")[1], run.key.split("|")[2]) for run in store.runs.values()} == {("chatgpt", "US")}


async def test_f78_a_changed_price_is_said_and_stored_rows_keep_theirs(
    simulator: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    org, store, journal = quillmark(6, ("gpt-4.1",)), MyStore(), tmp_path / "journal"
    cheap = {"gpt-4.1": {"input": "1.00", "output": "1.00", "search": "0.01"}}
    dear = {"gpt-4.1": {"input": "100.00", "output": "100.00", "search": "1.00"}}
    simulator.inject({"endpoint": "openai.responses", "nth": 4}, "status:401", None)
    first = await pipeline(simulator, store, journal=journal, prices=cheap, openai_in_flight=1).run(
        org, extraction="local"
    )
    assert first.status == "partial"
    before = {key: run.cost_micro_usd for key, run in store.runs.items()}
    assert 0 < len(before) < 6
    simulator.clear_faults()
    with caplog.at_level(logging.WARNING, logger="overheard"):
        summary = await pipeline(simulator, store, journal=journal, prices=dear).resume(first.batch_id)
    assert summary.complete
    assert f"prices: not what it was when batch {first.batch_id} was made" in caplog.text
    assert {key: store.runs[key].cost_micro_usd for key in before} == before
    new = [run.cost_micro_usd for key, run in store.runs.items() if key not in before]
    assert min(new) > 10 * max(before.values())
    assert summary.total_cost_micro_usd == store.cost
    caplog.clear()
    await pipeline(simulator, store, journal=journal, prices=cheap).resume(first.batch_id)
    assert "not what it was" not in caplog.text

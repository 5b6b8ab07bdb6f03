"""A batch over several models: at the same time, seen from outside, inserted by others, watched, and cancelled."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from e2e_help import (
    FOLDER,
    assert_every_cell_once,
    assert_paid_as_charged,
    cli,
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
from overheard import BatchStatus, ConfigError, Org, Pipeline, open_store
from overheard.batch import ALL_COMPLETE, STILL_RUNNING
from overheard.simulator import Simulator
from overheard.verify import verify

FIVE = ("chatgpt", "perplexity", "gemini", "gpt-4.1", "claude-sonnet-4-5")

COUNTS = (
    "SELECT batch_id, COUNT(*) AS total_runs, COUNT(*) FILTER (WHERE status = 'completed') AS completed_runs, "
    "COUNT(*) FILTER (WHERE status = 'running') AS running_runs FROM geo_runs WHERE batch_id IS NOT NULL "
    "GROUP BY batch_id ORDER BY MAX(started_at) DESC LIMIT 1;"
)
"""The data-engine's own query, verbatim."""


@pytest.fixture
def held() -> Iterator[Simulator]:
    """Snapshots that are not ready before the test says `clear_faults`; direct models answer after 0.8 s."""
    with Simulator(seed=3, snapshot_ms=20, latency_ms=800, perfect=True) as running:
        running.inject({"endpoint": "brightdata.progress"}, "snapshot_forever_running", None)
        yield running


@pytest.fixture
def stuck() -> Iterator[Simulator]:
    """The same, and direct models answer at once."""
    with Simulator(seed=3, snapshot_ms=20, perfect=True) as running:
        running.inject({"endpoint": "brightdata.progress"}, "snapshot_forever_running", None)
        yield running


# --- at the same time ---


async def test_five_models_of_the_same_time_take_the_time_of_one(tmp_path: Path) -> None:
    with Simulator(seed=5, snapshot_ms=1_500, latency_ms=1_500, perfect=True) as simulator:
        summary = await pipeline(simulator, url(tmp_path / "s.db")).run(quillmark(2, FIVE), extraction="local")
        charges = simulator.ledger()["charges"]
    assert summary.status == "complete"
    spans: dict[str, list[int]] = {model: [] for model in FIVE}
    for charge in charges:
        spans[charge["model"]] += [charge["started_ms"], charge["finished_ms"]]
    slowest = max(max(span) - min(span) for span in spans.values())
    whole = max(max(span) for span in spans.values()) - min(min(span) for span in spans.values())
    assert slowest >= 1_000, f"the simulator took no time: {spans}"
    assert whole <= 2 * slowest, f"all {whole} ms, the slowest alone {slowest} ms: {spans}"


async def test_from_outside_a_batch_is_running_then_partial_then_complete(tmp_path: Path, held: Simulator) -> None:
    store = url(tmp_path / "s.db")
    worker = pipeline(held, store)
    batch_id = await worker.create_batch(quillmark(2, FIVE), extraction="local")
    outside = Pipeline(store, env={})
    assert (await outside.status(batch_id)).status == "partial", "nobody has begun"
    told: list[BatchStatus] = []

    async def look() -> None:
        async for status in outside.watch(batch_id, every=0.02):
            told.append(status)

    # Another session's own event loop is not needed: what it knows of this one is what the store says.
    watching = asyncio.ensure_future(look())
    run = asyncio.ensure_future(worker.resume(batch_id))
    await eventually(lambda: told and told[-1].completed == 2, "the direct models are seen to be complete")
    process = await asyncio.to_thread(cli, tmp_path, "status", batch_id, "--json", "--store", store)
    said = last_json(process.stdout)
    assert (process.returncode, said["status"], said["message"]) == (3, "partial", STILL_RUNNING)
    assert (said["completed"], said["running"], said["queued"], said["finished"]) == (2, 3, 0, False)
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection:
        assert connection.execute(COUNTS).fetchone() == (batch_id, 5, 2, 3)
    held.clear_faults()
    assert (await run).status == "complete"
    await watching
    words = list(dict.fromkeys(status.status for status in told if status.running or status.completed))
    assert words == ["running", "partial", "complete"], [status.to_dict() for status in told]
    assert {status.message for status in told if status.status == "running"} == {STILL_RUNNING}
    assert (told[-1].finished, told[-1].message, told[-1].completed) == (True, ALL_COMPLETE, 5)
    assert all(not status.finished for status in told[:-1])


async def test_a_model_run_that_ended_early_keeps_its_end_and_its_row(tmp_path: Path, held: Simulator) -> None:
    store = url(tmp_path / "s.db")
    worker = pipeline(held, store, lease_ms=1_200)  # rows are renewed every 0.2 s
    run = asyncio.ensure_future(worker.run(quillmark(2, ("chatgpt", "gpt-4.1")), extraction="local"))
    query = "SELECT * FROM geo_runs WHERE model = 'gpt-4.1' AND status = 'completed'"
    await eventually(lambda: (tmp_path / "s.db").exists() and _rows(tmp_path / "s.db", query), "it ended early")
    (early,) = rows(tmp_path / "s.db", query)
    assert (early["answered"], early["progress_pct"], early["lease_owner"] is None) == (2, 100.0, False)
    expires = early["lease_expires_at_ms"]
    renewed = "SELECT * FROM geo_runs WHERE lease_expires_at_ms > ? AND model = 'gpt-4.1'"
    await eventually(lambda: rows(tmp_path / "s.db", renewed, expires), "its lease is renewed meanwhile")
    held.clear_faults()
    await run
    (late,) = rows(tmp_path / "s.db", query)
    assert (late["finished_at"], late["lease_owner"]) == (early["finished_at"], None)


KILLED = """
import asyncio, sys
from overheard import Pipeline
asyncio.run(Pipeline("sqlite:///s.db", first_poll_ms=20, min_poll_ms=10).resume(sys.argv[1]))
"""


async def test_a_start_that_is_killed_after_one_model_has_ended_leaves_a_true_status(
    tmp_path: Path, stuck: Simulator
) -> None:
    path, models = tmp_path / "s.db", ("chatgpt", "gpt-4.1")
    outside = pipeline(stuck, url(path))
    batch_id = await outside.create_batch(quillmark(2, models), extraction="local")
    with started([sys.executable, "-c", KILLED, batch_id], tmp_path, environment(stuck, tmp_path)) as process:
        query = "SELECT * FROM geo_runs WHERE status = 'completed'"
        await eventually(lambda: rows(path, query), "the direct model has ended")
        await eventually(lambda: ids_noted(tmp_path), "the snapshot's id is on the disk")
        process.kill()
        await asyncio.to_thread(process.end)
    async with open_store(url(path)) as store:
        assert [check.line() for check in await verify(store) if not check.passed] == []
    status = await outside.status(batch_id)
    assert (status.status, status.completed, status.queued, status.finished) == ("partial", 1, 1, False)
    assert "interrupted or not started: chatgpt - resume with: " in status.message
    assert rows(path, "SELECT * FROM geo_runs WHERE lease_owner IS NOT NULL") == []
    stuck.clear_faults()
    assert (await outside.resume(batch_id)).status == "complete"
    assert_every_cell_once(path, quillmark(2, models))
    assert_paid_as_charged(path, stuck)


def _rows(path: Path, query: str) -> list[dict[str, object]]:
    try:
        return rows(path, query)
    except sqlite3.OperationalError:
        return []  # its tables are still to come


# --- rows that another system inserted ---


async def saved(path: Path, org: Org) -> None:
    async with open_store(url(path)) as store:
        await store.save_org(org)


def insert(path: Path, run_id: str, model: str, size: int = 2) -> None:
    """As another system does it: six columns."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO geo_runs (run_id, batch_id, batch_size, org_id, model, status) VALUES (?, ?, ?, ?, ?, ?)",
            (run_id, "0d3c1f5e-0000-4000-8000-000000000001", size, "quill", model, "queued"),
        )


async def test_rows_that_another_system_inserts_one_after_the_other_are_run(tmp_path: Path, perfect: Simulator) -> None:
    path, org = tmp_path / "s.db", quillmark(3, ("gpt-4.1", "claude-sonnet-4-5"))
    await saved(path, org)
    insert(path, "run-1", "gpt-4.1")
    first = await pipeline(perfect, url(path)).run_model("run-1")
    assert (first.status, first.processed) == ("partial", 3)
    insert(path, "run-2", "claude-sonnet-4-5")
    done = await asyncio.to_thread(
        cli, tmp_path, "run", "--run-id", "run-2", "--store", url(path), "--json", simulator=perfect
    )
    assert done.returncode == 0, done.stderr
    assert last_json(done.stdout)["status"] == "complete"
    assert_every_cell_once(path, org)
    assert_paid_as_charged(path, perfect)
    runs = rows(path, "SELECT run_id, status, surface, answered FROM geo_runs ORDER BY run_id")
    assert [tuple(row.values()) for row in runs] == [
        ("run-1", "completed", "openai", 3),
        ("run-2", "completed", "anthropic", 3),
    ]


def test_the_script_runs_one_row_and_says_so_with_its_exit_code(tmp_path: Path, perfect: Simulator) -> None:
    path = tmp_path / "s.db"
    asyncio.run(saved(path, quillmark(2, ("gpt-4.1",))))
    insert(path, "run-1", "gpt-4.1")
    insert(path, "run-2", "claude-sonnet-4-5")
    script = [sys.executable, str(FOLDER / "trigger_org_evaluation_workflow.py"), "--run-id", "run-1"]
    variables = environment(perfect, tmp_path, OVERHEARD_STORE=url(path))
    with started(script, tmp_path, variables) as process:
        assert process.end() == 0, process.output
    assert "Job request received for run_id=run-1 (OpenAI)" in process.output
    assert rows(path, "SELECT status FROM geo_runs ORDER BY run_id") == [{"status": "completed"}, {"status": "queued"}]
    done = cli(tmp_path, "run", "quill", "--run-id", "run-2", simulator=perfect)
    assert (done.returncode, "a model run is run as its batch was planned" in done.stderr) == (2, True)


# --- watch ---


async def test_watch_tells_at_once_and_ends_with_the_batch(tmp_path: Path, perfect: Simulator) -> None:
    store = url(tmp_path / "s.db")
    summary = await pipeline(perfect, store).run(quillmark(2), extraction="local")
    told = [status async for status in pipeline(perfect, store).watch(summary.batch_id)]
    assert [(status.status, status.finished) for status in told] == [("complete", True)]
    done = await asyncio.to_thread(cli, tmp_path, "status", summary.batch_id, "--watch", "--store", store)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, f"Batch {summary.batch_id}: complete")


async def test_watch_says_what_is_wrong(tmp_path: Path, perfect: Simulator) -> None:
    async with pipeline(perfect, url(tmp_path / "s.db")) as opened:
        with pytest.raises(ConfigError, match="there is no batch 'nothing' in the store"):
            await anext(opened.watch("nothing"))
        with pytest.raises(ConfigError, match="every: "):
            await anext(opened.watch("nothing", every=0))


async def test_a_watch_that_is_cancelled_or_left_leaves_the_pipeline_usable(tmp_path: Path, perfect: Simulator) -> None:
    async with pipeline(perfect, url(tmp_path / "s.db")) as opened:
        batch_id = await opened.create_batch(quillmark(1), extraction="local")
        seen = asyncio.Event()

        async def look() -> None:
            async for _ in opened.watch(batch_id, every=0.01):
                seen.set()

        watching = asyncio.ensure_future(look())
        await seen.wait()
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        watch = opened.watch(batch_id, every=0.01)
        assert (await anext(watch)).queued == 1
        await watch.aclose()
        assert (await opened.resume(batch_id)).status == "complete"


# --- cancel ---


async def test_a_cancelled_batch_stops_here_and_only_a_resume_goes_on(tmp_path: Path, stuck: Simulator) -> None:
    path, org = tmp_path / "s.db", quillmark(3, ("chatgpt", "gpt-4.1"))
    worker = pipeline(stuck, url(path), grace_ms=100)
    batch_id = await worker.create_batch(org, extraction="local", batch_key="today")
    run = asyncio.ensure_future(worker.resume(batch_id))
    await eventually(lambda: requests(stuck).get("brightdata.progress"), "a snapshot is in flight")
    told = [status async for status in _cancelled_meanwhile(worker, batch_id)]
    assert (await run).interrupted
    assert told[-1].queued == 1, "the watch ends although something is queued: nobody will start it"
    (batch,) = rows(path, "SELECT finished_at FROM batches")
    assert batch["finished_at"] is not None
    before = requests(stuck)
    for refused in (worker.run(org, batch_key="today"), worker.run_model(_run_id(path, "chatgpt"))):
        with pytest.raises(ConfigError, match=f"batch {batch_id} was cancelled: go on with it"):
            await refused
    assert requests(stuck) == before, "what was cancelled is not continued"
    assert await worker.create_batch(org, extraction="local") != batch_id
    stuck.clear_faults()
    resumed = await worker.resume(batch_id)
    assert resumed.status == "complete"
    assert requests(stuck)["brightdata.trigger"] == 1, "what was in flight is fetched, not bought again"
    assert_paid_as_charged(path, stuck, resumed)
    await worker.run_model(_run_id(path, "chatgpt"))  # not cancelled any more


async def _cancelled_meanwhile(worker: Pipeline, batch_id: str):  # type: ignore[no-untyped-def]
    async for status in worker.watch(batch_id, every=0.02):
        if status.running and status.completed:
            await worker.cancel(batch_id)
        yield status


def _run_id(path: Path, model: str) -> str:
    (row,) = rows(path, "SELECT run_id FROM geo_runs WHERE model = ? ORDER BY started_at DESC LIMIT 1", model)
    return str(row["run_id"])


OTHER = """
import asyncio, sys
from overheard import Pipeline
async def main(run_id):
    worker = Pipeline("sqlite:///s.db", first_poll_ms=20, min_poll_ms=10, lease_ms=1200, grace_ms=100)
    print("interrupted", (await worker.run_model(run_id)).interrupted, flush=True)
asyncio.run(main(sys.argv[1]))
"""


async def test_a_session_of_another_process_stops_when_it_renews_its_lease(tmp_path: Path, stuck: Simulator) -> None:
    path = tmp_path / "s.db"
    batch_id = await pipeline(stuck, url(path)).create_batch(quillmark(3), extraction="local")
    program = [sys.executable, "-c", OTHER, _run_id(path, "chatgpt")]
    with started(program, tmp_path, environment(stuck, tmp_path)) as process:
        await eventually(lambda: requests(stuck).get("brightdata.progress"), "the other process is at work")
        done = await asyncio.to_thread(cli, tmp_path, "cancel", batch_id, "--store", url(path))
        assert done.returncode == 0, done.stderr
        assert await asyncio.to_thread(process.end) == 0
        assert "interrupted True" in process.output
    (batch,) = rows(path, "SELECT finished_at FROM batches")
    assert batch["finished_at"] is not None, "the other process wrote the batch last, and ended it"
    stuck.clear_faults()
    assert (await pipeline(stuck, url(path)).resume(batch_id)).status == "complete"
    assert_paid_as_charged(path, stuck)


async def test_cancelling_what_has_ended_changes_nothing(tmp_path: Path, perfect: Simulator) -> None:
    path = tmp_path / "s.db"
    worker = pipeline(perfect, url(path))
    summary = await worker.run(quillmark(2), extraction="local", batch_key="today")
    before = rows(path, "SELECT * FROM batches") + rows(path, "SELECT * FROM facts")
    assert (await worker.cancel(summary.batch_id)).complete
    assert rows(path, "SELECT * FROM batches") + rows(path, "SELECT * FROM facts") == before
    assert (await worker.run(quillmark(2), extraction="local", batch_key="today")).status == "complete"

"""What follows the end of a batch: once for each set of answers, whoever sees it first, and what is said of it."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from e2e_help import FOLDER, MyStore, Shelf, dump, pipeline, quillmark, requests, rows, url
from overheard import BatchStatus, Org, Outcome, Pipeline, open_store
from overheard._finish import mark_of
from overheard.batch import Claim, ModelRun, now_ms
from overheard.simulator import Simulator
from overheard.testing.records import make_batch, make_model_run

CAMPAIGN = FOLDER / "tests" / "campaign" / "finish.py"
SEED = 20261122


@pytest.fixture
def analysed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Claim, str]]:
    """The calls of a holistic analysis that does nothing."""
    calls: list[tuple[str, Claim, str]] = []

    async def analyse(_pipeline: Pipeline, batch_id: str, claim: Claim, *, mode: str, **_: object) -> None:
        calls.append((batch_id, claim, mode))

    monkeypatch.setattr("overheard._finish.analyse", analyse)
    return calls


@pytest.fixture
def info(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What the log said so far, at INFO and above."""
    with caplog.at_level(logging.INFO, "overheard"):
        yield lambda: [record.getMessage() for record in caplog.records if record.name == "overheard"]


# --- once ---


async def test_the_callback_is_called_once_and_a_second_start_changes_nothing(
    tmp_path: Path, perfect: Simulator, analysed: list[tuple[str, Claim, str]]
) -> None:
    path, told = tmp_path / "s.db", list[BatchStatus]()
    org = quillmark(2, ("chatgpt", "gpt-4.1"))
    for _ in range(2):
        opened = pipeline(perfect, url(path), on_batch_finished=told.append, holistic="auto")
        summary = await opened.run(org, extraction="local", batch_key="today")
        if len(told) == 1:
            before = (dump(path), rows(path, "SELECT * FROM facts"), requests(perfect))
        await opened.resume(summary.batch_id)
        assert [status async for status in opened.watch(summary.batch_id)] == told
    assert [(status.batch_id, status.complete, status.finished) for status in told] == [(summary.batch_id, True, True)]
    assert [(batch_id, claim.revision, mode) for batch_id, claim, mode in analysed] == [(summary.batch_id, 1, "auto")]
    assert (dump(path), rows(path, "SELECT * FROM facts"), requests(perfect)) == before


async def test_a_plain_and_an_async_callback_both_hold_up_nothing_of_the_loop(
    tmp_path: Path, perfect: Simulator
) -> None:
    async def awaited(status: BatchStatus) -> None:
        await asyncio.sleep(0)
        told.append(status.batch_id)

    told: list[str] = []
    summary = await pipeline(perfect, url(tmp_path / "s.db"), on_batch_finished=awaited).run(
        quillmark(1), extraction="local"
    )
    assert told == [summary.batch_id]


async def test_a_callback_that_raises_loses_no_summary_and_is_called_once_more(
    tmp_path: Path, perfect: Simulator, info: Callable[[], list[str]]
) -> None:
    path, calls = tmp_path / "s.db", list[str]()

    def broken(status: BatchStatus) -> None:
        calls.append(status.batch_id)
        raise ValueError("the mail server is down")

    opened = pipeline(perfect, url(path), on_batch_finished=broken)
    for times in (1, 2, 2):
        summary = await opened.run(quillmark(2), extraction="local", batch_key="today")
        assert (summary.status, summary.processed, len(calls)) == ("complete", 2, times)
    assert "on_batch_finished raised ValueError: the mail server is down" in info()
    (claim,) = rows(path, "SELECT revision, takeovers, done_at FROM claims")
    assert tuple(claim.values()) == (1, 1, None)


async def test_answers_that_change_are_a_new_revision(tmp_path: Path, analysed: list[tuple[str, Claim, str]]) -> None:
    class Moody:
        supports_batching = False
        max_batch_size = 1
        well = False

        def ask(self, asked: Sequence[Any]) -> list[Outcome]:
            failed = {"status": "failed", "error": {"kind": "server", "message": "not now"}}
            answered = {"status": "answered", "text": "Quillmark."}
            return [
                Outcome.from_dict(answered if self.well or "team of 2?" in ask.question else failed) for ask in asked
            ]

    path, told, mine = tmp_path / "s.db", list[BatchStatus](), Moody()
    opened = Pipeline(
        url(path), env={}, providers={"mine": mine}, on_batch_finished=told.append, retry_base_ms=5, breaker_ms=20
    )
    summary = await opened.run(quillmark(3, ("mine",)), extraction="local")
    assert (summary.answered, summary.failed, len(told)) == (1, 2, 1)
    marks = [await _mark(path, summary.batch_id)]
    await opened.resume(summary.batch_id, unfinished_only=True)
    assert len(told) == 1, "the answers are the same"
    mine.well = True
    await opened.resume(summary.batch_id)
    marks.append(await _mark(path, summary.batch_id))
    assert marks[0] != marks[1]
    assert len(told) == 2
    assert [claim.revision for _, claim, _ in analysed] == [1, 2]
    claims = rows(path, "SELECT name, revision, mark FROM claims ORDER BY name, revision")
    assert [(row["name"].partition(":")[0], row["revision"], row["mark"]) for row in claims] == [
        (name, revision, mark) for name in ("finished", "holistic") for revision, mark in enumerate(marks, 1)
    ]


async def _mark(path: Path, batch_id: str) -> str:
    async with open_store(url(path)) as store:
        return (await mark_of(store, batch_id)).text


async def test_answers_that_wait_for_their_extraction_are_no_end(
    tmp_path: Path, perfect: Simulator, info: Callable[[], list[str]]
) -> None:
    told: list[BatchStatus] = []
    async with pipeline(perfect, url(tmp_path / "s.db"), on_batch_finished=told.append, holistic="auto") as opened:
        summary = await opened.execute(quillmark(2, ("chatgpt", "gpt-4.1")), extraction="local")
        assert summary.status == "complete"
        assert [status.finished async for status in opened.watch(summary.batch_id)] == [True]
        assert told == [], "nothing is extracted"
        end = f"[Batch {summary.batch_id}] ALL RUNS COMPLETE"
        assert end not in info()
        await opened.extract(summary.batch_id)
        assert [status.batch_id for status in told] == [summary.batch_id]
        assert end in info()


async def test_an_open_model_run_holds_back_what_follows(tmp_path: Path, perfect: Simulator) -> None:
    path, told = tmp_path / "s.db", list[BatchStatus]()
    async with pipeline(perfect, url(path), on_batch_finished=told.append, holistic="auto") as opened:
        await opened.create_batch(quillmark(2, ("chatgpt", "gpt-4.1")), extraction="local")
        first, second = (row["run_id"] for row in rows(path, "SELECT run_id FROM geo_runs"))
        await opened.run_model(first)
        assert told == []
        await opened.run_model(second)
        assert len(told) == 1


async def test_a_batch_of_which_nothing_completed_is_no_end_to_act_on(tmp_path: Path) -> None:
    class Refusing:
        supports_batching = False
        max_batch_size = 1

        def ask(self, asked: Sequence[Any]) -> list[Outcome]:
            error = {"kind": "invalid_request", "message": "no"}
            return [Outcome.from_dict({"status": "failed", "error": error}) for _ in asked]

    told: list[BatchStatus] = []
    store = url(tmp_path / "s.db")
    opened = Pipeline(store, env={}, providers={"mine": Refusing()}, on_batch_finished=told.append, holistic="auto")
    summary = await opened.run(quillmark(2, ("mine",)), extraction="local")
    assert (summary.status, (await opened.status(summary.batch_id)).finished, told) == ("partial", True, [])


async def test_who_died_before_the_claim_is_replaced_by_whoever_watches(
    tmp_path: Path, perfect: Simulator, analysed: list[tuple[str, Claim, str]]
) -> None:
    store, told = url(tmp_path / "s.db"), list[BatchStatus]()
    # As after a process that died between its last settle and the claim: everything is stored, nothing is claimed.
    summary = await pipeline(perfect, store, holistic="off").run(quillmark(2), extraction="local")
    watching = pipeline(perfect, store, on_batch_finished=told.append, holistic="auto")
    for _ in range(2):
        assert [status.finished async for status in watching.watch(summary.batch_id)] == [True]
    assert (len(told), len(analysed)) == (1, 1)


@pytest.mark.parametrize("shelf", [Shelf, MyStore])
async def test_a_store_without_claims_is_told_once_in_a_process(shelf: type[Shelf], perfect: Simulator) -> None:
    told: list[BatchStatus] = []
    store = shelf()
    opened = pipeline(perfect, store, on_batch_finished=told.append, holistic="auto")
    first = await opened.run(quillmark(2, ("chatgpt", "gpt-4.1")), extraction="local")
    await pipeline(perfect, store, on_batch_finished=told.append, holistic="auto").resume(first.batch_id)
    assert [status.batch_id for status in told] == [first.batch_id]


async def test_two_functions_instead_of_a_store_have_claims_too(perfect: Simulator) -> None:
    told: list[BatchStatus] = []
    kept: list[Any] = []
    for _ in range(2):
        opened = pipeline(perfect, on_question_runs=kept.extend, on_batch_finished=told.append, holistic="auto")
        await opened.run(quillmark(2), extraction="local", batch_key="today")
    assert (len(told), len(kept)) == (1, 2)


async def test_a_store_that_fails_at_the_claim_loses_no_summary(
    tmp_path: Path, perfect: Simulator, info: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from overheard.stores import SqlStore

    async def broken(*_: Any) -> Claim:
        raise TypeError("no such column")

    told: list[BatchStatus] = []
    opened = pipeline(perfect, url(tmp_path / "s.db"), on_batch_finished=told.append, holistic="auto")
    with monkeypatch.context() as patched:
        patched.setattr(SqlStore, "claim_once", broken)
        summary = await opened.run(quillmark(1), extraction="local", batch_key="today")
    assert (summary.status, told) == ("complete", [])
    assert any(f"what follows the end of batch {summary.batch_id} was not done" in line for line in info())
    await opened.run(quillmark(1), extraction="local", batch_key="today")
    assert len(told) == 1


def test_a_model_run_that_has_ended_is_alive_while_its_lease_is_held() -> None:
    batch = make_batch(batch_size=1)
    ended: dict[str, Any] = {"status": "completed", "query_count": 1, "current_query_index": 1}

    def status(**lease: Any) -> BatchStatus:
        run: ModelRun = make_model_run(batch, **ended, **lease)
        return BatchStatus.of(make_batch(batch_id=batch.batch_id, batch_size=1, model_runs=(run,)), now=now)

    now = now_ms()
    assert status().finished
    assert status(lease_owner=None, lease_expires_at_ms=now + 1).finished
    assert status(lease_owner="somebody", lease_expires_at_ms=now).finished
    held = status(lease_owner="somebody", lease_expires_at_ms=now + 1)
    assert (held.complete, held.finished) == (True, False)


# --- what is said ---


async def test_the_log_says_it_in_the_agreed_words(
    tmp_path: Path, perfect: Simulator, info: Callable[[], list[str]], analysed: list[tuple[str, Claim, str]]
) -> None:
    path = tmp_path / "s.db"
    opened = pipeline(perfect, url(path), holistic="auto")
    summary = await opened.run(quillmark(18, ("gpt-4.1", "claude-sonnet-4-5")), extraction="local")
    batch_id, said = summary.batch_id, info()
    runs = {row["model"]: row["run_id"] for row in rows(path, "SELECT model, run_id FROM geo_runs")}
    for line in (
        f"Created batch {batch_id} with 2 runs",
        f"Job request received for run_id={runs['gpt-4.1']} (OpenAI)",
        f"Job request received for run_id={runs['claude-sonnet-4-5']} (Claude)",
        *(f"[{label}] Processing query {number}/18..." for label in ("OpenAI", "Claude") for number in range(1, 19)),
        f"[Batch {batch_id}] ALL RUNS COMPLETE",
        f"[Batch {batch_id}] Surfaces completed: claude, openai",
        f"[Batch {batch_id}] Ready for holistic insights",
        "Triggering holistic analysis",
    ):
        assert said.count(line) == 1, (line, said)
    for label in ("OpenAI", "Claude"):
        (ended,) = (line for line in said if line.startswith(f"[{label}] Completed: "))
        assert ended.startswith(f"[{label}] Completed: 18 queries, score: ")
        assert said.index(f"[{label}] Processing query 18/18...") < said.index(ended)
    assert said.index("Triggering holistic analysis") > said.index(f"[Batch {batch_id}] Ready for holistic insights")
    before = len(said)
    await opened.resume(batch_id)
    assert not any("COMPLETE" in line or "Completed" in line or "Trigger" in line for line in info()[before:])


async def test_the_score_is_said_and_kept(
    tmp_path: Path, perfect: Simulator, info: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def insights(self: Pipeline, batch_id: str) -> Any:
        score = {"gpt-4.1": 67.456, "claude-sonnet-4-5": None}
        models = [{"model": model, "summary": {"overallScore": {"value": value}}} for model, value in score.items()]
        return types.SimpleNamespace(models=models)

    monkeypatch.setattr(Pipeline, "insights", insights, raising=False)
    path = tmp_path / "s.db"
    opened = pipeline(perfect, url(path))
    summary = await opened.run(quillmark(2, ("gpt-4.1", "claude-sonnet-4-5")), extraction="local")
    assert "[OpenAI] Completed: 2 queries, score: 67.5" in info()
    assert "[Claude] Completed: 2 queries, score: n/a" in info()
    query = "SELECT model, score FROM geo_runs ORDER BY model"
    assert [tuple(row.values()) for row in rows(path, query)] == [("claude-sonnet-4-5", None), ("gpt-4.1", 67.456)]
    before = dump(path)
    await opened.extract(summary.batch_id)
    assert dump(path) == before, "the same score again writes nothing"


async def test_metrics_that_fail_cost_no_line_and_no_summary(
    tmp_path: Path, perfect: Simulator, info: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def insights(self: Pipeline, batch_id: str) -> Any:
        raise KeyError("overallScore")

    monkeypatch.setattr(Pipeline, "insights", insights, raising=False)
    summary = await pipeline(perfect, url(tmp_path / "s.db")).run(quillmark(1, ("gpt-4.1",)), extraction="local")
    assert summary.status == "complete"
    assert "[OpenAI] Completed: 1 queries, score: n/a" in info()
    assert "the score of gpt-4.1 is not kept: KeyError: 'overallScore'" in info()


async def test_two_model_runs_of_one_surface_are_told_apart_and_a_big_one_does_not_drown_the_rest(
    tmp_path: Path, perfect: Simulator, info: Callable[[], list[str]]
) -> None:
    org = quillmark(120, ("gpt-4.1", "gpt-4.1-mini"), ("US", "DE"))
    await pipeline(perfect, url(tmp_path / "s.db")).run(org, extraction="local")
    for model in ("gpt-4.1", "gpt-4.1-mini"):
        said = [line for line in info() if line.startswith(f"[OpenAI {model}] Processing query ")]
        numbers = [int(line.rpartition(" ")[2].partition("/")[0]) for line in said]
        assert sorted(numbers) == [1, *range(3, 241, 3)], "the first, and each hundredth part of 240"
        assert f"[OpenAI {model}] Completed: 240 queries, score: n/a" in info() or any(
            line.startswith(f"[OpenAI {model}] Completed: 240 queries, score: ") for line in info()
        )
    assert not any(line.startswith("[OpenAI] ") for line in info())


async def test_a_custom_provider_is_called_by_its_name_and_a_failed_run_says_why(
    tmp_path: Path, info: Callable[[], list[str]]
) -> None:
    class Mine:
        supports_batching = False
        max_batch_size = 1

        def __init__(self, status: str) -> None:
            self.status = status

        def ask(self, asked: Sequence[Any]) -> list[Outcome]:
            return [Outcome.from_dict({"status": self.status, "text": "Quillmark."}) for _ in asked]

    providers = {"Mine": Mine("answered"), "Other": Mine("refused")}
    org: Org = quillmark(2, ("Mine", "Other"))
    opened = Pipeline(url(tmp_path / "s.db"), env={}, providers=providers)
    summary = await opened.run(org, extraction="local")
    said = info()
    assert any(line.startswith("[Mine] Completed: 2 queries, score: ") for line in said)
    assert "[Other] Failed: none of 2 questions was answered" in said
    assert f"[Batch {summary.batch_id}] Surfaces completed: Mine" in said


# --- racing ---


@pytest.mark.timeout(300)
def test_eight_racing_processes_some_killed_do_what_follows_once() -> None:
    """The short form of `tests/campaign/finish.py`."""
    done = subprocess.run(
        [sys.executable, str(CAMPAIGN), "--batches", "20", "--seed", str(SEED)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("finish campaign passed: 20 batches of 8 model runs on sqlite, ")
    assert "; 0 violations, " in last

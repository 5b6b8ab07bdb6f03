"""A provider that is down: the others complete, the batch is partial, a resume completes it and pays nothing twice."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_help import (
    FAST,
    asked,
    assert_every_cell_once,
    assert_paid_as_charged,
    cli,
    last_json,
    pipeline,
    quillmark,
    requests,
    rows,
    url,
)
from overheard import Pipeline
from overheard.simulator import Simulator

MODELS = ("chatgpt", "gpt-4.1", "claude-sonnet-4-5")
OF = {"brightdata": "chatgpt", "openai": "gpt-4.1", "anthropic": "claude-sonnet-4-5"}
OUTAGES = ("status:500:0", "status:401", "insufficient_quota", "close_before_reply", "overloaded:0")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=12, snapshot_ms=30, perfect=True) as running:
        yield running


@pytest.mark.parametrize("fault", OUTAGES)
@pytest.mark.parametrize("down", list(OF))
async def test_one_provider_down(tmp_path: Path, simulator: Simulator, down: str, fault: str) -> None:
    path, org = tmp_path / "s.db", quillmark(4, MODELS, ("US", "DE"))
    simulator.inject({"endpoint": down}, fault, None)
    async with pipeline(simulator, url(path), unknown_grace_ms=500) as opened:
        first = await opened.run(org, extraction="local")
        assert first.status == "partial"
        assert first.processing_errors
        answered = {row["model"] for row in rows(path, "SELECT model FROM question_runs WHERE status = 'answered'")}
        assert answered == set(MODELS) - {OF[down]}
        status = await opened.status(first.batch_id)
        states = {model["model"]: model["status"] for model in status.models}
        assert {model for model, state in states.items() if state == "completed"} == set(MODELS) - {OF[down]}
        assert f"overheard resume {first.batch_id}" in status.message
        assert_paid_as_charged(path, simulator)
        before = asked(simulator)
        simulator.clear_faults()
        again = await opened.resume(first.batch_id)
    assert_paid_as_charged(path, simulator)
    assert (again.status, again.failed) == ("complete", 0)
    assert_every_cell_once(path, org)
    assert set(asked(simulator).values()) == {2}, "asked or paid twice"  # two locations
    assert not (asked(simulator) - before).keys() & {(m, q.text) for m in answered for q in org.question_list}


@pytest.mark.parametrize(("fault", "calls"), [("status:401", 1), ("insufficient_quota", 1), ("status:403", 1)])
@pytest.mark.parametrize("endpoint", ["openai.responses", "anthropic.messages"])
async def test_a_bad_key_or_no_money_stops_the_provider_at_once(
    tmp_path: Path, simulator: Simulator, endpoint: str, fault: str, calls: int
) -> None:
    """One call in flight at a time."""
    model = OF[endpoint.split(".")[0]]
    org = quillmark(12, (model, "chatgpt"))
    simulator.inject({"endpoint": endpoint}, fault, None)
    limits = {"openai_in_flight": 1, "anthropic_in_flight": 1}
    async with pipeline(simulator, url(tmp_path / "s.db"), **limits) as opened:
        summary = await opened.run(org, extraction="local")
        status = await opened.status(summary.batch_id)
    # "At most as many more as were in flight": one more may be on its way when the refusal is read.
    assert requests(simulator)[endpoint] in (calls, calls + 1)
    assert summary.status == "partial"
    (failed,) = (entry for entry in status.models if entry["model"] == model)
    assert (failed["status"], failed["answered"]) == ("failed", 0)
    words = str(summary.processing_errors)
    if fault != "insufficient_quota":
        assert f"{endpoint.split('.')[0].upper()}_API_KEY" in words or fault == "status:403", words


async def test_connection_refused(tmp_path: Path, simulator: Simulator) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
        path, org = tmp_path / "s.db", quillmark(4, MODELS)
        variables = simulator.environment() | {"BRIGHTDATA_BASE_URL": dead, "ANTHROPIC_BASE_URL": dead}
        async with Pipeline(url(path), env=variables, **FAST) as opened:
            first = await opened.run(org, extraction="local")
    assert first.status == "partial"
    assert {error["kind"] for error in first.processing_errors} <= {"not_sent", "unavailable"}
    assert first.maybe_charged_micro_usd == 0, "nothing was sent, so nothing can have been charged"
    assert_paid_as_charged(path, simulator, first)
    async with pipeline(simulator, url(path)) as opened:
        again = await opened.resume(first.batch_id)
    assert (again.status, again.failed) == ("complete", 0)
    assert_every_cell_once(path, org)
    assert set(asked(simulator).values()) == {1}
    assert_paid_as_charged(path, simulator, again)


async def test_the_extraction_model_down_keeps_the_answers(tmp_path: Path, simulator: Simulator) -> None:
    path, org = tmp_path / "s.db", quillmark(4, ("chatgpt", "claude-sonnet-4-5"))
    simulator.inject({"endpoint": "openai"}, "status:503:0", None)
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(org)
        assert (first.processed, first.answered, first.evaluations) == (8, 8, 0)
        assert first.processing_errors
        for table in ("org_evals", "org_citations", "org_competitors"):
            assert rows(path, f"SELECT * FROM {table}") == []
        simulator.clear_faults()
        answers = asked(simulator)
        again = await opened.resume(first.batch_id)
    assert (again.evaluations, again.status) == (8, "complete")
    assert asked(simulator) == answers, "an answer was asked again"
    assert_paid_as_charged(path, simulator, again)


async def test_the_extraction_model_out_of_money_leaves_answers_for_later(tmp_path: Path, simulator: Simulator) -> None:
    path, org = tmp_path / "s.db", quillmark(6, ("chatgpt",))
    simulator.inject({"endpoint": "openai"}, "insufficient_quota", None)
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(org)
        assert (first.answered, first.evaluations) == (6, 0)
        simulator.clear_faults()
        again = await opened.extract(first.batch_id)
    assert again.evaluations == 6
    assert_paid_as_charged(path, simulator, again)
    assert simulator.ledger()["records"] == 6


def test_exit_code_3_and_a_resume_that_completes(tmp_path: Path, simulator: Simulator) -> None:
    store = url(tmp_path / "s.db")
    simulator.inject({"endpoint": "anthropic"}, "status:503:0", None)
    arguments = ("--store", store, "--extraction", "local", "--questions", "1", "--locations", "US", "--json")
    first = cli(tmp_path, "run", "demo", "--models", "gpt-4.1,claude-sonnet-4-5", *arguments, simulator=simulator)
    assert first.returncode == 3, first.stderr
    summary = last_json(first.stdout)
    assert (summary["status"], summary["answered"], summary["failed"]) == ("partial", 1, 1)
    status = cli(tmp_path, "status", summary["batch_id"], "--store", store, simulator=simulator)
    assert status.returncode == 3
    assert "claude-sonnet-4-5" in status.stdout
    simulator.clear_faults()
    again = cli(tmp_path, "resume", summary["batch_id"], "--store", store, "--json", simulator=simulator)
    assert again.returncode == 0, again.stderr
    assert last_json(again.stdout)["status"] == "complete"
    assert set(asked(simulator).values()) == {1}
    assert_paid_as_charged(tmp_path / "s.db", simulator)
    verified = cli(tmp_path, "verify", "--store", store, simulator=simulator)
    assert (verified.returncode, verified.stdout.splitlines()[-1]) == (0, "verify passed")

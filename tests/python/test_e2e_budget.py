"""`max_cost` at scale: a thousand questions against caps that cover a part of them, resumed with more until done."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e_help import (
    assert_every_cell_once,
    assert_paid_as_charged,
    cli,
    pipeline,
    quillmark,
    rows,
    run,
    stored_cost,
    url,
)
from overheard.simulator import Simulator

QUESTIONS = 1_000


@pytest.mark.parametrize(("seed", "cap"), [(1, 4_000_000), (2, 9_000_000), (3, 14_500_000)])
async def test_a_thousand_questions_never_cost_more_than_max_cost(tmp_path: Path, seed: int, cap: int) -> None:
    path, org = tmp_path / "s.db", quillmark(QUESTIONS, ("gpt-4.1",))
    with Simulator(seed=seed, perfect=True) as simulator:
        async with pipeline(simulator, url(path)) as opened:
            summary = await opened.run(org, max_cost=f"{cap / 1_000_000:.6f}", extraction="local")
            batch_id, starts = summary.batch_id, 1
            while not summary.complete:
                charged = simulator.ledger(charges=False)["charged_micro_usd"]
                assert charged <= cap, f"seed {seed}: charged {charged} of {cap}"
                assert_paid_as_charged(path, simulator, summary)
                assert (summary.status, summary.over_reserved_micro_usd) == ("partial", 0)
                assert summary.processing_errors[0]["kind"] == "budget"
                assert charged > cap - 1_000_000, f"seed {seed}: much of the cap is left: {charged} of {cap}"
                cap, starts = cap * 2, starts + 1
                assert starts < 12, f"seed {seed}: {summary.processed} of {QUESTIONS} are answered with {cap}"
                summary = await opened.resume(batch_id, max_cost=f"{cap / 1_000_000:.6f}")
        assert starts > 1, f"seed {seed}: the cap covered everything"
        assert simulator.ledger(charges=False)["charged_micro_usd"] <= cap
        assert_every_cell_once(path, org)
        assert_paid_as_charged(path, simulator, summary)


async def test_a_wrong_price_stops_the_model_and_says_what_to_mend(tmp_path: Path) -> None:
    path, org = tmp_path / "s.db", quillmark(200, ("gpt-4.1", "chatgpt"))
    with Simulator(seed=3, snapshot_ms=30, perfect=True) as simulator:
        # A hundred times the price, and a ceiling that no answer keeps: what is reserved is too little.
        prices = {"gpt-4.1": {"input": "200.00", "max_input_tokens": 1}}
        async with pipeline(simulator, url(path), prices=prices, openai_in_flight=2) as opened:
            summary = await opened.run(org, extraction="local")
        (models,) = rows(path, "SELECT count(*) AS asked FROM question_runs WHERE model = 'gpt-4.1'")
        assert 0 < models["asked"] < 200
        assert (summary.status, summary.failed) == ("partial", 0)
        (error,) = summary.processing_errors
        assert (error["context"]["code"], error["context"]["model"]) == ("over_reserved", "gpt-4.1")
        assert "OVERHEARD_PRICES" in error["message"]
        assert summary.over_reserved_micro_usd > 0
        assert any("above what was reserved" in line for line in summary.money_lines())
        assert summary.total_cost_micro_usd == stored_cost(path)
        async with pipeline(simulator, url(path)) as opened:
            last = await opened.resume(summary.batch_id)
        assert (last.complete, last.over_reserved_micro_usd) == (True, 0)
        assert_every_cell_once(path, org)
        assert last.total_cost_micro_usd == stored_cost(path)


async def test_unknown_charges_are_counted_over_all_starts(tmp_path: Path) -> None:
    path, org = tmp_path / "s.db", quillmark(3, ("gpt-4.1",))
    with Simulator(seed=3, perfect=True) as simulator:
        simulator.inject({"endpoint": "openai.responses"}, "no_usage", 1)
        first = await run(simulator, url(path), org, extraction="local")
        assert first.unpriced == 1
        async with pipeline(simulator, url(path)) as opened:
            again = await opened.resume(first.batch_id)
            quote = await opened.quote_resume(first.batch_id)
        assert (again.unpriced, again.requests_made) == (1, 0)
        assert again.total_cost_micro_usd == first.total_cost_micro_usd
        # What the unknown charge was at most is held against max_cost.
        assert quote["spent_micro_usd"] > first.total_cost_micro_usd
        assert (quote["cells"], quote["stored"], quote["lines"]) == (0, 3, [])


def test_a_dry_run_of_a_resume_counts_what_is_open(tmp_path: Path) -> None:
    with Simulator(seed=3, snapshot_ms=30, perfect=True) as simulator:
        where = ("--store", "sqlite:///s.db", "--extraction", "local", "--questions", "5", "--models", "gpt-4.1")
        first = cli(tmp_path, "run", "demo", *where, "--max-cost", "0.60", simulator=simulator)
        assert first.returncode == 3, first.stderr
        assert "Plan: " in first.stderr, "the plan is said before anything is sent"
        charged = simulator.ledger(charges=False)["charged_micro_usd"]
        (batch,) = rows(tmp_path / "s.db", "SELECT batch_id FROM batches")
        (row,) = rows(tmp_path / "s.db", "SELECT count(*) AS stored FROM question_runs")
        arguments = ("resume", batch["batch_id"], "--dry-run", "--store", "sqlite:///s.db")
        told = cli(tmp_path, *arguments, simulator=simulator)
        assert told.returncode == 0, told.stderr
        (cells,) = rows(tmp_path / "s.db", "SELECT sum(query_count) AS planned FROM geo_runs")
        left = cells["planned"] - row["stored"]
        assert left > 0
        assert f"{left} questions to ask, {row['stored']} are stored" in told.stdout
        assert "Spent so far: $" in told.stdout
        assert "of max_cost $0.600000" in told.stdout
        assert "all of" in told.stdout
        tight = cli(tmp_path, *arguments, "--max-cost", "0.01", simulator=simulator)
        assert "max_cost covers not even the first call: gpt-4.1" in tight.stdout
        assert simulator.ledger(charges=False)["charged_micro_usd"] == charged, "a dry run bought something"

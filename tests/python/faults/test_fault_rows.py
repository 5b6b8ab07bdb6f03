"""F46 to F49: rows that are missing, too many, foreign, disordered or errors. Each question settles on its own row."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e_help import SCRAPED, Truth, asked, assert_every_cell_once, assert_paid_as_charged, pipeline, quillmark, url
from e2e_help import requests as sent
from fault_help import assert_completed, assert_sound, runs
from overheard import Org
from overheard.simulator import Simulator

COUNT = 8
PRICE = 1_500


def assert_answers_belong(path: Path, simulator: Simulator) -> int:
    """Every stored answer was served for that very question, model and place; returns how many there are."""
    truth, answered = Truth(simulator), [row for row in runs(path) if row["status"] == "answered"]
    for row in answered:
        truth.answer(row)
    return len(answered)


async def assert_failed_rows_wait(path: Path, simulator: Simulator, org: Org, count: int, words: str) -> None:
    """`count` rows fail alone, cost nothing and are asked again by a resume, and no others."""
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(org, extraction="local")
        assert (first.processed, first.failed, sent(simulator)["brightdata.trigger"]) == (COUNT, count, 1)
        assert assert_answers_belong(path, simulator) == COUNT - count
        bad = [row for row in runs(path) if row["status"] == "failed"]
        assert [(row["error_kind"], row["cost_micro_usd"], row["records"]) for row in bad] == [("record", 0, 0)] * count
        assert all(words in row["error"] for row in bad), [row["error"] for row in bad]
        assert first.total_cost_micro_usd == (COUNT - count) * PRICE
        assert first.maybe_charged_micro_usd == 0
        assert {error["context"]["cell"] for error in first.processing_errors} == {row["cell_key"] for row in bad}
        assert_paid_as_charged(path, simulator, first)
        await assert_sound(path)
        untouched = [row for row in runs(path) if row["status"] == "answered"]
        again = await opened.resume(first.batch_id)
    assert [row for row in runs(path) if row in untouched] == untouched, "an answered row was written again"
    assert (again.status, again.failed, simulator.ledger()["records"]) == ("complete", 0, COUNT)
    assert_every_cell_once(path, org)
    assert assert_answers_belong(path, simulator) == COUNT
    assert_paid_as_charged(path, simulator, again)
    await assert_sound(path)


@pytest.mark.parametrize("model", SCRAPED)
async def test_f46_missing_rows_shift_no_others(tmp_path: Path, simulator: Simulator, model: str) -> None:
    simulator.inject({"endpoint": "brightdata.trigger"}, "drop_rows:2")
    words = "Batch returned 6 responses but expected 8"
    await assert_failed_rows_wait(tmp_path / "s.db", simulator, quillmark(COUNT, (model,)), 2, words)


@pytest.mark.parametrize("model", SCRAPED)
async def test_f49_error_rows_cost_nothing(tmp_path: Path, simulator: Simulator, model: str) -> None:
    simulator.inject({"endpoint": "brightdata.trigger"}, "error_rows:2")
    words = "has an error row for this question"
    await assert_failed_rows_wait(tmp_path / "s.db", simulator, quillmark(COUNT, (model,)), 2, words)


async def test_f49_error_rows_are_booked_where_the_account_is_charged_for_them(
    tmp_path: Path, simulator: Simulator
) -> None:
    path = tmp_path / "s.db"
    simulator.inject({"endpoint": "brightdata.trigger"}, "error_rows:2")
    async with pipeline(simulator, url(path), charge_error_rows=True) as opened:
        first = await opened.run(quillmark(COUNT), extraction="local")
    assert (first.failed, first.total_cost_micro_usd) == (2, COUNT * PRICE)
    assert {row["cost_micro_usd"] for row in runs(path)} == {PRICE}


@pytest.mark.parametrize("fault", ["error_rows", "auth_wall_all"])
async def test_f49_a_batch_that_lost_all_rows_is_asked_once_more(
    tmp_path: Path, simulator: Simulator, fault: str
) -> None:
    path, org = tmp_path / "s.db", quillmark(COUNT)
    simulator.inject({"endpoint": "brightdata.trigger"}, fault)
    async with pipeline(simulator, url(path)) as opened:
        summary = await opened.run(org, extraction="local")
    assert (summary.status, summary.failed, simulator.ledger()["records"]) == ("complete", 0, COUNT)
    assert sent(simulator)["brightdata.trigger"] == 3, "once more, in two halves"
    assert {row["attempts"] for row in runs(path)} == {2}
    assert_paid_as_charged(path, simulator, summary)
    await assert_sound(path)


async def test_f49_rows_that_stay_errors_are_asked_twice_at_most(tmp_path: Path, simulator: Simulator) -> None:
    path = tmp_path / "s.db"
    simulator.inject({"endpoint": "brightdata.trigger"}, "error_rows", None)
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(quillmark(COUNT), extraction="local")
    assert (first.status, first.failed, sent(simulator)["brightdata.trigger"]) == ("partial", COUNT, 3)
    assert {(row["error_kind"], row["attempts"], row["cost_micro_usd"]) for row in runs(path)} == {("record", 2, 0)}
    assert_paid_as_charged(path, simulator, first)
    await assert_sound(path)


@pytest.mark.parametrize("endpoint", ["brightdata.trigger", "brightdata.snapshot"])
@pytest.mark.parametrize("fault", ["duplicate_rows:3", "foreign_rows:3"])
async def test_f47_rows_too_many_are_left_out(
    tmp_path: Path, simulator: Simulator, caplog: pytest.LogCaptureFixture, fault: str, endpoint: str
) -> None:
    path, org = tmp_path / "s.db", quillmark(COUNT, ("chatgpt",), ("US", "DE"))
    simulator.inject({"endpoint": endpoint}, fault, None)
    with caplog.at_level("WARNING", logger="overheard"):
        async with pipeline(simulator, url(path)) as opened:
            summary = await opened.run(org, extraction="local")
    await assert_completed(path, simulator, org, summary)
    assert assert_answers_belong(path, simulator) == 2 * COUNT
    assert "Batch returned 11 responses but expected 8" in caplog.text
    stored = " ".join(row["answer_text"] for row in runs(path))
    assert "somebody else" not in stored


@pytest.mark.parametrize("model", SCRAPED)
@pytest.mark.parametrize("fault", ["shuffle_rows", "changed_echo", "no_index", "string_index"])
async def test_f48_rows_find_their_questions_in_any_order_and_echo(
    tmp_path: Path, simulator: Simulator, model: str, fault: str
) -> None:
    path, org = tmp_path / "s.db", quillmark(COUNT, (model,), ("US", "DE"))
    simulator.inject({"endpoint": "brightdata.trigger"}, fault, None)
    async with pipeline(simulator, url(path)) as opened:
        summary = await opened.run(org, extraction="local")
    await assert_completed(path, simulator, org, summary)
    assert assert_answers_belong(path, simulator) == 2 * COUNT


async def test_f48_an_echo_in_another_unicode_form_is_the_same_question(tmp_path: Path, simulator: Simulator) -> None:
    texts = [f"Welche Notiz-Software für ein größeres Büro mit {count} Plätzen?" for count in range(2, 8)]
    questions = [{"id": f"q{place}", "text": text} for place, text in enumerate(texts)]
    path, org = tmp_path / "s.db", quillmark(questions=questions)
    simulator.inject({"endpoint": "brightdata.trigger"}, "decomposed_echo")
    async with pipeline(simulator, url(path)) as opened:
        summary = await opened.run(org, extraction="local")
    await assert_completed(path, simulator, org, summary)
    assert assert_answers_belong(path, simulator) == len(texts)
    assert {row["question"] for row in runs(path)} == set(texts)


async def test_f46_a_batch_that_lost_half_is_asked_once_more_in_smaller_submissions(
    tmp_path: Path, simulator: Simulator
) -> None:
    path, org = tmp_path / "s.db", quillmark(COUNT)
    simulator.inject({"endpoint": "brightdata.trigger"}, "drop_rows:5")
    async with pipeline(simulator, url(path)) as opened:
        summary = await opened.run(org, extraction="local")
    assert (summary.status, summary.failed, sent(simulator)["brightdata.trigger"]) == ("complete", 0, 3)
    # Three triggers, and every question charged once: only the five lost ones were in a second submission.
    assert sorted(asked(simulator).values()) == [1] * COUNT
    assert simulator.ledger()["records"] == COUNT, "a row that was there was bought again"
    assert assert_answers_belong(path, simulator) == COUNT
    assert_paid_as_charged(path, simulator, summary)
    await assert_sound(path)

"""F50, F52 and F53: answers that are none or cut, bills that cannot be read, another model than was asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e_help import SCRAPED, assert_every_cell_once, assert_paid_as_charged, pipeline, quillmark, requests, rows, url
from fault_help import ANTHROPIC, BRIGHTDATA, DIRECT, KINDS, OPENAI, Kind, assert_sound, every_direct_kind, runs
from overheard.simulator import Simulator

NONE = [
    *((kind, "empty_answer", "no_answer", None) for kind in KINDS),
    (OPENAI, "refusal", "refused", "refusal"),
    (ANTHROPIC, "refusal", "refused", "refusal"),
]


def named(cases: list[tuple[Kind, str, str, str | None]]) -> list[str]:
    return [f"{kind}-{fault}" for kind, fault, *_ in cases]


@pytest.mark.parametrize(("kind", "fault", "status", "reason"), NONE, ids=named(NONE))
async def test_f50_an_answer_that_is_none_is_stored_charged_and_not_asked_again(
    tmp_path: Path, simulator: Simulator, kind: Kind, fault: str, status: str, reason: str | None
) -> None:
    path, org = tmp_path / "s.db", quillmark(3, (kind.model,))
    victim = org.question_list[1].text
    endpoint = "brightdata.snapshot" if kind == BRIGHTDATA else kind.paid
    simulator.inject({"endpoint": endpoint, "prompt_contains": victim}, fault, None)
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(org)
        assert (first.processed, first.failed) == (3, 0)
        assert_every_cell_once(path, org)
        empty = [row for row in runs(path) if row["status"] != "answered"]
        # A submission of Bright Data is spoilt as a whole.
        assert len(empty) == (3 if kind == BRIGHTDATA else 1)
        for row in empty:
            assert (row["status"], row["finish_reason"]) == (status, reason or row["finish_reason"])
            assert row["cost_micro_usd"] > 0, "it was charged"
            assert row["raw_body"]
        keys = {row["cell_key"] for row in empty}
        extracted = {row["cell_key"] for row in rows(path, "SELECT cell_key FROM extractions")}
        assert extracted == {row["cell_key"] for row in runs(path)} - keys, "what is no answer is not extracted"
        assert_paid_as_charged(path, simulator, first)
        await assert_sound(path)
        simulator.clear_faults()
        before = requests(simulator)
        again = await opened.resume(first.batch_id)
    assert (again.requests_made, requests(simulator)) == (0, before), "it was answered: nothing is asked again"


@pytest.mark.parametrize("model", SCRAPED)
async def test_f50_a_scraper_that_declines_is_stored_as_it_said(
    tmp_path: Path, simulator: Simulator, model: str
) -> None:
    """A scraper's row does not mark a refusal, so its words are kept as the answer and charged."""
    path, org = tmp_path / "s.db", quillmark(3, (model,))
    simulator.inject({"endpoint": "brightdata.trigger"}, "refusal")
    async with pipeline(simulator, url(path)) as opened:
        summary = await opened.run(org, extraction="local")
    assert (summary.status, summary.processed, summary.failed) == ("complete", 3, 0)
    served = {answer["prompt"]: answer["text"].strip() for answer in simulator.truth()["answers"]}
    assert {row["question"]: row["answer_text"].strip() for row in runs(path)} == served
    assert_paid_as_charged(path, simulator, summary)
    await assert_sound(path)


CUT = [
    (OPENAI, "incomplete", "answered", "max_output_tokens"),
    (OPENAI, "incomplete:content_filter", "answered", "content_filter"),
    (ANTHROPIC, "incomplete", "answered", "max_tokens"),
]


@pytest.mark.parametrize(("kind", "fault", "status", "reason"), CUT, ids=named(CUT))
async def test_f50_a_cut_answer_is_kept_with_the_reason(
    tmp_path: Path, simulator: Simulator, kind: Kind, fault: str, status: str, reason: str
) -> None:
    path, org = tmp_path / "s.db", quillmark(3, (kind.model,))
    victim = org.question_list[1].text
    simulator.inject({"endpoint": kind.paid, "prompt_contains": victim}, fault, None)
    async with pipeline(simulator, url(path)) as opened:
        summary = await opened.run(org, extraction="local")
    assert (summary.status, summary.answered, requests(simulator)[kind.paid]) == ("complete", 3, 3)
    (row,) = (row for row in runs(path) if row["question"] == victim)
    assert (row["status"], row["finish_reason"]) == (status, reason)
    assert row["answer_text"]
    assert summary.evaluations == 3
    assert_paid_as_charged(path, simulator, summary)
    await assert_sound(path)


async def test_f50_an_empty_list_of_rows_is_no_answer_to_anything(tmp_path: Path, simulator: Simulator) -> None:
    """Its rows are missing: nothing is booked for them but what the provider charged, and they are asked once more."""
    path, org = tmp_path / "s.db", quillmark(4)
    simulator.inject({"endpoint": "brightdata.trigger"}, "drop_rows:all", None)
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(org, extraction="local")
        assert {(row["status"], row["error_kind"], row["cost_micro_usd"]) for row in runs(path)} == {
            ("failed", "record", 0)
        }
        assert first.status == "partial"
        assert "Batch returned 0 responses but expected" in first.processing_errors[0]["message"]
        simulator.clear_faults()
        again = await opened.resume(first.batch_id)
    assert (again.status, again.failed) == ("complete", 0)
    assert_every_cell_once(path, org)
    await assert_sound(path)


@pytest.mark.parametrize("fault", ["no_usage", "absurd_usage"])
@every_direct_kind
async def test_f52_a_bill_that_cannot_be_read_is_unpriced_and_not_zero(
    tmp_path: Path, simulator: Simulator, kind: Kind, fault: str
) -> None:
    path, org = tmp_path / "s.db", quillmark(3, (kind.model,))
    victim = org.question_list[1].text
    simulator.inject({"endpoint": kind.paid, "prompt_contains": victim}, fault)
    async with pipeline(simulator, url(path)) as opened:
        summary = await opened.run(org, extraction="local")
    assert (summary.status, summary.answered, summary.unpriced) == ("complete", 3, 1)
    (row,) = (row for row in runs(path) if row["unpriced"])
    assert (row["question"], row["cost_micro_usd"]) == (victim, None)
    priced = sum(c["micro_usd"] for c in simulator.ledger()["charges"] if c["inputs"] != [victim])
    assert summary.total_cost_micro_usd == priced
    await assert_sound(path)


@pytest.mark.parametrize("fault", ["no_usage", "absurd_usage"])
async def test_f52_an_extraction_without_a_bill_is_unpriced(tmp_path: Path, simulator: Simulator, fault: str) -> None:
    path, org = tmp_path / "s.db", quillmark(1)
    simulator.inject({"endpoint": "openai.responses", "prompt_contains": "You list the brands"}, fault)
    async with pipeline(simulator, url(path)) as opened:
        summary = await opened.run(org)
    (row,) = rows(path, "SELECT * FROM extractions")
    assert (row["error"], row["cost_micro_usd"], summary.unpriced) == (None, None, 1)
    assert runs(path)[0]["cost_micro_usd"] == 1_500


async def test_f52_unpriced_is_counted_over_all_starts(tmp_path: Path, simulator: Simulator) -> None:
    path, org = tmp_path / "s.db", quillmark(2, ("gpt-4.1",))
    simulator.inject({"endpoint": "openai.responses"}, "no_usage")
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(org, extraction="local")
        again = await opened.resume(first.batch_id)
    assert (first.unpriced, again.unpriced) == (1, 1)


async def assert_other_model_kept(path: Path, simulator: Simulator, kind: Kind, model: str) -> set[str]:
    """A run in which another model answers one of three questions; returns the served models."""
    org = quillmark(3, (model,))
    simulator.inject({"endpoint": kind.paid, "prompt_contains": org.question_list[1].text}, "other_model")
    async with pipeline(simulator, url(path)) as opened:
        summary = await opened.run(org, extraction="local")
    assert summary.status == "complete"
    assert {row["model"] for row in runs(path)} == {model}
    assert_paid_as_charged(path, simulator, summary)
    await assert_sound(path)
    return {row["served_model"] for row in runs(path)}


OTHER = [(DIRECT[0], "gpt-5"), (DIRECT[1], "claude-sonnet-4-5")]


@pytest.mark.parametrize(("kind", "model"), OTHER, ids=["openai", "anthropic"])
async def test_f53_the_model_that_answered_stands_beside_the_one_that_was_asked(
    tmp_path: Path, simulator: Simulator, kind: Kind, model: str
) -> None:
    served = await assert_other_model_kept(tmp_path / "s.db", simulator, kind, model)
    assert len(served) == 2
    assert sum(name.startswith(model) for name in served) == 1, served


@pytest.mark.parametrize(("kind", "model"), OTHER, ids=["openai", "anthropic"])
async def test_f53_another_model_is_warned_of_once(
    tmp_path: Path, simulator: Simulator, caplog: pytest.LogCaptureFixture, kind: Kind, model: str
) -> None:
    with caplog.at_level("WARNING", logger="overheard"):
        served = await assert_other_model_kept(tmp_path / "s.db", simulator, kind, model)
    (other,) = (name for name in served if not name.startswith(model))
    told = [record for record in caplog.records if other in record.getMessage()]
    assert len(told) == 1
    assert model in told[0].getMessage()

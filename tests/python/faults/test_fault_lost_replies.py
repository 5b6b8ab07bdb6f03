"""F10, F13 and F37: a direct call that may have been charged and brought no answer. One paid re-send, and every such
charge stands apart exactly once."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e_help import asked, assert_every_cell_once, pipeline, quillmark, requests, rows, stored_cost, url
from fault_help import Kind, assert_sound, every_direct_kind, kinds_of, runs, struck
from overheard.simulator import Simulator

CLOSES = ("close_before_reply", "charge_then_close")
HANGS = ("hang_uncharged", "hang_headers")


async def assert_sent_again_once(path: Path, simulator: Simulator, kind: Kind, fault: str, **limits: int) -> None:
    """The fault strikes once: the answer comes by the re-send, the first attempt stays on the books as possible."""
    org = quillmark(4, (kind.model,))
    victim = org.question_list[2].text
    simulator.inject({"endpoint": kind.paid, "prompt_contains": victim}, fault)
    async with pipeline(simulator, url(path), **limits) as opened:
        summary = await opened.run(org, extraction="local")
    assert (summary.status, summary.failed, struck(simulator)) == ("complete", 0, 1)
    assert requests(simulator)[kind.paid] == 5
    assert_every_cell_once(path, org)
    (row,) = (row for row in runs(path) if row["maybe_charged_micro_usd"] > 0)
    assert (row["question"], row["status"], row["attempts"]) == (victim, "answered", 2)
    assert summary.maybe_charged_micro_usd == row["maybe_charged_micro_usd"]
    # What is stored as cost is what the answers cost; the lost charge is not mixed in.
    charges = [c["micro_usd"] for c in simulator.ledger()["charges"] if c["inputs"] == [victim]]
    assert len(charges) == (1 if fault in ("close_before_reply", "hang_uncharged") else 2)
    lost = sum(charges[:-1])
    assert summary.total_cost_micro_usd == stored_cost(path) == simulator.ledger()["charged_micro_usd"] - lost
    await assert_sound(path)


async def assert_given_up_after_one_resend(
    path: Path, simulator: Simulator, kind: Kind, fault: str, **limits: int
) -> None:
    """The fault strikes always: two attempts, a failure that says so, a resume that completes and forgets no charge."""
    org = quillmark(3, (kind.model, "perplexity"))
    victim = org.question_list[0].text
    simulator.inject({"endpoint": kind.paid, "prompt_contains": victim}, fault, None)
    async with pipeline(simulator, url(path), **limits) as opened:
        first = await opened.run(org, extraction="local")
        assert (first.failed, kinds_of(first), struck(simulator)) == (1, {"outcome_unknown"}, 2)
        (row,) = (row for row in runs(path) if row["status"] == "failed")
        assert (row["question"], row["error_kind"], row["attempts"]) == (victim, "outcome_unknown", 2)
        assert (row["cost_micro_usd"], first.maybe_charged_micro_usd) == (0, row["maybe_charged_micro_usd"])
        assert row["maybe_charged_micro_usd"] > 0
        (error,) = first.processing_errors
        assert (error["context"]["maybe_charged"], error["context"]["attempts"]) == (True, 2)
        assert error["context"]["cell"] == row["cell_key"]
        simulator.clear_faults()
        again = await opened.resume(first.batch_id)
    assert (again.status, again.failed, struck(simulator)) == ("complete", 0, 2)
    assert again.maybe_charged_micro_usd == first.maybe_charged_micro_usd, "the resume changed what may be charged"
    (row,) = (row for row in runs(path) if row["maybe_charged_micro_usd"] > 0)
    assert (row["question"], row["status"]) == (victim, "answered")
    assert_every_cell_once(path, org)
    await assert_sound(path)


@pytest.mark.parametrize("fault", CLOSES)
@every_direct_kind
async def test_f10_a_closed_connection_is_one_paid_resend(
    tmp_path: Path, simulator: Simulator, kind: Kind, fault: str
) -> None:
    await assert_sent_again_once(tmp_path / "s.db", simulator, kind, fault)


@pytest.mark.parametrize("fault", CLOSES)
@every_direct_kind
async def test_f10_connections_that_always_close_are_given_up(
    tmp_path: Path, simulator: Simulator, kind: Kind, fault: str
) -> None:
    await assert_given_up_after_one_resend(tmp_path / "s.db", simulator, kind, fault)


@pytest.mark.parametrize("fault", HANGS)
@every_direct_kind
async def test_f13_headers_that_never_come_are_one_paid_resend(
    tmp_path: Path, simulator: Simulator, kind: Kind, fault: str
) -> None:
    await assert_sent_again_once(tmp_path / "s.db", simulator, kind, fault, answer_timeout_ms=700)


@pytest.mark.parametrize("fault", HANGS)
@every_direct_kind
async def test_f13_headers_that_always_fail_to_come_are_given_up(
    tmp_path: Path, simulator: Simulator, kind: Kind, fault: str
) -> None:
    await assert_given_up_after_one_resend(tmp_path / "s.db", simulator, kind, fault, answer_timeout_ms=700)


@pytest.mark.parametrize("fault", ["charge_then_close", "charge_then_500"])
async def test_f10_a_lost_extraction_call_is_one_paid_resend(tmp_path: Path, simulator: Simulator, fault: str) -> None:
    path, org = tmp_path / "s.db", quillmark(1)
    simulator.inject({"endpoint": "openai.responses", "prompt_contains": "You list the brands"}, fault)
    async with pipeline(simulator, url(path)) as opened:
        summary = await opened.run(org)
    assert (summary.status, summary.evaluations, struck(simulator)) == ("complete", 1, 1)
    (row,) = rows(path, "SELECT * FROM extractions")
    assert row["error"] is None
    assert summary.maybe_charged_micro_usd == row["maybe_charged_micro_usd"] > 0
    assert runs(path)[0]["maybe_charged_micro_usd"] == 0, "the answer's call was not lost"
    lists = [said for said in simulator.truth()["extractions"] if said["schema"] == "competitors"]
    assert len(lists) == 2
    lost = simulator.ledger()["charged_micro_usd"] - summary.total_cost_micro_usd
    assert 0 < lost < summary.total_cost_micro_usd
    await assert_sound(path)


@pytest.mark.parametrize("status", [500, 502, 504])
@every_direct_kind
async def test_f37_a_gateway_error_may_hide_a_charge(
    tmp_path: Path, simulator: Simulator, kind: Kind, status: int
) -> None:
    """Two re-tries; each failed attempt may have reached the model and is booked apart."""
    path, org = tmp_path / "s.db", quillmark(2, (kind.model,))
    victim = org.question_list[0].text
    simulator.inject({"endpoint": kind.paid, "prompt_contains": victim}, f"charge_then:{status}:0", 2)
    async with pipeline(simulator, url(path)) as opened:
        summary = await opened.run(org, extraction="local")
    assert (summary.status, summary.failed) == ("complete", 0)
    (row,) = (row for row in runs(path) if row["maybe_charged_micro_usd"] > 0)
    assert (row["question"], row["attempts"]) == (victim, 3)
    assert asked(simulator)[kind.model, victim] == 3
    lost = sum([c["micro_usd"] for c in simulator.ledger()["charges"] if c["inputs"] == [victim]][:2])
    assert summary.total_cost_micro_usd == stored_cost(path) == simulator.ledger()["charged_micro_usd"] - lost
    assert summary.maybe_charged_micro_usd == row["maybe_charged_micro_usd"]
    await assert_sound(path)


@every_direct_kind
async def test_f37_gateway_errors_without_end_fail_the_question(
    tmp_path: Path, simulator: Simulator, kind: Kind
) -> None:
    path, org = tmp_path / "s.db", quillmark(3, (kind.model,))
    victim = org.question_list[0].text
    simulator.inject({"endpoint": kind.paid, "prompt_contains": victim}, "status:502:0", None)
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(org, extraction="local")
        (row,) = (row for row in runs(path) if row["status"] == "failed")
        assert (row["question"], row["error_kind"], row["attempts"]) == (victim, "overloaded", 3)
        assert struck(simulator) == 3
        assert first.maybe_charged_micro_usd == row["maybe_charged_micro_usd"] > 0
        simulator.clear_faults()
        again = await opened.resume(first.batch_id)
    assert (again.status, again.failed) == ("complete", 0)
    assert again.maybe_charged_micro_usd == first.maybe_charged_micro_usd
    assert set(asked(simulator).values()) == {1}
    await assert_sound(path)


async def test_f10_a_lost_call_for_the_names_stays_on_the_books(tmp_path: Path, simulator: Simulator) -> None:
    """It belongs to no question; the first call of an extraction model is the one for the names."""
    path, org = tmp_path / "s.db", quillmark(1)
    simulator.inject({"endpoint": "openai.responses", "nth": 1}, "charge_then_close")
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(org)
        again = await opened.resume(first.batch_id)
    assert (first.status, first.evaluations, struck(simulator)) == ("complete", 1, 1)
    assert [row["maybe_charged_micro_usd"] for row in runs(path)] == [0]
    assert again.maybe_charged_micro_usd == first.maybe_charged_micro_usd > 0
    await assert_sound(path)

"""Bad days, one fault each: what the store says was paid equals what the other side charged, to the micro-dollar.

A charge whose reply was lost cannot be known; it is booked apart as `maybe_charged` and never mixed into the cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_help import (
    asked,
    assert_every_cell_once,
    assert_paid_as_charged,
    pipeline,
    quillmark,
    requests,
    rows,
    run,
    stored_cost,
    url,
)
from overheard.simulator import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=4, snapshot_ms=30, perfect=True) as running:
        yield running


DIRECT = ("gpt-4.1", "claude-sonnet-4-5")

NOTHING_LOST = [
    # (endpoint, fault, times): nothing is charged for the spoilt call, or its charge is settled.
    ("openai.responses", "rate_limited:0", 2),
    ("openai.responses", "status:500:0", 2),
    ("openai.responses", "status:503:0", 2),
    ("openai.responses", "overloaded:0", 2),
    ("openai.responses", "failed_200", 1),
    ("anthropic.messages", "rate_limited:0", 2),
    ("anthropic.messages", "overloaded:0", 2),
    ("anthropic.messages", "status:500:0", 2),
    ("anthropic.messages", "pause", 1),
    ("anthropic.messages", "search_error", 2),
    ("brightdata.trigger", "error_rows:5", 1),
    ("brightdata.trigger", "drop_rows:4", 1),
    ("brightdata.trigger", "duplicate_rows:0", 1),
    ("brightdata.trigger", "shuffle_rows", 1),
    ("brightdata.trigger", "no_index", 1),
    ("brightdata.trigger", "string_index", 1),
    ("brightdata.trigger", "changed_echo", 1),
    ("brightdata.trigger", "ndjson", 1),
    ("brightdata.trigger", "data_wrapper", 1),
    ("brightdata.trigger", "snapshot_failed", 1),
    ("brightdata.trigger", "snapshot_canceled", 1),
    ("brightdata.trigger", "string_citations", 1),
    ("brightdata.trigger", "null_citations", 1),
    ("brightdata.trigger", "junk_citations", 1),
    ("brightdata.progress", "status:500:0", 2),
    ("brightdata.progress", "close_before_reply", 2),
    ("brightdata.progress", "not_json", 2),
    ("brightdata.snapshot", "status:502:0", 2),
    ("brightdata.snapshot", "close_before_reply", 2),
    ("brightdata.snapshot", "truncated_body", 2),
    ("brightdata.snapshot", "corrupt_gzip", 1),
    ("brightdata.snapshot", "bad_chunk", 1),
]


@pytest.mark.parametrize(("endpoint", "fault", "times"), NOTHING_LOST)
async def test_a_bad_day_costs_what_the_other_side_charged(
    tmp_path: Path, simulator: Simulator, endpoint: str, fault: str, times: int
) -> None:
    path, org = tmp_path / "s.db", quillmark(8, ("chatgpt", *DIRECT))
    simulator.inject({"endpoint": endpoint}, fault, times)
    summary = await run(simulator, url(path), org)
    assert sum(simulator.ledger(charges=False)["faults"].values()) == times, "the fault never struck"
    assert (summary.status, summary.failed, summary.processing_errors) == ("complete", 0, ())
    assert_every_cell_once(path, org)
    assert_paid_as_charged(path, simulator, summary)
    # Every answered question was paid once, by whatever way its answer came.
    (bought,) = rows(path, "SELECT count(*) AS count FROM question_runs WHERE status = 'answered' AND records = 1")
    assert bought["count"] == 8


# Charged, and the reply is spoilt: a second charge for the same question that we cannot know exactly.
LOST = [
    ("openai.responses", "charge_then_500"),
    ("openai.responses", "charge_then:502:0"),
    ("openai.responses", "charge_then_close"),
    ("openai.responses", "truncated_body"),
    ("openai.responses", "bad_chunk"),
    ("anthropic.messages", "charge_then_500"),
    ("anthropic.messages", "charge_then_close"),
]


@pytest.mark.parametrize(("endpoint", "fault"), LOST)
async def test_a_charge_whose_reply_was_lost_is_booked_apart(
    tmp_path: Path, simulator: Simulator, endpoint: str, fault: str
) -> None:
    path, org = tmp_path / "s.db", quillmark(4, DIRECT)
    victim = org.question_list[1].text
    model = DIRECT[endpoint.startswith("anthropic")]
    simulator.inject({"endpoint": endpoint, "prompt_contains": victim}, fault)
    summary = await run(simulator, url(path), org, extraction="local")
    assert (summary.status, summary.failed) == ("complete", 0)
    assert_every_cell_once(path, org)
    assert asked(simulator)[model, victim] == 2, "one paid re-send, not more"
    charges = [c for c in simulator.ledger()["charges"] if (c["model"], c["inputs"]) == (model, [victim])]
    lost = charges[0]["micro_usd"]
    charged = simulator.ledger()["charged_micro_usd"]
    assert summary.total_cost_micro_usd == stored_cost(path) == charged - lost
    assert summary.maybe_charged_micro_usd > 0
    (row,) = rows(path, "SELECT * FROM question_runs WHERE maybe_charged_micro_usd > 0")
    assert (row["question"], row["model"], row["attempts"]) == (victim, model, 2)


@pytest.mark.parametrize(("endpoint", "model"), [("openai.responses", DIRECT[0]), ("anthropic.messages", DIRECT[1])])
async def test_a_lost_reply_is_paid_for_again_at_most_once(
    tmp_path: Path, simulator: Simulator, endpoint: str, model: str
) -> None:
    path, org = tmp_path / "s.db", quillmark(2, (model,))
    victim = org.question_list[0].text
    simulator.inject({"endpoint": endpoint, "prompt_contains": victim}, "charge_then_close", None)
    summary = await run(simulator, url(path), org, extraction="local")
    assert asked(simulator)[model, victim] == 2
    assert summary.failed == 1
    (row,) = rows(path, "SELECT * FROM question_runs WHERE status = 'failed'")
    assert (row["question"], row["cost_micro_usd"]) == (victim, 0)
    assert row["maybe_charged_micro_usd"] > 0
    (error,) = summary.processing_errors
    assert error["context"]["maybe_charged"] is True


@pytest.mark.parametrize("fault", ["close_before_reply", "hang_uncharged"])
async def test_an_uncharged_loss_still_gets_one_resend_only(tmp_path: Path, simulator: Simulator, fault: str) -> None:
    path, org = tmp_path / "s.db", quillmark(2, ("gpt-4.1",))
    victim = org.question_list[0].text
    simulator.inject({"endpoint": "openai.responses", "prompt_contains": victim}, fault)
    async with pipeline(simulator, url(path), answer_timeout_ms=400) as opened:
        summary = await opened.run(org, extraction="local")
    assert (summary.failed, asked(simulator)["gpt-4.1", victim]) == (0, 1)
    assert summary.total_cost_micro_usd == simulator.ledger()["charged_micro_usd"] == stored_cost(path)
    assert requests(simulator)["openai.responses"] == 3


# A trigger whose reply is lost may have been accepted: it is looked for at the provider, and bought again only when it
# is certainly not there.
@pytest.mark.parametrize(
    ("fault", "triggers"),
    [
        ("status:500:0", 2),
        ("close_before_reply", 2),
        ("charge_then_500", 1),
        ("charge_then_close", 1),
        ("no_snapshot_id", 1),
        ("truncated_body", 1),
    ],
)
async def test_a_trigger_is_never_sent_twice_blindly(
    tmp_path: Path, simulator: Simulator, fault: str, triggers: int
) -> None:
    path, org = tmp_path / "s.db", quillmark(5)
    simulator.inject({"endpoint": "brightdata.trigger"}, fault)
    async with pipeline(simulator, url(path), unknown_grace_ms=3_000) as opened:
        summary = await opened.run(org, extraction="local")
    assert (summary.status, requests(simulator)["brightdata.trigger"]) == ("complete", triggers)
    assert simulator.ledger()["records"] == 5
    assert_every_cell_once(path, org)
    assert_paid_as_charged(path, simulator, summary)


@pytest.mark.parametrize("fault", ["snapshot_forever_running", "snapshot_unknown_word"])
async def test_a_snapshot_past_its_deadline_is_neither_bought_again_nor_forgotten(
    tmp_path: Path, simulator: Simulator, fault: str
) -> None:
    path, org = tmp_path / "s.db", quillmark(5, ("chatgpt", "gpt-4.1"))
    simulator.inject({"endpoint": "brightdata.trigger"}, fault)
    async with pipeline(simulator, url(path), snapshot_deadline_ms=300) as opened:
        first = await opened.run(org, extraction="local")
        assert (first.status, first.processed) == ("partial", 5)
        assert first.processing_errors
        again = await opened.resume(first.batch_id)
    assert (again.status, again.processed) == ("partial", 5)
    assert requests(simulator)["brightdata.trigger"] == 1, "triggered again while the first may still come"
    assert {row["model"] for row in rows(path, "SELECT DISTINCT model FROM question_runs")} == {"gpt-4.1"}


async def test_what_failed_and_may_have_been_charged_stays_booked_after_a_resume(
    tmp_path: Path, simulator: Simulator
) -> None:
    path, org = tmp_path / "s.db", quillmark(1, ("gpt-4.1",))
    simulator.inject({"endpoint": "openai.responses"}, "charge_then_close", 2)
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(org, extraction="local")
        assert (first.failed, first.maybe_charged_micro_usd > 0) == (1, True)
        again = await opened.resume(first.batch_id)
    assert again.complete
    assert again.maybe_charged_micro_usd >= first.maybe_charged_micro_usd
    (row,) = rows(path, "SELECT sum(maybe_charged_micro_usd) AS maybe FROM question_runs")
    assert row["maybe"] >= first.maybe_charged_micro_usd, "the resume forgot what the first start may have been charged"


@pytest.mark.parametrize(
    ("fault", "times"), [("broken_json", 1), ("broken_json", 2), ("invalid_schema", 1), ("invalid_schema", 2)]
)
async def test_wrong_json_of_an_extraction_is_paid_and_mended(
    tmp_path: Path, simulator: Simulator, fault: str, times: int
) -> None:
    path, org = tmp_path / "s.db", quillmark(1)
    simulator.inject({"endpoint": "openai.responses", "prompt_contains": "You list the brands"}, fault, times)
    async with pipeline(simulator, url(path)) as opened:
        summary = await opened.run(org)
        assert_paid_as_charged(path, simulator, summary)
        answers = [said for said in simulator.truth()["extractions"] if said["schema"] == "competitors"]
        assert len(answers) == 2, "one repair, not more"
        (kept,) = rows(path, "SELECT * FROM extractions")
        children = [
            row["count"]
            for table in ("org_evals", "org_competitors", "org_citations")
            for row in rows(path, f"SELECT count(*) AS count FROM {table}")
        ]
        if times == 1:
            assert kept["error"] is None
            assert kept["extracted_at_ms"]
            assert min(children) > 0
            return
        # Twice wrong: no rows, the charge is kept, the answer is kept; the next start extracts.
        assert kept["extracted_at_ms"] is None
        assert children == [0, 0, 0]
        assert summary.evaluations == 0
        assert summary.processing_errors
        again = await opened.resume(summary.batch_id)
        assert again.evaluations == 1
        assert simulator.ledger()["records"] == 1, "the answer was bought again"
        assert_paid_as_charged(path, simulator, again)


@pytest.mark.parametrize("fault", ["error_rows:2", "drop_rows:2"])
async def test_single_rows_that_failed_are_asked_again_by_a_resume_and_no_others(
    tmp_path: Path, simulator: Simulator, fault: str
) -> None:
    path, org = tmp_path / "s.db", quillmark(8)
    simulator.inject({"endpoint": "brightdata.trigger"}, fault)
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(org)
        assert (first.processed, first.failed) in ((8, 2), (8, 0))
        assert_paid_as_charged(path, simulator, first)
        again = await opened.resume(first.batch_id)
    assert (again.status, again.failed, again.evaluations) == ("complete", 0, 8)
    assert_every_cell_once(path, org)
    assert_paid_as_charged(path, simulator, again)
    assert simulator.ledger()["records"] == 8, "an answered question was bought again"


@pytest.mark.parametrize("rows_wrong", ["error_rows:all", "auth_wall_all", "drop_rows:all"])
async def test_rows_that_stay_wrong_are_failures_and_cost_nothing(
    tmp_path: Path, simulator: Simulator, rows_wrong: str
) -> None:
    path, org = tmp_path / "s.db", quillmark(4)
    wrong = "error_rows:100" if rows_wrong == "error_rows:all" else rows_wrong
    wrong = "drop_rows:100" if rows_wrong == "drop_rows:all" else wrong
    simulator.inject({"endpoint": "brightdata.trigger"}, wrong, None)
    summary = await run(simulator, url(path), org, extraction="local")
    assert (summary.status, summary.failed, summary.answered) == ("partial", 4, 0)
    assert_every_cell_once(path, org)
    assert_paid_as_charged(path, simulator, summary)
    assert summary.total_cost_micro_usd == 0
    kinds = {row["error_kind"] for row in rows(path, "SELECT error_kind FROM question_runs")}
    assert kinds == {"record"}


async def test_a_wrong_question_alone_fails_and_the_others_are_stored(tmp_path: Path, simulator: Simulator) -> None:
    path = tmp_path / "s.db"
    org = quillmark(3, ("chatgpt", "gpt-4.1"))
    victim = org.question_list[1].text
    simulator.inject({"endpoint": "openai.responses", "prompt_contains": victim}, "status:400", None)
    summary = await run(simulator, url(path), org, extraction="local")
    assert (summary.processed, summary.failed, summary.answered) == (6, 1, 5)
    (row,) = rows(path, "SELECT * FROM question_runs WHERE status = 'failed'")
    assert (row["question"], row["model"], row["error_kind"]) == (victim, "gpt-4.1", "invalid_request")
    assert requests(simulator)["openai.responses"] == 3, "a 400 is not asked again"
    assert_paid_as_charged(path, simulator, summary)


async def test_max_cost_is_kept_over_all_starts_of_a_batch(tmp_path: Path, simulator: Simulator) -> None:
    path, org = tmp_path / "s.db", quillmark(40)
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(org, max_cost="0.03", extraction="local")
        assert first.status == "partial"
        assert 0 < simulator.ledger()["charged_micro_usd"] <= 30_000
        await opened.resume(first.batch_id)
        assert simulator.ledger()["charged_micro_usd"] <= 30_000
        assert_paid_as_charged(path, simulator)
        last = await opened.resume(first.batch_id, max_cost="1.00")
    assert last.complete
    assert_every_cell_once(path, org)
    assert_paid_as_charged(path, simulator, last)
    assert simulator.ledger()["records"] == 40


async def test_a_reply_without_usage_is_unpriced_and_never_zero(tmp_path: Path, simulator: Simulator) -> None:
    path, org = tmp_path / "s.db", quillmark(1, ("gpt-4.1",))
    simulator.inject({"endpoint": "openai.responses"}, "no_usage")
    summary = await run(simulator, url(path), org, extraction="local")
    (row,) = rows(path, "SELECT * FROM question_runs")
    assert (row["status"], row["cost_micro_usd"], row["unpriced"]) == ("answered", None, 1)
    assert (summary.unpriced, summary.total_cost_micro_usd) == (1, 0)


@pytest.mark.parametrize(("fault", "times"), [("status:400", 1), ("broken_json", 2), ("charge_then:400:0", 1)])
async def test_the_names_call_that_fails_falls_back_to_the_deterministic_forms(
    tmp_path: Path, simulator: Simulator, caplog: pytest.LogCaptureFixture, fault: str, times: int
) -> None:
    path, org = tmp_path / "s.db", quillmark(4)
    # The first structured calls of a run are those for the names.
    simulator.inject({"endpoint": "openai.responses"}, fault, times)
    with caplog.at_level("INFO", logger="overheard"):
        summary = await run(simulator, url(path), org)
    assert "the deterministic forms are used" in caplog.text
    assert (summary.status, summary.evaluations) == ("complete", 4)
    if not fault.startswith("charge"):
        assert_paid_as_charged(path, simulator, summary)

"""F11, F13, F38, F40, F41: a trigger whose snapshot id was lost. It is looked for at the provider: adopted, bought
again when it is certainly not there, or held and said; never bought twice blindly."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from e2e_help import Truth, assert_paid_as_charged, eventually, pipeline, quillmark, requests, url
from fault_help import assert_completed, assert_sound, impatient, kinds_of, runs, words_of
from overheard import Pipeline, Summary
from overheard.simulator import Simulator

COUNT = 5
GRACE = 400
"""Milliseconds until a lost submission that the list does not have is bought again."""
ORG = quillmark(COUNT)

BOUGHT = ("charge_then_close", "charge_then_500", "charge_then:504:0")
UNUSABLE = ("no_snapshot_id", "snapshot_id_number", "not_json", "html_200", "empty_200", "truncated_body")
NOT_BOUGHT = ("close_before_reply", "status:500:0", "status:502:0", "status:503:0")


def patient(
    simulator: Simulator, path: Path, *, on_unknown: str = "reconcile", grace_ms: int = GRACE, **settings: Any
) -> Pipeline:
    """A pipeline with a short grace for lost submissions, whose triggers give up after less than a second."""
    unknown: dict[str, Any] = {"on_unknown": on_unknown, "unknown_grace_ms": grace_ms}
    return impatient(pipeline(simulator, url(path), **unknown, **settings), 700)


def triggers(simulator: Simulator) -> int:
    return requests(simulator)["brightdata.trigger"]


async def finished(opened: Pipeline, first: Summary) -> Summary:
    """The batch's end: the reconcile may happen while the first start runs, or with the next one."""
    return first if first.complete else await opened.resume(first.batch_id)


def assert_held(summary: Summary) -> None:
    """The summary says that something is held and may have been charged."""
    held = [error for error in summary.processing_errors if "held" in error["message"]]
    assert held
    assert all(error["context"]["maybe_charged"] for error in held)


async def assert_adopted(path: Path, simulator: Simulator, fault: str) -> None:
    """One trigger, one charge, every answer stored, nothing left that may have been charged."""
    simulator.inject({"endpoint": "brightdata.trigger"}, fault)
    async with patient(simulator, path) as opened:
        summary = await finished(opened, await opened.run(ORG, extraction="local"))
    assert triggers(simulator) == 1, "bought again"
    await assert_completed(path, simulator, ORG, summary)
    assert summary.maybe_charged_micro_usd == 0, "it was found, so nothing is uncertain"


async def test_f11_a_trigger_closed_after_it_was_read_is_adopted(tmp_path: Path, simulator: Simulator) -> None:
    await assert_adopted(tmp_path / "s.db", simulator, "charge_then_close")


async def test_f13_a_trigger_without_headers_is_adopted(tmp_path: Path, simulator: Simulator) -> None:
    await assert_adopted(tmp_path / "s.db", simulator, "hang_headers")


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_f38_an_error_after_the_work_is_adopted(tmp_path: Path, simulator: Simulator, status: int) -> None:
    await assert_adopted(tmp_path / "s.db", simulator, f"charge_then:{status}:0")


@pytest.mark.parametrize("fault", UNUSABLE)
async def test_f40_a_trigger_without_a_usable_id_is_adopted(tmp_path: Path, simulator: Simulator, fault: str) -> None:
    await assert_adopted(tmp_path / "s.db", simulator, fault)


async def assert_bought_again(path: Path, simulator: Simulator, fault: str, grace_ms: int = GRACE) -> None:
    """Nothing was started: looked for twice, the second time after the grace, then bought."""
    simulator.inject({"endpoint": "brightdata.trigger"}, fault)
    async with patient(simulator, path, grace_ms=grace_ms) as opened:
        summary = await finished(opened, await opened.run(ORG, extraction="local"))
    assert (triggers(simulator), requests(simulator)["brightdata.list"] >= 2) == (2, True)
    await assert_completed(path, simulator, ORG, summary)
    assert summary.maybe_charged_micro_usd == 0, "it certainly was not bought"


async def test_f11_a_trigger_that_bought_nothing_is_sent_again_after_the_grace(
    tmp_path: Path, simulator: Simulator
) -> None:
    await assert_bought_again(tmp_path / "s.db", simulator, "close_before_reply")


async def test_f13_a_trigger_that_was_never_read_is_sent_again_after_the_grace(
    tmp_path: Path, simulator: Simulator
) -> None:
    await assert_bought_again(tmp_path / "s.db", simulator, "hang_uncharged", grace_ms=1_500)


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_f38_an_error_in_place_of_the_work_is_sent_again_after_the_grace(
    tmp_path: Path, simulator: Simulator, status: int
) -> None:
    await assert_bought_again(tmp_path / "s.db", simulator, f"status:{status}:0")


async def test_f11_a_list_that_lags_is_asked_again(tmp_path: Path, simulator: Simulator) -> None:
    path = tmp_path / "s.db"
    simulator.inject({"endpoint": "brightdata.list"}, "lagging_list:60", 1)
    await assert_adopted(path, simulator, "charge_then_close")
    assert requests(simulator)["brightdata.list"] >= 2


async def test_f11_inputs_in_another_order_are_the_same_inputs(tmp_path: Path, simulator: Simulator) -> None:
    simulator.inject({"endpoint": "brightdata.input"}, "inputs_reordered", None)
    await assert_adopted(tmp_path / "s.db", simulator, "charge_then_close")


@pytest.mark.parametrize(
    ("endpoint", "fault"),
    [
        ("brightdata.input", "inputs_expired"),
        ("brightdata.list", "status:500:0"),
        ("brightdata.list", "not_json"),
    ],
)
async def test_f11_what_cannot_be_looked_up_is_held_and_said(
    tmp_path: Path, simulator: Simulator, endpoint: str, fault: str
) -> None:
    """However often it is started; when list and inputs answer again, the next start adopts it."""
    path = tmp_path / "s.db"
    simulator.inject({"endpoint": "brightdata.trigger"}, "charge_then_close")
    simulator.inject({"endpoint": endpoint}, fault, None)
    async with patient(simulator, path) as opened:
        first = await opened.run(ORG, extraction="local")
        held = await opened.resume(first.batch_id)
        for summary in (first, held):
            assert (summary.status, summary.processed) == ("partial", 0)
            assert_held(summary)
            assert summary.maybe_charged_micro_usd == COUNT * 1_500, "what may have been bought stands apart"
            assert summary.total_cost_micro_usd == 0
        assert (triggers(simulator), runs(path)) == (1, [])
        await assert_sound(path)
        simulator.clear_faults()
        again = await opened.resume(first.batch_id)
    assert triggers(simulator) == 1
    await assert_completed(path, simulator, ORG, again)
    assert again.maybe_charged_micro_usd == 0


async def test_f11_hold_never_looks_and_retrigger_books_the_loss(tmp_path: Path, simulator: Simulator) -> None:
    path = tmp_path / "s.db"
    simulator.inject({"endpoint": "brightdata.trigger"}, "charge_then_close")
    async with patient(simulator, path, on_unknown="hold") as opened:
        first = await opened.run(ORG, extraction="local")
        held = await opened.resume(first.batch_id)
    assert [(s.status, s.processed, kinds_of(s)) for s in (first, held)] == [("partial", 0, {"outcome_unknown"})] * 2
    assert triggers(simulator) == 1
    assert requests(simulator).keys().isdisjoint({"brightdata.list", "brightdata.input"})
    async with patient(simulator, path, on_unknown="retrigger") as opened:
        again = await opened.resume(first.batch_id)
    assert (again.status, again.failed, triggers(simulator)) == ("complete", 0, 2)
    await eventually(lambda: simulator.ledger()["records"] == 2 * COUNT, "both snapshots are charged")
    assert again.total_cost_micro_usd + again.maybe_charged_micro_usd == simulator.ledger()["charged_micro_usd"]
    assert again.maybe_charged_micro_usd == COUNT * 1_500, "the loss is on the books"
    await assert_sound(path)


def get(simulator: Simulator, path: str, body: Any = None) -> Any:
    """One call of somebody else with the same account."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": "Bearer k", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{simulator.url}{path}", data, headers)) as reply:
        return json.load(reply)


def triggered_by_somebody_else(simulator: Simulator, inputs: Any) -> str:
    dataset = "gd_m7aof0k82r803d5bjm"
    reply = get(simulator, f"/datasets/v3/trigger?dataset_id={dataset}&include_errors=true", inputs)
    return str(reply["snapshot_id"])


def inputs_of_the_last_snapshot(simulator: Simulator) -> Any:
    newest, *_ = get(simulator, "/datasets/v3/snapshots?dataset_id=gd_m7aof0k82r803d5bjm")
    return get(simulator, f"/datasets/v3/snapshot/{newest['id']}/input")


async def test_f11_of_two_that_match_the_oldest_is_adopted_and_the_other_is_a_loss(
    tmp_path: Path, simulator: Simulator
) -> None:
    path = tmp_path / "s.db"
    simulator.inject({"endpoint": "brightdata.trigger"}, "charge_then_close")
    async with patient(simulator, path, on_unknown="hold") as opened:
        first = await opened.run(ORG, extraction="local")
    triggered_by_somebody_else(simulator, inputs_of_the_last_snapshot(simulator))
    await eventually(lambda: simulator.ledger()["records"] == 2 * COUNT, "both are ready")
    async with patient(simulator, path) as opened:
        again = await opened.resume(first.batch_id)
    assert (again.status, again.failed, triggers(simulator)) == ("complete", 0, 2)
    # The first that was served of each question is ours.
    truth = Truth(simulator)
    for row in runs(path):
        assert row["answer_text"].strip() == truth.served(row)[0]["text"].strip()
    assert again.total_cost_micro_usd + again.maybe_charged_micro_usd == simulator.ledger()["charged_micro_usd"]
    assert sum(row["cost_micro_usd"] for row in runs(path)) == COUNT * 1_500
    assert "duplicate" in words_of(again)
    await assert_sound(path)


async def test_f11_the_order_of_rows_decides_between_two_that_match(tmp_path: Path, simulator: Simulator) -> None:
    """Somebody else's older snapshot has the same inputs in another order: it is not ours."""
    org = quillmark(15)  # so many that two orders made by chance are never the same
    with Simulator(seed=30, snapshot_ms=0, perfect=True) as other:
        async with pipeline(other, url(tmp_path / "other.db")) as opened:
            await opened.run(org, extraction="local")
        inputs = inputs_of_the_last_snapshot(other)
    theirs = [line | {"index": place} for place, line in enumerate(inputs[::-1], 1)]
    triggered_by_somebody_else(simulator, theirs)
    path = tmp_path / "s.db"
    simulator.inject({"endpoint": "brightdata.trigger"}, "charge_then_close")
    async with patient(simulator, path) as opened:
        summary = await finished(opened, await opened.run(org, extraction="local"))
    assert (summary.status, summary.failed, triggers(simulator)) == ("complete", 0, 2)
    truth = Truth(simulator)
    for row in runs(path):
        assert row["answer_text"].strip() == truth.served(row)[1]["text"].strip(), "the other's snapshot was adopted"
    await assert_sound(path)


async def test_f11_a_snapshot_with_other_inputs_is_not_adopted(tmp_path: Path, simulator: Simulator) -> None:
    """The list holds a snapshot of four of our five questions."""
    with Simulator(seed=30, snapshot_ms=0, perfect=True) as other:
        async with pipeline(other, url(tmp_path / "other.db")) as opened:
            await opened.run(ORG, extraction="local")
        inputs = inputs_of_the_last_snapshot(other)
    triggered_by_somebody_else(simulator, inputs[:-1])
    path = tmp_path / "s.db"
    simulator.inject({"endpoint": "brightdata.trigger"}, "close_before_reply")
    async with patient(simulator, path) as opened:
        summary = await finished(opened, await opened.run(ORG, extraction="local"))
    assert (summary.status, summary.failed, triggers(simulator)) == ("complete", 0, 3)
    theirs = (COUNT - 1) * 1_500
    assert summary.total_cost_micro_usd == simulator.ledger()["charged_micro_usd"] - theirs
    await assert_sound(path)


@pytest.mark.parametrize(
    ("endpoint", "fault"), [("brightdata.input", "inputs_expired"), ("brightdata.list", "not_json")]
)
async def test_f11_what_is_held_is_an_unknown_outcome(
    tmp_path: Path, simulator: Simulator, endpoint: str, fault: str
) -> None:
    """Neither bad input nor a broken protocol: those mean that nothing is open."""
    simulator.inject({"endpoint": "brightdata.trigger"}, "charge_then_close")
    simulator.inject({"endpoint": endpoint}, fault, None)
    async with patient(simulator, tmp_path / "s.db") as opened:
        summary = await opened.run(ORG, extraction="local")
    assert kinds_of(summary) == {"outcome_unknown"}


@pytest.mark.parametrize("fault", [*BOUGHT, *UNUSABLE, *NOT_BOUGHT])
async def test_f11_a_lost_trigger_is_not_repeated_while_nobody_looked(
    tmp_path: Path, simulator: Simulator, fault: str
) -> None:
    """The list is not to be had: one trigger, and an error that says it may have been charged, at every start."""
    path = tmp_path / "s.db"
    simulator.inject({"endpoint": "brightdata.trigger"}, fault)
    simulator.inject({"endpoint": "brightdata.list"}, "not_json", None)
    async with patient(simulator, path) as opened:
        first = await opened.run(ORG, extraction="local")
        again = await opened.resume(first.batch_id)
    assert triggers(simulator) == 1
    assert runs(path) == []
    for summary in (first, again):
        assert summary.status == "partial"
        assert_held(summary)
    await assert_sound(path)


async def test_f41_an_id_that_is_known_already_is_refused(tmp_path: Path, simulator: Simulator) -> None:
    """The second trigger answers with the id of the first, whose rows answer other questions."""
    path, org = tmp_path / "s.db", quillmark(40)
    simulator.inject({"endpoint": "brightdata.trigger", "nth": 2}, "same_snapshot_id")
    simulator.inject({"endpoint": "brightdata.list"}, "not_json", None)
    async with patient(simulator, path, brightdata_in_flight=2, brightdata_triggers=1) as opened:
        first = await opened.run(org, extraction="local")
        assert (first.status, first.processed) == ("partial", 20)
        assert "internal" in kinds_of(first)
        truth = Truth(simulator)
        for row in runs(path):
            truth.answer(row)
        assert triggers(simulator) == 2
        assert_paid_as_charged(path, simulator)
        held = await opened.resume(first.batch_id)
        assert (held.processed, triggers(simulator)) == (20, 2), "held, not bought again"
    await assert_sound(path)


async def test_f41_what_was_held_for_a_known_id_is_bought_after_the_grace(tmp_path: Path, simulator: Simulator) -> None:
    path, org = tmp_path / "s.db", quillmark(40)
    simulator.inject({"endpoint": "brightdata.trigger", "nth": 2}, "same_snapshot_id")
    async with patient(simulator, path, brightdata_in_flight=2, brightdata_triggers=1) as opened:
        summary = await finished(opened, await opened.run(org, extraction="local"))
    assert triggers(simulator) == 3
    await assert_completed(path, simulator, org, summary)


async def test_f41_an_id_of_another_batch_brings_no_answers(tmp_path: Path, simulator: Simulator) -> None:
    """The id is that of an earlier batch, whose journal is closed: every row echoes a question that was not asked."""
    async with patient(simulator, tmp_path / "s.db") as opened:
        await opened.run(ORG, extraction="local")
        others = quillmark(id="others", questions=[{"id": "q", "text": "Which spreadsheet suits a school of seven?"}])
        simulator.inject({"endpoint": "brightdata.trigger"}, "same_snapshot_id")
        first = await opened.run(others, extraction="local")
        # Nobody can say what became of its own question: not bought again unasked, and not free either.
        assert (first.status, first.failed, first.total_cost_micro_usd) == ("partial", 1, 0)
        assert (triggers(simulator), first.maybe_charged_micro_usd) == (2, 1_500)
        assert "answers other questions" in words_of(first)
        again = await opened.resume(first.batch_id)
    assert (again.status, again.answered, again.total_cost_micro_usd) == ("complete", 1, 1_500)
    assert again.maybe_charged_micro_usd == 1_500, "the resume forgot it"
    assert (triggers(simulator), simulator.ledger()["records"]) == (3, COUNT + 1)
    truth = Truth(simulator)
    for row in runs(tmp_path / "s.db"):
        truth.answer(row)

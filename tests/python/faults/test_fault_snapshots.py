"""F42 to F45: snapshots that fail, are late, never end or are gone. Nothing is bought twice without being told to."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e_help import assert_paid_as_charged, eventually, pipeline, quillmark, requests, url
from fault_help import assert_completed, assert_sound, impatient, kinds_of, runs, struck, words_of
from overheard.simulator import Simulator

PRICE = 1_500
ENDS = ("snapshot_failed", "snapshot_failed:Failed to trigger collector", "snapshot_canceled")


def triggers(simulator: Simulator) -> int:
    return requests(simulator)["brightdata.trigger"]


@pytest.mark.parametrize("fault", ENDS)
async def test_f42_a_snapshot_without_data_is_asked_again_once(
    tmp_path: Path, simulator: Simulator, fault: str
) -> None:
    """Nothing was charged, so its questions are asked once more, in smaller submissions, within the start."""
    path, org = tmp_path / "s.db", quillmark(8)
    simulator.inject({"endpoint": "brightdata.trigger"}, fault)
    async with pipeline(simulator, url(path)) as opened:
        summary = await opened.run(org, extraction="local")
    await assert_completed(path, simulator, org, summary)
    assert (triggers(simulator), summary.maybe_charged_micro_usd) == (3, 0)


@pytest.mark.parametrize("fault", ENDS)
async def test_f42_snapshots_that_keep_failing_are_failed_rows(
    tmp_path: Path, simulator: Simulator, fault: str
) -> None:
    path, org = tmp_path / "s.db", quillmark(8)
    simulator.inject({"endpoint": "brightdata.trigger"}, fault, None)
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(org, extraction="local")
        assert (first.status, first.processed, first.failed) == ("partial", 8, 8)
        assert {row["error_kind"] for row in runs(path)} == {"snapshot_failed"}
        assert "ended without data" in words_of(first)
        assert triggers(simulator) == 3, "asked again more than once"
        assert (first.total_cost_micro_usd, first.maybe_charged_micro_usd) == (0, 0)
        assert_paid_as_charged(path, simulator, first)
        await assert_sound(path)
        simulator.clear_faults()
        again = await opened.resume(first.batch_id)
    await assert_completed(path, simulator, org, again)


@pytest.mark.parametrize("word", ["reticulating", "collecting", "digesting"])
async def test_f42_an_unknown_word_means_still_running(tmp_path: Path, simulator: Simulator, word: str) -> None:
    path, org = tmp_path / "s.db", quillmark(4)
    simulator.inject({"endpoint": "brightdata.progress"}, f"snapshot_unknown_word:{word}", 5)
    async with pipeline(simulator, url(path)) as opened:
        summary = await opened.run(org, extraction="local")
    await assert_completed(path, simulator, org, summary)
    assert triggers(simulator) == 1
    assert requests(simulator)["brightdata.progress"] > 5


@pytest.mark.parametrize("fault", ["hang_headers", "close_before_reply", "slow_body:400", "stall_body"])
@pytest.mark.parametrize("endpoint", ["brightdata.progress", "brightdata.snapshot"])
async def test_f13_free_calls_are_tried_again(tmp_path: Path, simulator: Simulator, endpoint: str, fault: str) -> None:
    """Polls and downloads cost nothing: three bad ones are no error, and nothing is bought again."""
    path, org = tmp_path / "s.db", quillmark(4)
    simulator.inject({"endpoint": endpoint}, fault, 3)
    async with impatient(pipeline(simulator, url(path)), 600) as opened:
        summary = await opened.run(org, extraction="local")
    assert struck(simulator) == 3
    assert (triggers(simulator), summary.maybe_charged_micro_usd, summary.processing_errors) == (1, 0, ())
    await assert_completed(path, simulator, org, summary)


@pytest.mark.parametrize("fault", ["ready_then_building:2", "ready_then_200:2"])
async def test_f43_ready_and_yet_not_there_is_fetched_later(tmp_path: Path, simulator: Simulator, fault: str) -> None:
    path, org = tmp_path / "s.db", quillmark(4)
    simulator.inject({"endpoint": "brightdata.trigger"}, fault)
    async with pipeline(simulator, url(path)) as opened:
        summary = await opened.run(org, extraction="local")
    await assert_completed(path, simulator, org, summary)
    assert (triggers(simulator), requests(simulator)["brightdata.snapshot"]) == (1, 3)
    assert summary.processing_errors == ()


async def test_f44_a_snapshot_past_its_deadline_is_fetched_by_a_resume(tmp_path: Path) -> None:
    """Its note stays in the journal; it is neither cancelled nor bought again."""
    path, org = tmp_path / "s.db", quillmark(4, ("chatgpt", "gpt-4.1"))
    with Simulator(seed=44, snapshot_ms=1_500, perfect=True) as simulator:
        async with pipeline(simulator, url(path), snapshot_deadline_ms=200) as opened:
            first = await opened.run(org, extraction="local")
            assert (first.status, first.processed, kinds_of(first)) == ("partial", 4, {"deadline"})
            assert "a resume fetches it" in words_of(first)
            assert runs(path, "chatgpt") == []
            await assert_sound(path)
        await eventually(lambda: simulator.ledger()["records"] == 4, "the snapshot is ready and charged")
        async with pipeline(simulator, url(path)) as opened:
            again = await opened.resume(first.batch_id)
        assert requests(simulator).get("brightdata.cancel", 0) == 0
        assert triggers(simulator) == 1, "bought again"
        await assert_completed(path, simulator, org, again)


async def test_f44_a_snapshot_that_never_ends_is_asked_for_by_every_start(tmp_path: Path, simulator: Simulator) -> None:
    path, org = tmp_path / "s.db", quillmark(4, ("chatgpt", "gpt-4.1"))
    simulator.inject({"endpoint": "brightdata.trigger"}, "snapshot_forever_running")
    async with pipeline(simulator, url(path), snapshot_deadline_ms=100) as opened:
        first = await opened.run(org, extraction="local")
        for _ in range(2):
            polls = requests(simulator)["brightdata.progress"]
            again = await opened.resume(first.batch_id)
            assert requests(simulator)["brightdata.progress"] > polls
            assert (again.status, again.processed, kinds_of(again)) == ("partial", 4, {"deadline"})
    assert triggers(simulator) == 1
    assert runs(path, "chatgpt") == []
    await assert_sound(path)


@pytest.mark.parametrize("fault", ["snapshot_gone", "snapshot_expired"])
async def test_f45_a_snapshot_that_is_gone_is_not_bought_again_unasked(tmp_path: Path, fault: str) -> None:
    path, org = tmp_path / "s.db", quillmark(4, ("chatgpt", "gpt-4.1"))
    with Simulator(seed=45, snapshot_ms=1_000, perfect=True) as simulator:
        async with pipeline(simulator, url(path), snapshot_deadline_ms=100) as opened:
            first = await opened.run(org, extraction="local")
        await eventually(lambda: simulator.ledger()["records"] == 4, "the snapshot is ready and charged")
        simulator.inject({"endpoint": "brightdata.snapshot"}, fault, None)
        async with pipeline(simulator, url(path)) as opened:
            gone = await opened.resume(first.batch_id)
            assert (gone.processed, gone.failed) == (8, 4)
            assert {row["error_kind"] for row in runs(path, "chatgpt")} == {"snapshot_gone"}
            assert {row["maybe_charged_micro_usd"] for row in runs(path, "chatgpt")} == {PRICE}, "the loss"
            simulator.clear_faults()
            again = await opened.resume(first.batch_id)
        assert triggers(simulator) == 1, "bought again without consent"
        assert (again.failed, again.requests_made) == (4, 0)
        await assert_sound(path)


async def test_f45_with_consent_it_is_bought_again_and_the_loss_stays_on_the_books(tmp_path: Path) -> None:
    path, org = tmp_path / "s.db", quillmark(4)
    with Simulator(seed=45, snapshot_ms=1_000, perfect=True) as simulator:
        async with pipeline(simulator, url(path), snapshot_deadline_ms=100) as opened:
            first = await opened.run(org, extraction="local")
        await eventually(lambda: simulator.ledger()["records"] == 4, "the snapshot is ready and charged")
        simulator.inject({"endpoint": "brightdata.snapshot"}, "snapshot_expired", None)
        async with pipeline(simulator, url(path)) as opened:
            gone = await opened.resume(first.batch_id)
        assert (gone.total_cost_micro_usd, gone.maybe_charged_micro_usd) == (0, 4 * PRICE)
        await assert_sound(path)
        simulator.clear_faults()
        async with pipeline(simulator, url(path), on_unknown="retrigger") as opened:
            again = await opened.resume(first.batch_id)
        assert (again.status, again.failed, triggers(simulator)) == ("complete", 0, 2)
        assert (again.total_cost_micro_usd, again.maybe_charged_micro_usd) == (4 * PRICE, 4 * PRICE)
        assert simulator.ledger()["charged_micro_usd"] == 8 * PRICE
        await assert_sound(path)


async def test_f45_an_expired_snapshot_is_gone_at_once(tmp_path: Path, simulator: Simulator) -> None:
    """A 404 right after the trigger may mean "not yet"; the words "is expired" never do."""
    path, org = tmp_path / "s.db", quillmark(2)
    simulator.inject({"endpoint": "brightdata.progress"}, "snapshot_expired", None)
    async with pipeline(simulator, url(path), snapshot_deadline_ms=300) as opened:
        summary = await opened.run(org, extraction="local")
    assert {row["error_kind"] for row in runs(path)} == {"snapshot_gone"}
    assert summary.failed == 2

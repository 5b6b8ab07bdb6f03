"""An engine that is switched off, slow, ban-happy or returns garbage leaves the batch partial and the others complete;
a resume completes it when the engine is back. A test for each kind of provider and day: F03, F05, F13, F27, F33, F44.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_help import FAST, asked, assert_every_cell_once, assert_paid_as_charged, pipeline, quillmark, url
from fault_help import (
    BRIGHTDATA,
    KINDS,
    MODELS,
    Kind,
    assert_completed,
    assert_sound,
    every_direct_kind,
    every_kind,
    impatient,
    kinds_of,
    runs,
    states,
    words_of,
)
from overheard import Org, Pipeline, Summary
from overheard.simulator import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Snapshots are ready at the first look: after a 429 the next look is ten seconds later."""
    with Simulator(seed=3, snapshot_ms=0, answer_chars=600, perfect=True) as running:
        yield running


async def assert_others_complete(path: Path, kind: Kind, org: Org, summary: Summary) -> None:
    """The bad engine answered nothing, the others everything."""
    assert summary.status == "partial"
    answered = {row["model"]: 0 for row in runs(path)}
    for row in runs(path):
        answered[row["model"]] += row["status"] == "answered"
    assert answered.get(kind.model, 0) == 0
    others = {other.model for other in KINDS if other != kind}
    assert {model: answered[model] for model in others} == dict.fromkeys(others, len(org.question_list))
    assert {model for model, state in states(path).items() if state == "completed"} == others
    await assert_sound(path)


@every_kind
async def test_f03_an_engine_that_is_switched_off(tmp_path: Path, simulator: Simulator, kind: Kind) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: refused
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
        await assert_unreachable_and_completed(tmp_path / "s.db", simulator, kind, dead)


@every_kind
async def test_f05_an_engine_without_a_route(tmp_path: Path, simulator: Simulator, kind: Kind) -> None:
    """TCP has no route to a group of hosts, whatever the machine's table says."""
    await assert_unreachable_and_completed(tmp_path / "s.db", simulator, kind, "https://224.0.0.1:9")


async def assert_unreachable_and_completed(path: Path, simulator: Simulator, kind: Kind, dead: str) -> None:
    """Nothing was sent there, the others are complete, and a resume completes the batch when the engine is back."""
    org = quillmark(4, MODELS)
    variables = simulator.environment() | {f"{kind.name.upper()}_BASE_URL": dead}
    async with Pipeline(url(path), env=variables, **FAST) as opened:
        first = await opened.run(org, extraction="local")
    await assert_others_complete(path, kind, org, first)
    assert first.processing_errors
    assert first.maybe_charged_micro_usd == 0, "nothing was sent"
    assert_paid_as_charged(path, simulator, first)
    async with pipeline(simulator, url(path)) as opened:
        again = await opened.resume(first.batch_id)
    await assert_completed(path, simulator, org, again)


@every_direct_kind
async def test_f13_an_engine_that_is_slow(tmp_path: Path, simulator: Simulator, kind: Kind) -> None:
    path, org = tmp_path / "s.db", quillmark(4, MODELS)
    simulator.inject({"endpoint": kind.name}, "hang_uncharged", None)
    async with pipeline(simulator, url(path), answer_timeout_ms=1_000) as opened:
        first = await opened.run(org, extraction="local")
        await assert_others_complete(path, kind, org, first)
        simulator.clear_faults()
        again = await opened.resume(first.batch_id)
    assert again.maybe_charged_micro_usd == first.maybe_charged_micro_usd > 0
    await assert_completed(path, simulator, org, again)


async def test_f44_an_engine_whose_snapshots_are_slow(tmp_path: Path) -> None:
    path, org = tmp_path / "s.db", quillmark(4, MODELS)
    with Simulator(seed=3, snapshot_ms=1_000, answer_chars=600, perfect=True) as simulator:
        async with pipeline(simulator, url(path), snapshot_deadline_ms=100) as opened:
            first = await opened.run(org, extraction="local")
        await assert_others_complete(path, BRIGHTDATA, org, first)
        assert first.processing_errors
        async with pipeline(simulator, url(path)) as opened:
            again = await opened.resume(first.batch_id)
        await assert_completed(path, simulator, org, again)


@every_kind
async def test_f33_an_engine_that_is_ban_happy(tmp_path: Path, simulator: Simulator, kind: Kind) -> None:
    """Everything is "too fast" for as long as the first start lasts."""
    path, org = tmp_path / "s.db", quillmark(2, MODELS)
    simulator.inject({"endpoint": kind.name}, "rate_limited:0", None)
    async with pipeline(simulator, url(path), **kind.one) as opened:
        first = await opened.run(org, extraction="local")
        await assert_others_complete(path, kind, org, first)
        assert first.maybe_charged_micro_usd == 0, "a 429 is not charged"
        if kind == BRIGHTDATA:
            assert simulator.ledger()["replies"]["brightdata.trigger"]["429"] <= 8
        simulator.clear_faults()
        again = await opened.resume(first.batch_id)
    await assert_completed(path, simulator, org, again)


@every_kind
async def test_f33_the_summary_says_that_an_engine_is_ban_happy(
    tmp_path: Path, simulator: Simulator, kind: Kind
) -> None:
    simulator.inject({"endpoint": kind.name}, "rate_limited:0", None)
    async with pipeline(simulator, url(tmp_path / "s.db"), **kind.one) as opened:
        summary = await opened.run(quillmark(2, MODELS), extraction="local")
    assert "rate_limited" in kinds_of(summary)
    assert "429" in words_of(summary)


@pytest.mark.parametrize("fault", ["not_json", "html_200", "empty_200"])
@every_direct_kind
async def test_f27_an_engine_that_returns_garbage(tmp_path: Path, simulator: Simulator, kind: Kind, fault: str) -> None:
    """Each question was paid twice for nothing: one re-send, both charges apart, none of them in the cost."""
    path, org = tmp_path / "s.db", quillmark(2, MODELS)
    simulator.inject({"endpoint": kind.name}, fault, None)
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(org, extraction="local")
        await assert_others_complete(path, kind, org, first)
        assert first.processing_errors
        assert {times for (model, _), times in asked(simulator).items() if model == kind.model} == {2}
        assert first.maybe_charged_micro_usd > 0
        wasted = sum(c["micro_usd"] for c in simulator.ledger()["charges"] if c["model"] == kind.model)
        simulator.clear_faults()
        again = await opened.resume(first.batch_id)
    assert (again.status, again.failed) == ("complete", 0)
    assert_every_cell_once(path, org)
    assert again.maybe_charged_micro_usd == first.maybe_charged_micro_usd
    assert again.total_cost_micro_usd == simulator.ledger()["charged_micro_usd"] - wasted
    await assert_sound(path)


@pytest.mark.parametrize("fault", ["not_json", "html_200"])
@pytest.mark.parametrize("endpoint", ["brightdata.progress", "brightdata.snapshot"])
async def test_f27_a_scraper_whose_free_calls_return_garbage(
    tmp_path: Path, simulator: Simulator, endpoint: str, fault: str
) -> None:
    """The snapshot is bought; it is fetched when the scraper talks sense again."""
    path, org = tmp_path / "s.db", quillmark(4, MODELS)
    simulator.inject({"endpoint": endpoint}, fault, None)
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(org, extraction="local")
        await assert_others_complete(path, BRIGHTDATA, org, first)
        assert first.processing_errors
        simulator.clear_faults()
        again = await opened.resume(first.batch_id)
    await assert_completed(path, simulator, org, again)


@pytest.mark.parametrize("fault", ["not_json", "html_200", "hang_headers", "hang_uncharged", "close_before_reply"])
async def test_f38_a_scraper_of_which_every_call_is_bad(tmp_path: Path, simulator: Simulator, fault: str) -> None:
    """Also the trigger: what it bought is found, what it did not buy is bought when the scraper is back."""
    path, org = tmp_path / "s.db", quillmark(4, MODELS)
    simulator.inject({"endpoint": "brightdata"}, fault, None)
    async with impatient(pipeline(simulator, url(path), unknown_grace_ms=300), 500) as opened:
        first = await opened.run(org, extraction="local")
        await assert_others_complete(path, BRIGHTDATA, org, first)
        assert first.processing_errors
        simulator.clear_faults()
        again = await opened.resume(first.batch_id)
    await assert_completed(path, simulator, org, again)

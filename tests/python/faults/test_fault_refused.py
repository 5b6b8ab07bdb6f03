"""F30 to F32: a bad key, a bad question, no money. Never asked again; the first and last stop that provider only."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e_help import assert_paid_as_charged, pipeline, quillmark, requests, url
from fault_help import (
    BRIGHTDATA,
    DIRECT,
    KINDS,
    MODELS,
    Kind,
    assert_completed,
    assert_sound,
    every_kind,
    kinds_of,
    runs,
    states,
    words_of,
)
from overheard import Org
from overheard.simulator import Simulator


async def assert_stops_that_provider_only(
    path: Path, simulator: Simulator, kind: Kind, error: str, *, count: int = 8
) -> None:
    """The others complete, nothing is booked, at most one call followed the refusal, and a resume completes."""
    org = quillmark(count, MODELS)
    async with pipeline(simulator, url(path), **kind.one) as opened:
        first = await opened.run(org, extraction="local")
        sent = requests(simulator)[kind.paid]
        # One was in flight; one more may have been on its way when its refusal was read.
        assert sent <= 2, f"{sent} calls to a provider that refuses all"
        assert (first.status, kinds_of(first)) == ("partial", {error})
        assert kind.key in words_of(first), words_of(first)
        assert states(path) == {other.model: "failed" if other == kind else "completed" for other in KINDS}
        assert runs(path, kind.model) == [], "a question that was not asked is no failed question"
        assert first.maybe_charged_micro_usd == 0
        assert_paid_as_charged(path, simulator, first)
        await assert_sound(path)
        simulator.clear_faults()
        again = await opened.resume(first.batch_id)
    await assert_completed(path, simulator, org, again)


@pytest.mark.parametrize("status", [401, 403])
@every_kind
async def test_f30_a_bad_key_stops_its_provider(tmp_path: Path, simulator: Simulator, kind: Kind, status: int) -> None:
    simulator.inject({"endpoint": kind.name}, f"status:{status}", None)
    count = 41 if kind == BRIGHTDATA else 8  # three paid calls, or more
    await assert_stops_that_provider_only(tmp_path / "s.db", simulator, kind, "auth", count=count)


MONEY = [
    (BRIGHTDATA, "status:402"),
    (BRIGHTDATA, "insufficient_quota"),
    *((DIRECT[0], f"quota:{code}") for code in ("insufficient_quota", "credit_balance_exhausted")),
    *((DIRECT[0], f"quota:{scope}_limit_exceeded") for scope in ("organization_usage", "organization_spend")),
    (DIRECT[0], "quota:project_spend_limit_exceeded"),
    (DIRECT[0], "status:402"),
    (DIRECT[1], "status:402"),
    (DIRECT[1], "spend_limit"),
    (DIRECT[1], "usage_limit"),
]


@pytest.mark.parametrize(("kind", "fault"), MONEY, ids=[f"{kind}-{fault}" for kind, fault in MONEY])
async def test_f32_no_money_stops_its_provider(tmp_path: Path, simulator: Simulator, kind: Kind, fault: str) -> None:
    simulator.inject({"endpoint": kind.name}, fault, None)
    await assert_stops_that_provider_only(tmp_path / "s.db", simulator, kind, "quota_exhausted")


async def assert_one_question_fails(path: Path, simulator: Simulator, kind: Kind, org: Org, victim: str) -> None:
    """The victim's question fails for what it is, costs nothing, and a resume does not ask it again."""
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(org, extraction="local")
        assert (first.processed, first.failed, first.maybe_charged_micro_usd) == (18, 1, 0)
        (bad,) = (row for row in runs(path) if row["status"] == "failed")
        assert (bad["question"], bad["model"], bad["error_kind"]) == (victim, kind.model, "invalid_request")
        assert bad["cost_micro_usd"] == bad["maybe_charged_micro_usd"] == 0
        assert kinds_of(first) == {"invalid_request"}
        assert first.processing_errors[0]["context"]["cell"] == bad["cell_key"]
        if kind != BRIGHTDATA:
            assert requests(simulator)[kind.paid] == 6, "a refused question was sent again"
        assert_paid_as_charged(path, simulator, first)
        simulator.clear_faults()
        before = requests(simulator)
        again = await opened.resume(first.batch_id)
    assert (again.requests_made, requests(simulator)) == (0, before), "bad input is not asked again"
    assert_paid_as_charged(path, simulator, again)
    await assert_sound(path)


@pytest.mark.parametrize("status", [400, 404, 413, 422])
@every_kind
async def test_f31_a_bad_question_fails_alone(tmp_path: Path, simulator: Simulator, kind: Kind, status: int) -> None:
    org = quillmark(6, MODELS)
    victim = org.question_list[3].text
    simulator.inject({"endpoint": kind.paid, "prompt_contains": victim}, f"status:{status}", None)
    await assert_one_question_fails(tmp_path / "s.db", simulator, kind, org, victim)

"""The pipeline against the simulator, over real sockets into real SQLite: money, phases, what a start continues."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from overheard import Location, Org, Outcome, Pipeline, Summary
from overheard.errors import ConfigError, StoreError
from overheard.orgfile import demo_org
from overheard.simulator import Simulator
from overheard.stores import SqlStore, open_store
from overheard.testing import FAST, make_batch, make_model_run
from overheard.verify import verify

ALL_MODELS = ("chatgpt", "perplexity", "gemini", "gpt-4.1", "claude-sonnet-4-5")


def an_org(questions: int = 4, models: Sequence[str] = ("chatgpt",), locations: Sequence[str] = ("US",)) -> Org:
    texts = [f"Which writing software is best, number {number}?" for number in range(questions)]
    return Org(
        "acme", "Quillmark", ["https://www.quillmark.example"], questions=texts, models=models, locations=locations
    )


async def until(condition: Callable[[], Any]) -> None:
    """Waits for what the simulator, on its own threads, will have seen."""
    while not condition():
        await asyncio.sleep(0.01)


def pipeline(simulator: Simulator, store: Any, **arguments: Any) -> Pipeline:
    return Pipeline(store, env=simulator.environment(), simulated=True, **{**FAST, **arguments})


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db"


def query(url: str, text: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    try:
        return connection.execute(text).fetchall()
    finally:
        connection.close()


async def all_invariants_hold(url: str) -> None:
    async with open_store(url) as store:
        assert [check.line() for check in await verify(store) if not check.passed] == []


async def test_the_demo_is_asked_once_and_costs_what_the_provider_charged(simulator: Simulator, url: str) -> None:
    summary = await pipeline(simulator, url).run("demo", questions=6)
    ledger = simulator.ledger()
    assert (summary.status, summary.total, summary.processed) == ("complete", 60, 60)
    assert summary.total_cost_micro_usd == ledger["charged_micro_usd"]
    assert query(url, "SELECT sum(records) FROM question_runs") == [(ledger["records"],)]
    assert summary.requests_made == sum(ledger["requests"].values())
    assert query(url, "SELECT count(DISTINCT cell_key) FROM question_runs") == [(60,)]
    assert summary.line().startswith(f"Question matrix completed: 60 processed, {summary.evaluations} evaluations, ")
    await all_invariants_hold(url)


async def test_every_citation_of_the_truth_is_stored(perfect: Simulator, url: str) -> None:
    await pipeline(perfect, url).run(demo_org(), questions=4, extraction="local")
    true = [
        (answer["model"], answer["country"], answer["prompt"], citation["url"])
        for answer in perfect.truth()["answers"]
        for citation in answer["citations"]
        if citation["cited"]
    ]
    stored = query(
        url,
        "SELECT q.model, q.location, q.question, c.url FROM org_citations c JOIN question_runs q"
        " ON q.batch_id = c.batch_id AND q.cell_key = c.cell_key",
    )
    assert true
    assert {(prompt, url.split("?")[0]) for _, _, prompt, url in true} <= {
        (prompt, url.split("?")[0]) for _, _, prompt, url in stored
    }


async def test_100_questions_on_one_pair_make_five_triggers(perfect: Simulator, url: str) -> None:
    summary = await pipeline(perfect, url).run(an_org(100), extraction="local")
    ledger = perfect.ledger()
    assert ledger["requests"]["brightdata.trigger"] == 5
    assert (summary.processed, summary.total_cost) == (100, "0.150000")


async def test_all_models_overlap_in_time(url: str) -> None:
    with Simulator(perfect=True, latency_ms=400, snapshot_ms=400) as simulator:
        await pipeline(simulator, url).run(an_org(2, ALL_MODELS), extraction="local")
        charges = simulator.ledger()["charges"]
    spans: dict[str, tuple[int, int]] = {}
    for charge in charges:
        start, end = spans.get(charge["model"], (charge["started_ms"], charge["finished_ms"]))
        spans[charge["model"]] = (min(start, charge["started_ms"]), max(end, charge["finished_ms"]))
    assert len(spans) == len(ALL_MODELS)
    assert max(start for start, _ in spans.values()) < min(end for _, end in spans.values())


async def test_a_second_start_of_a_finished_batch_makes_no_call_and_changes_nothing(
    simulator: Simulator, url: str
) -> None:
    async with pipeline(simulator, url) as running:
        first = await running.run(an_org(), batch_key="monday")
        before = simulator.ledger(charges=False)["requests"]
        rows = query(url, "SELECT * FROM geo_runs") + query(url, "SELECT * FROM batches")
        second = await running.run(an_org(), batch_key="monday")
        third = await running.resume(first.batch_id)
    assert first.batch_id == second.batch_id == third.batch_id
    assert (second.requests_made, third.requests_made) == (0, 0)
    assert simulator.ledger(charges=False)["requests"] == before
    assert (second.total_cost, second.citations) == (first.total_cost, first.citations)
    assert query(url, "SELECT * FROM geo_runs") + query(url, "SELECT * FROM batches") == rows


async def test_which_batch_a_start_continues(perfect: Simulator, url: str) -> None:
    async with pipeline(perfect, url) as running:
        open_batch = await running.create_batch(an_org())
        assert (await running.status(open_batch)).status == "partial"
        continued = await running.run(an_org())
        another = await running.run(an_org())
        keyed = await running.run(an_org(), batch_key="monday")
        again = await running.run(an_org(), batch_key="monday")
        forced = await running.run(an_org(), batch_key="monday", new=True)
        newest = await running.run(an_org(), batch_key="monday")
    assert continued.batch_id == open_batch
    assert len({open_batch, another.batch_id, keyed.batch_id, forced.batch_id}) == 4
    assert again.batch_id == keyed.batch_id
    assert newest.batch_id == forced.batch_id


async def test_the_phases_alone_give_what_both_give(perfect: Simulator, url: str) -> None:
    async with pipeline(perfect, url) as running:
        executed = await running.execute(an_org(models=("chatgpt", "gpt-4.1")))
        assert (executed.processed, executed.evaluations) == (8, 0)
        calls = perfect.ledger(charges=False)["requests"]["brightdata.trigger"]
        extracted = await running.extract(executed.batch_id)
        whole = await running.run(an_org(models=("chatgpt", "gpt-4.1")), new=True)
    assert perfect.ledger(charges=False)["requests"]["brightdata.trigger"] == calls + 1
    assert extracted.evaluations == whole.evaluations == 8
    assert extracted.status == "complete"
    await all_invariants_hold(url)


async def test_what_failed_is_asked_again_by_resume_only(perfect: Simulator, url: str) -> None:
    perfect.inject({"endpoint": "brightdata.snapshot"}, "error_rows", None)
    async with pipeline(perfect, url) as running:
        first = await running.run(an_org(), batch_key="k")
        assert first.failed > 0
        assert first.processing_errors
        same = await running.run(an_org(), batch_key="k")
        assert (same.requests_made, same.failed) == (0, first.failed)
        perfect.clear_faults()
        resumed = await running.resume(first.batch_id)
    assert (resumed.failed, resumed.answered) == (0, 4)
    await all_invariants_hold(url)


async def test_a_broken_key_stops_one_provider_and_the_next_start_goes_on(perfect: Simulator, url: str) -> None:
    perfect.inject({"endpoint": "brightdata.trigger"}, "status:401", None)
    org = an_org(models=("chatgpt", "gpt-4.1"))
    async with pipeline(perfect, url) as running:
        first = await running.run(org)
        status = await running.status(first.batch_id)
        assert (first.status, status.failed, status.completed) == ("partial", 1, 1)
        assert any("BrightData API returned status 401" in error["message"] for error in first.processing_errors)
        perfect.clear_faults()
        second = await running.run(org)
    assert (second.batch_id, second.status, second.answered) == (first.batch_id, "complete", 8)


async def test_the_budget_stops_and_a_higher_one_goes_on(perfect: Simulator, url: str) -> None:
    async with pipeline(perfect, url) as running:
        first = await running.run(an_org(30), max_cost="0.03", extraction="local")
        assert (first.status, first.interrupted) == ("partial", False)
        assert first.total_cost_micro_usd <= 30_000
        second = await running.run(an_org(30), max_cost="1.00")
    assert (second.batch_id, second.status, second.total_cost) == (first.batch_id, "complete", "0.045000")
    assert second.total_cost_micro_usd == perfect.ledger()["charged_micro_usd"]


async def test_a_stopped_run_is_continued_and_nothing_is_bought_twice(url: str) -> None:
    with Simulator(perfect=True, snapshot_ms=3000) as simulator:
        running = pipeline(simulator, url, grace_ms=500)

        async def stop_when_bought() -> None:
            await until(lambda: simulator.ledger(charges=False)["requests"].get("brightdata.progress"))
            running.stop()

        org = an_org(40)
        stopper = asyncio.ensure_future(stop_when_bought())
        first = await running.run(org, extraction="local")
        await stopper
        assert (first.interrupted, first.status) == (True, "partial")
        second = await pipeline(simulator, url).run(org)
        assert (second.batch_id, second.status, second.answered) == (first.batch_id, "complete", 40)
        assert second.total_cost_micro_usd == simulator.ledger()["charged_micro_usd"] == 60_000
    await all_invariants_hold(url)


async def test_a_model_run_that_another_system_inserted(perfect: Simulator, url: str) -> None:
    async with open_store(url) as store:
        await store.save_org(an_org())
        batch = make_batch(batch_size=2)
        await store.save_model_runs([make_model_run(batch, model, run_id=model) for model in ("chatgpt", "gpt-4.1")])
    async with pipeline(perfect, url) as running:
        first = await running.run_model("chatgpt")
        status = await running.status(batch.batch_id)
        assert (first.processed, status.completed, status.queued, status.status) == (4, 1, 1, "partial")
        await running.run_model("gpt-4.1")
        status = await running.status(batch.batch_id)
        with pytest.raises(ConfigError, match="no model run 'x'"):
            await running.run_model("x")
    assert status.to_dict()["complete"] is True
    assert status.message == "All models complete - insights reflect full cross-model analysis"


async def test_a_batch_at_work_is_locked(perfect: Simulator, url: str) -> None:
    perfect.inject({"endpoint": "brightdata.progress"}, "snapshot_forever_running", None)
    running = pipeline(perfect, url, grace_ms=1)
    task = asyncio.ensure_future(running.run(an_org()))
    async with open_store(url) as store:
        await until(lambda: perfect.ledger(charges=False)["requests"].get("brightdata.progress"))
        batch = await store.load_batch(org_id="acme")
        assert batch is not None
        status = await running.status(batch.batch_id)
        assert (status.status, status.message) == ("running", "Some models still running - insights may be partial")
        with pytest.raises(StoreError, match="is locked"):
            await pipeline(perfect, url).run(an_org())
    running.stop()
    assert (await task).interrupted


async def test_questions_models_and_locations_narrow(perfect: Simulator, url: str) -> None:
    summary = await pipeline(perfect, url).run(
        "demo", models=["gemini"], locations=["US", Location("DE")], questions=3, repeats=2, extraction="local"
    )
    assert summary.processed == 12
    assert query(url, "SELECT DISTINCT model, location FROM question_runs ORDER BY location") == [
        ("gemini", "DE"),
        ("gemini", "US"),
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"models": []}, "names no models"),
        ({"models": ["nonsense"]}, "no provider is known for model 'nonsense'"),
        ({"questions": 0}, "questions: must be at least 1"),
        ({"locations": ["us"]}, "write 'US'"),
        ({"max_cost": 1.5}, "max_cost"),
        ({"extraction": "llm_batch"}, "none of auto, local, llm, llm-batch"),
        ({"depth": 3}, "unknown option 'depth'"),
    ],
)
async def test_bad_input_is_told_before_anything_is_written(
    perfect: Simulator, url: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        await pipeline(perfect, url).run(an_org(), **options)
    assert query(url, "SELECT count(*) FROM batches") == [(0,)]
    assert perfect.ledger()["requests"] == {}


async def test_a_missing_key_names_its_variable_and_writes_nothing(url: str) -> None:
    with pytest.raises(ConfigError, match="BRIGHTDATA_API_KEY"):
        await Pipeline(url, env={}).run(an_org())
    assert query(url, "SELECT count(*) FROM batches") == [(0,)]


class Echo:
    """A provider of a user's own, in ten lines."""

    supports_batching = True
    max_batch_size = 3
    price_per_question = "0.01"

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def ask(self, requests: Sequence[Any]) -> list[Outcome]:
        self.sizes.append(len(requests))
        return [Outcome(f"Quillmark answers {request.question}") for request in requests]


async def test_a_provider_of_the_users_own_takes_part(perfect: Simulator, url: str) -> None:
    echo = Echo()
    summary = await pipeline(perfect, url, providers={"echo": echo}).run(
        an_org(10, models=("echo", "gpt-4.1")), extraction="local"
    )
    assert (summary.status, summary.processed) == ("complete", 20)
    assert sorted(echo.sizes) == [1, 3, 3, 3]
    assert query(url, "SELECT sum(cost_micro_usd) FROM question_runs WHERE model = 'echo'") == [(100_000,)]


def test_from_several_threads_with_their_own_loops(perfect: Simulator, tmp_path: Path) -> None:
    summaries: list[Summary] = []

    def work(number: int) -> None:
        running = pipeline(perfect, f"sqlite:///{tmp_path}/{number}.db")
        summaries.append(asyncio.run(running.run(an_org(5), extraction="local")))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [summary.status for summary in summaries] == ["complete"] * 4


def test_the_store_is_the_users_to_close(perfect: Simulator, url: str) -> None:
    async def work() -> SqlStore:
        async with open_store(url) as store, pipeline(perfect, store) as running:
            await running.run(an_org(1), extraction="local")
        return store

    asyncio.run(work())
    assert query(url, "SELECT count(*) FROM question_runs") == [(1,)]

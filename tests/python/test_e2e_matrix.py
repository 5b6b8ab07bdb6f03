"""One evaluation end to end over real sockets: what the store holds against what the simulator served and charged.

Everything here runs with the simulator's default imperfections: refusals, error rows, missing rows, invented names.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_help import (
    SCRAPED,
    Truth,
    asked,
    assert_every_cell_once,
    assert_paid_as_charged,
    dump,
    pipeline,
    plain_brand,
    questions,
    quillmark,
    registrable,
    requests,
    rows,
    run,
    url,
)
from overheard import BatchStatus, Location, Org, Summary
from overheard.simulator import Simulator

ALL_MODELS = (*SCRAPED, "gpt-4.1", "claude-sonnet-4-5")
EVALUATION = "org_evaluation"
FOREIGN = "8d0c5b34-2b0e-4b5e-9b61-000000000000"


@pytest.fixture(scope="module", params=[3, 11])
def world(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    # A download that is not ready asks for 30 s of patience: the one imperfection left out here.
    # What the model invents follows from its prompt, which holds a nonce: often enough that no run is without.
    rates = {"late_ready": 0.0, "structured_invented_name": 0.15}
    with Simulator(seed=request.param, snapshot_ms=50, rates=rates) as running:
        yield running


@pytest.fixture(scope="module")
def evaluated(world: Simulator, tmp_path_factory: pytest.TempPathFactory) -> tuple[Simulator, Path, Org, Summary]:
    """Five models, two locations, twelve questions, into SQLite; shared by the tests that only read."""
    path = tmp_path_factory.mktemp("matrix") / "store.db"
    org = quillmark(12, ALL_MODELS, ("US", "DE"))

    async def to_the_end() -> Summary:
        async with pipeline(world, url(path)) as opened:
            summary = await opened.run(org)
            # Single rows of a snapshot that failed are left to a resume.
            return await opened.resume(summary.batch_id) if summary.failed else summary

    return world, path, org, asyncio.run(to_the_end())


Evaluated = tuple[Simulator, Path, Org, Summary]


def extracted_runs(path: Path) -> list[dict[str, Any]]:
    return rows(
        path,
        "SELECT q.*, x.error AS extraction_error FROM question_runs q"
        " LEFT JOIN extractions x USING (batch_id, cell_key)"
        " WHERE q.status = 'answered' ORDER BY q.cell_key",
    )


async def test_every_cell_once(evaluated: Evaluated) -> None:
    simulator, path, org, summary = evaluated
    assert_every_cell_once(path, org)
    assert (summary.status, summary.total, summary.processed) == ("complete", 120, 120)
    unasked = {text for _, text in asked(simulator)} ^ {question.text for question in org.question_list}
    assert unasked == set()


async def test_cost_equals_the_ledger_to_the_micro_dollar(evaluated: Evaluated) -> None:
    simulator, path, _, summary = evaluated
    assert summary.total_cost_micro_usd > 0
    assert_paid_as_charged(path, simulator, summary)
    assert (summary.maybe_charged_micro_usd, summary.unpriced) == (0, 0)
    # Answers and extraction are booked where they belong.
    parts = {"structured": 0, "answer": 0}
    for charge in simulator.ledger()["charges"]:
        parts["structured" if charge["status"] == "structured" else "answer"] += charge["micro_usd"]
    (answers,) = rows(path, "SELECT sum(cost_micro_usd) AS cost FROM question_runs")
    (extracted,) = rows(path, "SELECT sum(cost_micro_usd) AS cost FROM extractions")
    (names,) = rows(path, "SELECT sum(overhead_micro_usd) AS cost FROM geo_runs")
    assert answers["cost"] == parts["answer"]
    assert extracted["cost"] + names["cost"] == parts["structured"]
    assert names["cost"] > 0


async def test_each_answer_is_the_one_that_was_served(evaluated: Evaluated) -> None:
    simulator, path, _, _ = evaluated
    truth = Truth(simulator)
    for row in rows(path, "SELECT * FROM question_runs WHERE status IN ('answered', 'refused')"):
        assert truth.answer(row)["prompt"] == row["question"]


async def test_every_citation_of_the_truth_is_stored_with_its_owner(evaluated: Evaluated) -> None:
    simulator, path, _, _ = evaluated
    truth = Truth(simulator)
    looked_at = 0
    for row in extracted_runs(path):
        if row["extraction_error"]:
            continue
        stored = rows(
            path,
            "SELECT * FROM org_citations WHERE batch_id = ? AND cell_key = ?",
            row["batch_id"],
            row["cell_key"],
        )
        answer = truth.answer(row)
        true = {citation["canonical_url"] for citation in answer["citations"]}
        found = [citation["canonical_url"] for citation in stored]
        assert len(found) == len(set(found)), f"{row['cell_key']}: a source twice"
        assert set(found) == true, f"{row['cell_key']}: missing {true - set(found)}, invented {set(found) - true}"
        for citation in stored:
            own = registrable(citation["canonical_url"]) == "quillmark.example"
            assert citation["type"] == ("primary" if own else "secondary"), citation
            assert citation["domain"] == registrable(citation["url"])
        looked_at += len(stored)
    assert looked_at > 200
    kinds = {row["type"] for row in rows(path, "SELECT DISTINCT type FROM org_citations")}
    assert kinds == {"primary", "secondary"}


async def test_competitors_are_those_of_the_truth_after_the_documented_checks(evaluated: Evaluated) -> None:
    simulator, path, org, _ = evaluated
    truth = Truth(simulator)
    mistakes = looked_at = 0
    configured = set(org.competitors)
    for row in extracted_runs(path):
        if row["extraction_error"]:
            continue
        answer = truth.answer(row)
        said = truth.said(answer["id"], "competitors")
        assert said is not None, f"{row['cell_key']}: nobody was asked for its competitors"
        named = {brand["name"]: brand["written"] for brand in answer["brands"]}
        # What the model missed is missed, but for what is configured: that is found without it, under its own name.
        expected = {
            name if name in configured else plain_brand(written)
            for name, written in named.items()
            if name in configured or (name != "Quillmark" and not {name, written} & set(said["missed_names"]))
        }
        mistakes += len(said["missed_names"]) + len(said["invented_names"])
        stored = rows(
            path,
            "SELECT name, position FROM org_competitors WHERE batch_id = ? AND cell_key = ? ORDER BY position",
            row["batch_id"],
            row["cell_key"],
        )
        assert [entry["position"] for entry in stored] == list(range(1, len(stored) + 1))
        assert {entry["name"] for entry in stored} == expected, row["cell_key"]
        spelled = [entry["name"] for entry in stored if entry["name"] not in configured]
        assert all(name in row["answer_text"] for name in spelled), f"{row['cell_key']}: {spelled}"
        looked_at += len(stored)
    assert looked_at > 100
    assert mistakes > 0, "this seed made no mistake: the checks were not tried"


async def test_mentions_are_those_of_the_truth(evaluated: Evaluated) -> None:
    simulator, path, _, _ = evaluated
    truth = Truth(simulator)
    counts = {True: 0, False: 0}
    for row in extracted_runs(path):
        if row["extraction_error"]:
            continue
        answer = truth.answer(row)
        (evaluation,) = rows(
            path, "SELECT * FROM org_evals WHERE batch_id = ? AND cell_key = ?", row["batch_id"], row["cell_key"]
        )
        said = truth.said(answer["id"], EVALUATION)
        true = next((brand for brand in answer["brands"] if brand["name"] == "Quillmark"), None)
        if said is not None and (said["missed_mention"] or said["invented_quotes"]):
            continue  # what the extraction model got wrong is looked at in the extraction's own tests
        assert bool(evaluation["mentioned"]) == (true is not None), row["cell_key"]
        counts[true is not None] += 1
        if true is not None:
            assert evaluation["sentiment"] == true["sentiment"], row["cell_key"]
            for passage in evaluation["mention_text"].split(" || "):
                assert passage in row["answer_text"]
        else:
            assert evaluation["mention_text"] is None
    assert min(counts.values()) > 5


async def test_no_model_is_asked_about_a_mention_where_no_name_stands(evaluated: Evaluated) -> None:
    simulator, _, _, _ = evaluated
    truth = Truth(simulator)
    asked_about = [entry for entry in truth.extractions if entry["schema"] == EVALUATION and entry["answer_id"]]
    assert asked_about
    for entry in asked_about:
        assert "quill" in truth.answers[entry["answer_id"]]["text"].lower()


async def test_a_second_start_makes_no_request_and_leaves_the_rows_as_they_are(evaluated: Evaluated) -> None:
    simulator, path, _, first = evaluated
    before, rows_before = requests(simulator), dump(path)
    async with pipeline(simulator, url(path)) as opened:
        again = await opened.resume(first.batch_id)
    # What an extraction or a cell failed of is asked again on a resume; this batch has neither.
    failed = rows(path, "SELECT 1 FROM extractions WHERE error IS NOT NULL")
    assert (first.failed, failed) == (0, [])
    assert requests(simulator) == before
    assert again.requests_made == 0
    assert dump(path) == rows_before
    assert (again.processed, again.total_cost_micro_usd) == (first.processed, first.total_cost_micro_usd)
    assert (again.citations, again.competitors, again.evaluations) == (
        first.citations,
        first.competitors,
        first.evaluations,
    )


async def test_the_summary_counts_the_rows(evaluated: Evaluated) -> None:
    _, path, _, summary = evaluated
    for table, said in (
        ("org_evals", summary.evaluations),
        ("org_citations", summary.citations),
        ("org_competitors", summary.competitors),
        ("question_runs", summary.processed),
    ):
        (row,) = rows(path, f"SELECT count(*) AS count FROM {table}")
        assert row["count"] == said, table


async def test_status_of_a_complete_batch(evaluated: Evaluated) -> None:
    simulator, path, _, summary = evaluated
    async with pipeline(simulator, url(path)) as opened:
        status: BatchStatus = await opened.status(summary.batch_id)
    assert (status.status, status.complete, status.finished, status.completed) == ("complete", True, True, 5)
    assert status.message.startswith("All models complete - insights reflect full cross-model analysis")
    assert {model["total"] for model in status.models} == {24}


async def test_100_short_questions_make_exactly_5_trigger_calls(tmp_path: Path) -> None:
    org = quillmark(100)
    with Simulator(seed=5, snapshot_ms=30, perfect=True) as simulator:
        summary = await run(simulator, url(tmp_path / "s.db"), org, extraction="local")
        assert requests(simulator)["brightdata.trigger"] == 5
        assert simulator.ledger()["records"] == 100
        assert summary.total_cost == "0.150000"
        assert summary.line().startswith("Question matrix completed: 100 processed, 100 evaluations, ")
        assert summary.line().endswith("$0.150000 total cost")
        assert_every_cell_once(tmp_path / "s.db", org)
        assert_paid_as_charged(tmp_path / "s.db", simulator, summary)


async def test_all_models_of_a_batch_overlap_in_time(tmp_path: Path) -> None:
    org = quillmark(20, ALL_MODELS, ("US", "DE"))
    with Simulator(seed=5, snapshot_ms=1_500, latency_ms=1_500, perfect=True) as simulator:
        await run(simulator, url(tmp_path / "s.db"), org, extraction="local")
        ledger = simulator.ledger()
    spans: dict[str, list[tuple[int, int]]] = {}
    for charge in ledger["charges"]:
        if charge["status"] != "structured":
            spans.setdefault(charge["model"], []).append((charge["started_ms"], charge["finished_ms"]))
    assert len(spans) == 5, spans.keys()
    # Some instant lies within work of every model.
    latest_start = max(min(start for start, _ in entries) for entries in spans.values())
    for model, entries in spans.items():
        assert any(start <= latest_start <= end for start, end in entries), (model, latest_start, entries)


async def test_repeats_are_cells_of_their_own(tmp_path: Path, perfect: Simulator) -> None:
    org = quillmark(3, ("chatgpt", "gpt-4.1"))
    summary = await run(perfect, url(tmp_path / "s.db"), org, repeats=3, extraction="local")
    assert summary.total == 18
    assert_every_cell_once(tmp_path / "s.db", org, repeats=3)
    assert set(asked(perfect).values()) == {3}
    assert_paid_as_charged(tmp_path / "s.db", perfect, summary)


async def test_a_run_is_narrowed(tmp_path: Path, perfect: Simulator) -> None:
    org = quillmark(6, ALL_MODELS, ("US", "DE"))
    narrowed = {"models": ["perplexity", "gpt-4.1"], "locations": ["DE"], "questions": 2}
    await run(perfect, url(tmp_path / "s.db"), org, **narrowed, extraction="local")
    assert_every_cell_once(tmp_path / "s.db", quillmark(2, ("perplexity", "gpt-4.1"), ("DE",)))
    assert sum(asked(perfect).values()) == 4


async def test_questions_are_chosen_by_their_ids(tmp_path: Path, perfect: Simulator) -> None:
    await run(perfect, url(tmp_path / "s.db"), quillmark(6), questions=["q004", "q001"], extraction="local")
    wanted = {entry["text"] for entry in questions(6) if entry["id"] in ("q001", "q004")}
    assert {text for _, text in asked(perfect)} == wanted


async def test_no_location_at_all(tmp_path: Path, perfect: Simulator) -> None:
    org = quillmark(2, ALL_MODELS, ())
    summary = await run(perfect, url(tmp_path / "s.db"), org, extraction="local")
    assert summary.complete
    assert_every_cell_once(tmp_path / "s.db", org)
    assert {answer["country"] for answer in perfect.truth()["answers"]} <= {None, ""}


async def test_the_location_goes_through_its_own_field_and_never_into_the_question(
    tmp_path: Path, perfect: Simulator
) -> None:
    org = quillmark(1, ALL_MODELS, (Location("DE", city="Berlin").to_dict(),))  # type: ignore[arg-type]
    await run(perfect, url(tmp_path / "s.db"), org, extraction="local")
    assert {answer["country"] for answer in perfect.truth()["answers"]} == {"DE"}
    assert {text for _, text in asked(perfect)} == {questions(1)[0]["text"]}
    for row in rows(tmp_path / "s.db", "SELECT model, location, location_applied FROM question_runs"):
        assert row["location"] == "DE//Berlin"
        # Bright Data takes a country alone; what it could not take is not claimed.
        assert row["location_applied"] == ("DE" if row["model"] in SCRAPED else "DE//Berlin"), row


async def test_phases_alone_give_what_all_together_give(tmp_path: Path) -> None:
    org = quillmark(6, ("chatgpt", "gpt-4.1"))
    tables = ("question_runs", "org_evals", "org_competitors", "org_citations")
    found = []
    for phased in (False, True):
        path = tmp_path / f"{phased}.db"
        with Simulator(seed=9, snapshot_ms=30, perfect=True) as simulator:
            async with pipeline(simulator, url(path)) as opened:
                if phased:
                    executed = await opened.execute(org)
                    assert (executed.processed, executed.evaluations) == (12, 0)
                    assert not any(charge["status"] == "structured" for charge in simulator.ledger()["charges"])
                    summary = await opened.extract(executed.batch_id)
                else:
                    summary = await opened.run(org)
            assert_paid_as_charged(path, simulator, summary)
        kept = "SELECT cell_key, mentioned, sentiment, mention_rank, mention_text FROM org_evals ORDER BY cell_key"
        found.append([rows(path, kept), *(rows(path, f"SELECT count(*) AS n FROM {name}") for name in tables)])
        assert summary.evaluations == 12
    assert found[0] == found[1]


async def test_extraction_alone_a_second_time_makes_no_request(tmp_path: Path, perfect: Simulator) -> None:
    async with pipeline(perfect, url(tmp_path / "s.db")) as opened:
        executed = await opened.execute(quillmark(4))
        await opened.extract(executed.batch_id)
        before = requests(perfect)
        again = await opened.extract(executed.batch_id)
    assert requests(perfect) == before
    assert (again.requests_made, again.evaluations) == (0, 4)


async def test_an_interrupted_batch_is_continued_by_the_next_start_and_new_forces_a_new_one(
    tmp_path: Path, perfect: Simulator
) -> None:
    path = tmp_path / "s.db"
    async with pipeline(perfect, url(path)) as opened:
        org = quillmark(3)
        made = await opened.create_batch(org)
        assert requests(perfect) == {}
        assert (await opened.status(made)).queued == 1
        first = await opened.run(org, extraction="local")
        assert first.batch_id == made
        keyed = await opened.run(org, batch_key="week 1", extraction="local")
        same = await opened.run(org, batch_key="week 1", extraction="local")
        forced = await opened.run(org, batch_key="week 1", new=True, extraction="local")
    assert keyed.batch_id == same.batch_id
    assert len({first.batch_id, keyed.batch_id, forced.batch_id}) == 3
    assert perfect.ledger()["records"] == 9


async def test_one_model_of_a_batch_at_a_time(tmp_path: Path, perfect: Simulator) -> None:
    path, org = tmp_path / "s.db", quillmark(3, ("chatgpt", "gpt-4.1"))
    async with pipeline(perfect, url(path)) as opened:
        batch_id = await opened.create_batch(org, extraction="local")
        by_model = {row["model"]: row["run_id"] for row in rows(path, "SELECT * FROM geo_runs")}
        await opened.run_model(by_model["chatgpt"])
        assert {model for model, _ in asked(perfect)} == {"chatgpt"}
        assert (await opened.status(batch_id)).status == "partial"
        await opened.run_model(by_model["gpt-4.1"])
        status = await opened.status(batch_id)
    assert status.complete
    assert_every_cell_once(path, org)
    assert_paid_as_charged(path, perfect)


async def test_a_model_run_that_another_system_inserted_is_run(tmp_path: Path, perfect: Simulator) -> None:
    path, org = tmp_path / "s.db", quillmark(2, ("chatgpt", "gpt-4.1"))
    async with pipeline(perfect, url(path)) as opened:
        await opened.store.save_org(org)
        connection = sqlite3.connect(path)
        connection.executemany(
            "INSERT INTO geo_runs (run_id, batch_id, batch_size, org_id, model, status)"
            " VALUES (?, ?, 2, 'quill', ?, 'queued')",
            [(f"r{n}", FOREIGN, model) for n, model in enumerate(org.models)],
        )
        connection.commit()
        connection.close()
        for run_id in ("r0", "r1"):
            await opened.run_model(run_id)
        status = await opened.status(FOREIGN)
    assert status.complete
    assert_every_cell_once(path, org)
    assert_paid_as_charged(path, perfect)


@pytest.fixture
def perfect() -> Iterator[Simulator]:
    with Simulator(seed=2, snapshot_ms=30, perfect=True) as running:
        yield running

"""F51: an extraction whose reply breaks the schema. One paid repair, then nothing of it is stored but its charge."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e_help import Truth, assert_paid_as_charged, pipeline, quillmark, requests, rows, url
from fault_help import assert_sound, runs
from overheard.simulator import Simulator

TABLES = ("org_evals", "org_competitors", "org_citations")
ASKED = "You list the brands"  # of the competitors' prompt


def children(path: Path) -> list[int]:
    """Rows of each table of an extraction."""
    return [rows(path, f"SELECT count(*) AS count FROM {table}")[0]["count"] for table in TABLES]


@pytest.mark.parametrize("fault", ["broken_json", "invalid_schema"])
async def test_f51_one_repair_mends_it(tmp_path: Path, simulator: Simulator, fault: str) -> None:
    path, org = tmp_path / "s.db", quillmark(1)
    simulator.inject({"endpoint": "openai.responses", "prompt_contains": ASKED}, fault)
    async with pipeline(simulator, url(path)) as opened:
        summary = await opened.run(org)
    assert (summary.status, summary.evaluations, summary.processing_errors) == ("complete", 1, ())
    said = [entry for entry in Truth(simulator).extractions if entry["schema"] == "competitors"]
    assert len(said) == 2, "the first and one repair"
    assert min(children(path)) > 0
    assert_paid_as_charged(path, simulator, summary)
    await assert_sound(path)


@pytest.mark.parametrize("fault", ["broken_json", "invalid_schema", "refusal"])
async def test_f51_twice_wrong_stores_nothing_but_the_charge(tmp_path: Path, simulator: Simulator, fault: str) -> None:
    path, org = tmp_path / "s.db", quillmark(2)
    victim = org.question_list[0].text
    simulator.inject({"endpoint": "openai.responses", "prompt_contains": ASKED}, fault, None)
    async with pipeline(simulator, url(path)) as opened:
        first = await opened.run(org)
        assert (first.answered, first.evaluations, first.failed) == (2, 0, 0)
        assert children(path) == [0, 0, 0], "rows of half an extraction"
        kept = rows(path, "SELECT * FROM extractions ORDER BY cell_key")
        assert [row["extracted_at_ms"] for row in kept] == [None, None]
        assert all(row["cost_micro_usd"] > 0 and row["error"] for row in kept)
        assert {error["context"]["cell"] for error in first.processing_errors} == {row["cell_key"] for row in kept}
        said = [entry for entry in Truth(simulator).extractions if entry["schema"] == "competitors"]
        assert len(said) == 4, "one repair each, not more"
        assert {row["status"] for row in runs(path)} == {"answered"}, "the answer is kept"
        assert_paid_as_charged(path, simulator, first)
        await assert_sound(path)
        simulator.clear_faults()
        again = await opened.resume(first.batch_id)
    assert (again.status, again.evaluations) == ("complete", 2)
    assert min(children(path)) > 0
    assert (simulator.ledger()["records"], requests(simulator)["brightdata.trigger"]) == (2, 1), "an answer was bought"
    assert [row["answer_text"] for row in runs(path) if row["question"] == victim]
    assert_paid_as_charged(path, simulator, again)
    await assert_sound(path)

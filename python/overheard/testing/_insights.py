"""The clauses of `overheard.protocols.InsightStore`, for `contract.py`. A store without these methods passes them by.

So does a store that keeps no evaluations (`light`): it has nothing to measure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from overheard.batch import Batch, BatchInsights
from overheard.testing.records import make_extraction, make_question_run

if TYPE_CHECKING:
    from overheard.testing.contract import _Bench

METHODS = ("insight_rows", "org_batches", "save_insights", "load_insights")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def _with_insights(clause: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    async def guarded(bench: _Bench) -> None:
        if all(hasattr(bench.store, name) for name in METHODS) and not getattr(bench.store, "light", False):
            await clause(bench)

    guarded.__name__, guarded.__doc__ = clause.__name__, clause.__doc__
    return guarded


async def _rows(bench: _Bench, batch: Batch, after: str | None = None, limit: int = 1000) -> list[Mapping[str, Any]]:
    return list(await bench("insight_rows", batch.batch_id, after, limit))


@_with_insights
async def insight_rows_say_what_was_extracted(bench: _Bench) -> None:
    """23. One row a question run, whatever its status, with its extraction's fields and lists in their order."""
    batch, (run,) = await bench.begun()
    error = {"kind": "record", "message": "auth wall"}
    runs = [
        make_question_run(run, "a", served_model="m-1", maybe_charged_micro_usd=3),
        make_question_run(run, "b"),
        make_question_run(run, "c", status="failed", text=None, cost_micro_usd=None, error=error),
    ]
    await bench("save_question_runs", runs)
    names = [{"name": name, "position": place} for place, name in enumerate(("Crate", "Bolt", "Anvil"), 1)]
    sources = [
        {
            "url": f"https://{domain}/{place}",
            "canonical_url": f"https://{domain}/{place}",
            "domain": domain,
            "ownership": owner,
            "title": None,
            "cited": cited,
            "position": place,
        }
        for place, (domain, owner, cited) in enumerate(
            (("x.example", "secondary", None), ("acme.example", "primary", True), ("x.example", "secondary", False)), 1
        )
    ]
    extraction = make_extraction(runs[0], competitors=names, citations=sources, maybe_charged_micro_usd=2)
    await bench("save_extractions", [extraction])
    rows = await _rows(bench, batch)
    _require([row["cell_key"] for row in rows] == [each.key for each in runs], f"not one row a question run: {rows}")
    first, second, third = rows
    wanted: dict[str, Any] = {
        "question_id": "a",
        "question": "Question a?",
        "model": "model-0",
        "location": "US",
        "repeat": 1,
        "status": "answered",
        "served_model": "m-1",
        "cost_micro_usd": 1_500,
        "maybe_charged_micro_usd": 3,
        "extraction_cost_micro_usd": 70,
        "extraction_maybe_charged_micro_usd": 2,
        "sentiment": "positive",
        "mention_rank": 1,
        "share_of_voice": 0.5,
        "competitors": ["Crate", "Bolt", "Anvil"],
    }
    wrong = {name: first.get(name) for name, value in wanted.items() if first.get(name) != value}
    _require(not wrong, f"saved otherwise: {wrong}")
    flags = [bool(first[name]) for name in ("extracted", "mentioned", "citation")]
    _require(flags == [True, True, True], f"extracted, mentioned, citation: {flags}")
    cited = [(each["domain"], each["type"], each["position"], each["cited"]) for each in first["citations"]]
    _require(cited == [(e["domain"], e["ownership"], e["position"], e["cited"]) for e in sources], f"{cited}")
    for row, status in ((second, "answered"), (third, "failed")):
        told = (row["status"], bool(row["extracted"]), row.get("mentioned"))
        _require(told == (status, False, None), f"{row['cell_key']} was never extracted: {told}")
    _require(third.get("cost_micro_usd") is None, "a charge that is not known is none, not 0")


@_with_insights
async def insight_rows_are_paged(bench: _Bench) -> None:
    """24. Pages of `insight_rows` are ordered by cell key and lose and double nothing; an unknown batch has none."""
    batch, (run,) = await bench.begun()
    runs = [make_question_run(run, name) for name in ("b", "a", "Z", "é", "10", "9")]
    await bench("save_question_runs", runs)
    await bench("save_extractions", [make_extraction(each) for each in runs])
    seen: list[str] = []
    while page := await _rows(bench, batch, seen[-1] if seen else None, 4):
        counts = {(len(row["competitors"]), len(row["citations"])) for row in page}
        _require(counts == {(2, 1)}, f"(competitors, citations) of the rows of a page: {counts}")
        seen += [row["cell_key"] for row in page]
    _require(seen == sorted((each.key for each in runs), key=str.encode), f"{seen}")
    _require(await _rows(bench, replace(batch, batch_id="nothing")) == [], "an unknown batch is not empty")


@_with_insights
async def batches_of_an_org_are_listed(bench: _Bench) -> None:
    """25. `org_batches` lists the org's batches made at or after the moment, newest first."""
    made = [(await bench.begun(created_at_ms=moment))[0].batch_id for moment in (2_000, 1_000, 3_000)]
    await bench.begun(org_id="other", created_at_ms=2_500)
    middle, old, new = made
    _require(list(await bench("org_batches", "acme", None)) == [new, middle, old], "not all, newest first")
    _require(list(await bench("org_batches", "acme", 2_000)) == [new, middle], "not those at or after the moment")
    _require(list(await bench("org_batches", "nobody", None)) == [], "an unknown org has batches")


@_with_insights
async def insights_are_kept_by_revision(bench: _Bench) -> None:
    """26. `save_insights` upserts by batch and revision; `load_insights` gives the newest revision as it was saved."""
    batch, _ = await bench.begun()
    _require(await bench("load_insights", batch.batch_id) is None, "nothing was saved")
    second = BatchInsights(
        batch_id=batch.batch_id,
        revision=2,
        org_id=batch.org_id,
        model="gpt-4.1-mini",
        prompt_version="1",
        content={"agreements": [{"statement": "Ä < b"}], "dropped": {"invalid": 1}},
        cost_micro_usd=900,
        maybe_charged_micro_usd=40,
        created_at_ms=1_700_000_000_000,
    )
    first = replace(second, revision=1, model=None, cost_micro_usd=None)
    for insights in (second, first, replace(second, prompt_version="0"), second):
        await bench("save_insights", insights)
    found = await bench("load_insights", batch.batch_id)
    _require(found == second, f"saved {second}, loaded {found}")
    alone = replace(first, batch_id=(await bench.begun())[0].batch_id)
    await bench("save_insights", alone)
    found = await bench("load_insights", alone.batch_id)
    _require(found == alone, f"saved {alone}, loaded {found}")


CLAUSES: tuple[Callable[[Any], Awaitable[None]], ...] = (
    insight_rows_say_what_was_extracted,
    insight_rows_are_paged,
    batches_of_an_org_are_listed,
    insights_are_kept_by_revision,
)
"""Clauses 23 to 26."""

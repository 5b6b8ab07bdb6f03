"""Holistic insights of a batch from end to end: who writes them, what is noted before money is spent, what is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pytest
from e2e_help import Shelf, eventually, pipeline, quillmark, requests, url
from holistic_help import insight_rows, measured, measures, nulls
from overheard import Pipeline, Summary
from overheard.batch import BatchInsights, Claim, now_ms
from overheard.errors import ConfigError
from overheard.holistic import Holistic, analyse, claim_name, holistic_spent
from overheard.holistic.money import EARLIER
from overheard.simulator import Simulator
from overheard.stores import SqlStore, open_store

PAID = ("openai.responses", "anthropic.messages")


class KeepingStore(Shelf):
    """A user's own store with claims and holistic insights: plain functions, and what was written in its order."""

    insight_rows = staticmethod(insight_rows)

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[tuple[str, int], BatchInsights] = {}
        self.notes: list[dict[str, Any]] = []
        #: Renewals until another owner has the claim.
        self.renewals = 1_000

    def renew_claim(self, name: str, revision: int, owner: str, ttl_ms: int, note: str | None = None) -> bool:
        assert name.startswith("holistic:")
        assert ttl_ms > 0
        self.renewals -= 1
        if note is not None and self.renewals >= 0:
            self.notes.append(json.loads(note))
        return self.renewals >= 0

    def save_insights(self, insights: BatchInsights) -> None:
        self.rows[insights.batch_id, insights.revision] = insights

    def load_insights(self, batch_id: str) -> BatchInsights | None:
        found = [row for (batch, _), row in self.rows.items() if batch == batch_id]
        return max(found, key=lambda row: row.revision, default=None)


def claim(revision: int = 1, **fields: Any) -> Claim:
    return Claim(granted=True, revision=revision, owner="me", expires_at_ms=now_ms() + 60_000, **fields)


def paid_calls(simulator: Simulator) -> int:
    return sum(requests(simulator).get(endpoint, 0) for endpoint in PAID)


def charged(simulator: Simulator) -> int:
    return int(simulator.ledger()["charged_micro_usd"])


def content(row: BatchInsights | None) -> Mapping[str, Any]:
    """The content of a row, which must be well-formed."""
    assert row is not None
    holistic = Holistic.from_dict(row.content)
    assert holistic.revision == row.revision
    assert holistic.model == row.model
    assert holistic.cost_micro_usd == row.cost_micro_usd
    return row.content


async def finished(opened: Pipeline, simulator: Simulator, **options: Any) -> tuple[Summary, int]:
    """A batch that is done, and what the simulator charged for it."""
    summary = await opened.run(quillmark(2), **options)
    return summary, charged(simulator)


async def test_a_model_writes_what_is_kept_with_model_revision_and_cost(
    perfect: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = measures(monkeypatch, measured())
    store = KeepingStore()
    async with pipeline(perfect, store) as opened:
        summary, before = await finished(opened, perfect, extraction="llm")
        calls = paid_calls(perfect)
        row = await analyse(opened, summary.batch_id, claim())
    assert asked[-1:] == [summary.batch_id]
    assert paid_calls(perfect) == calls + 1
    kept = content(row)
    assert (kept["source"], kept["model"], kept["why"]) == ("model", "gpt-4.1-mini", None)
    assert kept["agreements"]
    assert kept["disagreements"]
    assert kept["actions"]
    assert row is not None
    assert row == store.rows[summary.batch_id, 1]
    assert row.cost_micro_usd == charged(perfect) - before > 0
    assert await holistic_spent(store, summary.batch_id) == (row.cost_micro_usd, 0)
    # What might have been charged was noted before, and was no less.
    (note,) = store.notes
    assert note["maybe_charged_micro_usd"] >= row.cost_micro_usd
    # No word of an answer or a question went out, but what the table holds.
    (sent,) = [charge for charge in perfect.ledger()["charges"][-1:]]
    answers = [run.outcome.text for run in store.runs.values()]
    assert answers
    assert not any(text[:60] in json.dumps(sent) for text in answers if text)


async def test_the_same_revision_is_never_paid_twice(perfect: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    measures(monkeypatch, measured())
    store = KeepingStore()
    async with pipeline(perfect, store) as opened:
        summary, _ = await finished(opened, perfect, extraction="llm")
        first = await analyse(opened, summary.batch_id, claim())
        after = charged(perfect)
        # Its owner died between the row and the end of the claim: the note is in the row already.
        again = await analyse(opened, summary.batch_id, claim(taken_over=True, note=json.dumps(store.notes[0])))
    assert again == first
    assert charged(perfect) == after


async def test_a_claim_that_was_taken_over_books_what_its_owner_noted(
    perfect: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    measures(monkeypatch, measured())
    store = KeepingStore()
    async with pipeline(perfect, store) as opened:
        summary, before = await finished(opened, perfect, extraction="llm")
        lost = claim(taken_over=True, note=json.dumps({"maybe_charged_micro_usd": 7_000}))
        row = await analyse(opened, summary.batch_id, lost)
    assert row is not None
    assert (row.cost_micro_usd, row.maybe_charged_micro_usd) == (charged(perfect) - before, 7_000)
    # A third owner would have to book both.
    assert store.notes[0]["maybe_charged_micro_usd"] >= 7_000 + charged(perfect) - before


@pytest.mark.parametrize(
    "note", ["", "null", "[1]", "{", '{"maybe_charged_micro_usd": -5}', '{"maybe_charged_micro_usd": "9"}']
)
async def test_a_note_that_cannot_be_read_books_nothing(
    perfect: Simulator, monkeypatch: pytest.MonkeyPatch, note: str
) -> None:
    measures(monkeypatch, measured())
    store = KeepingStore()
    async with pipeline(perfect, store) as opened:
        summary, _ = await finished(opened, perfect, extraction="local")
        row = await analyse(opened, summary.batch_id, claim(taken_over=True, note=note))
    assert row is not None
    assert (row.cost_micro_usd, row.maybe_charged_micro_usd) == (0, 0)


async def test_a_later_revision_tells_what_the_earlier_ones_cost(
    perfect: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    measures(monkeypatch, measured())
    store = KeepingStore()
    async with pipeline(perfect, store) as opened:
        summary, before = await finished(opened, perfect, extraction="llm")
        for revision in (1, 2):
            assert await analyse(opened, summary.batch_id, claim(revision)) is not None
        lost = claim(3, taken_over=True, note=json.dumps({"maybe_charged_micro_usd": 11}))
        third = await analyse(opened, summary.batch_id, lost, mode="rules")
    assert third is not None
    assert third.content[EARLIER] == {"cost": charged(perfect) - before, "maybeCharged": 0}
    assert await holistic_spent(store, summary.batch_id) == (charged(perfect) - before, 11)


async def test_rules_write_where_no_model_may_be_asked(perfect: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    measures(monkeypatch, measured())
    without = {"OPENAI_API_KEY": "", "OVERHEARD_EXTRACTION_MODEL": "gpt-4.1-mini"}
    for options, environment, mode, why in (
        ({"extraction": "llm"}, {}, "rules", "rules were asked for"),
        ({"extraction": "local"}, {}, "auto", "extraction is local"),
        ({"extraction": "auto"}, without, "auto", "extraction is local"),
        ({"extraction": "local"}, without, "model", "OPENAI_API_KEY"),
    ):
        store: Any = KeepingStore()
        async with pipeline(perfect, store, env=environment) as opened:
            summary, before = await finished(opened, perfect, **options)
            calls = paid_calls(perfect)
            row = await analyse(opened, summary.batch_id, claim(), mode=mode)  # type: ignore[arg-type]
        kept = content(row)
        assert (kept["source"], kept["model"]) == ("rules", None)
        assert why in kept["why"]
        assert kept["agreements"]
        assert kept["promptVersion"].startswith("rules")
        assert (charged(perfect), paid_calls(perfect), store.notes) == (before, calls, [])


async def test_a_model_is_asked_on_demand_though_extraction_was_local(
    perfect: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    measures(monkeypatch, measured())
    store = KeepingStore()
    async with pipeline(perfect, store) as opened:
        summary, _ = await finished(opened, perfect, extraction="local")
        assert content(await analyse(opened, summary.batch_id, claim(), mode="model"))["source"] == "model"
        assert await analyse(opened, summary.batch_id, claim(2), mode="off") is None
        with pytest.raises(ConfigError, match="holistic"):
            await analyse(opened, summary.batch_id, claim(2), mode="perhaps")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="no batch"):
            await analyse(opened, "nowhere", claim(2))


async def test_no_data_is_said_without_asking_a_model(perfect: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    measures(monkeypatch, nulls(measured()))
    store = KeepingStore()
    async with pipeline(perfect, store) as opened:
        summary, before = await finished(opened, perfect, extraction="llm")
        kept = content(await analyse(opened, summary.batch_id, claim()))
    assert charged(perfect) == before
    assert kept["why"] == "there is no data to compare"
    assert "no data" in kept["disagreements"][0]["statement"]


async def test_max_cost_covers_holistic_insights_or_rules_write(
    perfect: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    measures(monkeypatch, measured())
    store = KeepingStore()
    async with pipeline(perfect, store) as opened:
        summary, before = await finished(opened, perfect, extraction="llm", max_cost="5.00")
        batch = store.batches[summary.batch_id]
        store.batches[summary.batch_id] = replace(
            batch, config={**batch.config, "max_cost_micro_usd": summary.total_cost_micro_usd + 100}
        )
        kept = content(await analyse(opened, summary.batch_id, claim()))
        assert kept["source"] == "rules"
        assert "max_cost leaves $0.000100" in kept["why"]
        assert charged(perfect) == before
        store.batches[summary.batch_id] = batch
        kept = content(await analyse(opened, summary.batch_id, claim(2)))
        assert kept["source"] == "model"
        # Never more than was left, and what is noted counts: here another owner's loss takes all of it.
        lost = claim(3, taken_over=True, note=json.dumps({"maybe_charged_micro_usd": 5_000_000}))
        row = await analyse(opened, summary.batch_id, lost)
        assert content(row)["source"] == "rules"
        assert row is not None
        assert row.maybe_charged_micro_usd == 5_000_000


@pytest.mark.parametrize("fault", ["broken_json", "invalid_schema"])
async def test_a_model_that_fails_twice_leaves_it_to_the_rules_at_its_price(
    perfect: Simulator, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    measures(monkeypatch, measured())
    store = KeepingStore()
    async with pipeline(perfect, store) as opened:
        summary, before = await finished(opened, perfect, extraction="llm")
        perfect.inject({"endpoint": "openai"}, fault, times=None)
        row = await analyse(opened, summary.batch_id, claim())
    kept = content(row)
    assert kept["source"] == "rules"
    assert "gpt-4.1-mini gave nothing to use in 2 requests" in kept["why"]
    assert kept["agreements"]
    assert row is not None
    assert row.cost_micro_usd == charged(perfect) - before > 0


async def test_what_a_model_says_falsely_is_dropped_and_counted(
    perfect: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    measures(monkeypatch, measured())
    store = KeepingStore()
    async with pipeline(perfect, store) as opened:
        summary, _ = await finished(opened, perfect, extraction="llm")
        perfect.inject({"endpoint": "openai"}, "false_statements", times=None)
        kept = content(await analyse(opened, summary.batch_id, claim()))
    told = perfect.truth()["extractions"][-1]
    assert told["false_statements"]
    assert sum(kept["dropped"].values()) > 0
    paths = {"93.7", "Depth", "37 points"}
    assert not any(path in json.dumps(kept["agreements"] + kept["actions"]) for path in paths)


async def test_nothing_is_bought_or_kept_once_another_owner_has_the_claim(
    perfect: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    measures(monkeypatch, measured())
    store = KeepingStore()
    async with pipeline(perfect, store) as opened:
        summary, before = await finished(opened, perfect, extraction="llm")
        store.renewals = 0
        assert await analyse(opened, summary.batch_id, claim()) is None
        assert (store.rows, charged(perfect)) == ({}, before)
        # The claim goes while the call is out: its charge is what the next owner books from the note.
        store.renewals = 1
        assert await analyse(opened, summary.batch_id, claim()) is None
    assert store.rows == {}
    assert store.notes[0]["maybe_charged_micro_usd"] >= charged(perfect) - before > 0


async def test_a_cancelled_call_leaves_its_note(perfect: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    measures(monkeypatch, measured())
    store = KeepingStore()
    async with pipeline(perfect, store) as opened:
        summary, before = await finished(opened, perfect, extraction="llm")
        perfect.inject({"endpoint": "openai"}, "hang_headers", times=None)
        task = asyncio.create_task(analyse(opened, summary.batch_id, claim()))
        await eventually(lambda: charged(perfect) > before, "the call reached the provider")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        perfect.clear_faults()
        lost = claim(taken_over=True, note=json.dumps(store.notes[-1]))
        row = await analyse(opened, summary.batch_id, lost)
    assert row is not None
    assert content(row)["source"] == "model"
    assert row.cost_micro_usd is not None
    assert row.cost_micro_usd + row.maybe_charged_micro_usd >= charged(perfect) - before


async def test_a_stop_ends_the_call_and_rules_write_at_what_it_may_have_cost(
    perfect: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    measures(monkeypatch, measured())
    store = KeepingStore()
    async with pipeline(perfect, store, grace_ms=10) as opened:
        summary, before = await finished(opened, perfect, extraction="llm")
        perfect.inject({"endpoint": "openai"}, "hang_headers")
        sessions: list[Any] = []
        task = asyncio.create_task(analyse(opened, summary.batch_id, claim(), on_session=sessions.append))
        await eventually(lambda: charged(perfect) > before, "the call reached the provider")
        sessions[0].stop()
        row = await task
    assert content(row)["source"] == "rules"
    assert row is not None
    assert row.maybe_charged_micro_usd > 0
    assert store.notes[0]["maybe_charged_micro_usd"] >= row.maybe_charged_micro_usd


async def test_a_store_without_a_place_for_insights_keeps_them_as_a_fact(
    perfect: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    measures(monkeypatch, measured())

    class Facts(Shelf):
        facts: dict[str, str]
        insight_rows = staticmethod(insight_rows)

        def load_fact(self, name: str) -> str | None:
            return self.facts.get(name)

        def save_fact(self, name: str, value: str) -> None:
            self.facts[name] = value

    store = Facts()
    store.facts = {}
    async with pipeline(perfect, store) as opened:
        summary, before = await finished(opened, perfect, extraction="llm")
        row = await analyse(opened, summary.batch_id, claim())
        assert row is not None
        assert await analyse(opened, summary.batch_id, claim()) == row
        assert await holistic_spent(store, summary.batch_id) == (charged(perfect) - before, 0)
        for damaged in (
            '{"nonsense": 1}',
            "[]",
            "{",
            json.dumps(asdict(replace(row, content={})) | {"content": 1, "cost_micro_usd": 0}),
        ):
            store.facts[f"insights:{summary.batch_id}"] = damaged
            assert await holistic_spent(store, summary.batch_id) == (0, 0)


async def test_a_store_that_keeps_nothing_gives_the_row_and_says_so(
    perfect: Simulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    measures(monkeypatch, measured())
    store = Shelf()
    async with pipeline(perfect, store) as opened:
        summary, _ = await finished(opened, perfect, extraction="local")
        assert await analyse(opened, summary.batch_id, claim()) is None, "it cannot be measured"
        monkeypatch.setattr(Shelf, "insight_rows", staticmethod(insight_rows), raising=False)
        assert content(await analyse(opened, summary.batch_id, claim()))["agreements"]
    assert "keeps no holistic insights" in caplog.text
    assert await holistic_spent(store, summary.batch_id) == (0, 0)


async def test_an_sqlite_store_keeps_them_whatever_it_has_a_place_for(
    perfect: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    measures(monkeypatch, measured())
    monkeypatch.setattr(SqlStore, "insight_rows", staticmethod(insight_rows), raising=False)
    path = tmp_path / "overheard.db"
    async with pipeline(perfect, url(path)) as opened:
        summary, before = await finished(opened, perfect, extraction="llm")
        # No claim in the store stands behind this one, so it has no owner to lose it to.
        row = await analyse(opened, summary.batch_id, replace(claim(), owner=None))
    assert content(row)["source"] == "model"
    async with open_store(url(path)) as store:
        assert await holistic_spent(store, summary.batch_id) == (charged(perfect) - before, 0)


def test_the_claim_has_the_name_that_the_pipeline_claims() -> None:
    assert claim_name("b1") == "holistic:b1"

"""Insights end to end: the demo against what the simulator served, which batches and rows count, what is an error."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from e2e_help import ENGINES, MyStore, pipeline, plain_brand, questions, quillmark, registrable, rows, run, url
from overheard import Batch, ConfigError, Insights, ModelRun, Org, Pipeline, StoreError, open_store
from overheard.batch import BatchInsights
from overheard.insights import measure
from overheard.simulator import Simulator
from overheard.testing import make_batch, make_extraction, make_model_run, make_question_run

METRICS = (
    "visibility",
    "ownCitationRate",
    "ownCitationShare",
    "shareOfVoiceBinary",
    "shareOfVoiceText",
    "averageRank",
    "meanReciprocalRank",
    "positionScore",
    "sentiment",
    "ghostCitationRate",
    "overallScore",
)


# --- the demo, against the simulator's books ---


class Expected:
    """Counted from what the simulator served, without anything of the package."""

    def __init__(self, answers: Sequence[Mapping[str, Any]]) -> None:
        self.answers = len(answers)
        self.mentioned = self.citing = self.citations = self.own_citations = self.voices = self.ghosts = 0
        self.ranks: list[int] = []
        self.sentiments: list[float] = []
        self.competitors: Counter[str] = Counter()
        self.domains: Counter[str] = Counter()
        for answer in answers:
            own = [brand for brand in answer["brands"] if brand["name"] == "Quillmark"]
            others = {brand["written"].casefold() for brand in answer["brands"]} - {
                brand["written"].casefold() for brand in own
            }
            self.mentioned += bool(own)
            self.sentiments += [{"positive": 100, "neutral": 50, "negative": 0}[own[0]["sentiment"]]] if own else []
            self.competitors.update(others)
            self.voices += bool(own) + len(others)
            sources = [registrable(link) for link in {entry["canonical_url"] for entry in answer["citations"]}]
            self.domains.update(sources)
            self.citations += len(sources)
            of_own = sources.count("quillmark.example")
            self.own_citations += of_own
            self.citing += bool(of_own)
            self.ghosts += bool(of_own) and not own


def of_model(answers: Sequence[Mapping[str, Any]], model: str) -> list[Mapping[str, Any]]:
    engine = ENGINES.get(model)
    return [each for each in answers if (each["engine"] == engine if engine else each["model"] == model)]


def assert_equals_truth(summary: Mapping[str, Any], true: Expected) -> None:
    counts = {
        "visibility": (true.mentioned, true.answers),
        "ownCitationRate": (true.citing, true.answers),
        "ownCitationShare": (true.own_citations, true.citations),
        "shareOfVoiceBinary": (true.mentioned, true.voices),
        "sentiment": (sum(true.sentiments), len(true.sentiments)),
        "ghostCitationRate": (true.ghosts, true.citing),
    }
    for name, (numerator, denominator) in counts.items():
        figure = summary[name]
        assert (figure["numerator"], figure["denominator"]) == (numerator, denominator), name
        scale = 1 if name == "sentiment" else 100
        assert figure["value"] == pytest.approx(scale * numerator / denominator), name
    assert summary["brandSOV"] == f"{100 * true.mentioned / true.voices:.1f}"


CONFIGURED = {"notaro", "penfold docs", "inkwell suite", "draftly", "scribeline"}


def plain(competitors: Mapping[str, int]) -> dict[str, int]:
    """Counts by brand as extraction shows them: without legal forms, configured ones in their own spelling."""
    spelled = {name.replace(" ", ""): name for name in CONFIGURED}
    counts: Counter[str] = Counter()
    for name, count in competitors.items():
        brand = plain_brand(name.title()).casefold()
        counts[spelled.get(brand.replace(" ", ""), brand)] += count
    return dict(counts)


async def test_insights_of_the_demo_equal_what_was_served(tmp_path: Path) -> None:
    with Simulator(seed=2, snapshot_ms=50, perfect=True) as simulator:
        async with pipeline(simulator, url(tmp_path / "s.db")) as opened:
            summary = await opened.run("demo", extraction="llm", locations=["US"])
            insights = await opened.insights(summary.batch_id)
        served = [answer for answer in simulator.truth()["answers"] if answer["status"] == "answer"]
    assert len(served) == 125
    assert_equals_truth(insights.summary, Expected(served))
    models = {entry["model"]: entry for entry in insights.models}
    assert set(models) == {"chatgpt", "perplexity", "gemini", "gpt-4.1", "claude-sonnet-4-5"}
    for model, entry in models.items():
        true = Expected(of_model(served, model))
        assert_equals_truth(entry["summary"], true)
        (place,) = entry["locations"]
        assert place["location"] == "US"
        assert_equals_truth(place["summary"], true)
        found = {line["name"].casefold(): line["models"][model] for line in insights.competitors}
        assert {name: count for name, count in found.items() if count} == plain(true.competitors)
    true = Expected(served)
    found = {line["name"].casefold(): line["answers"] for line in insights.competitors}
    assert {name: count for name, count in found.items() if count} == plain(true.competitors)
    assert set(found) >= CONFIGURED
    assert not any("quillmark" in name for name in found)
    most = max(plain(true.competitors).values())
    assert str(insights.summary["topCompetitor"]).casefold() in {
        name for name, count in plain(true.competitors).items() if count == most
    }
    assert {line["domain"]: line["citations"] for line in insights.domains} == dict(true.domains)
    assert [line["domain"] for line in insights.domains if line["type"] == "primary"] == ["quillmark.example"]
    cost = insights.summary["cost"]
    assert (cost["totalMicroUsd"], cost["total"]) == (summary.total_cost_micro_usd, summary.total_cost)
    assert_agreement(insights, served)


async def test_what_failed_leaves_the_denominators_and_is_counted(tmp_path: Path) -> None:
    """A day with refusals, error rows and missing rows."""
    path = tmp_path / "s.db"
    with Simulator(seed=3, snapshot_ms=50, rates={"late_ready": 0.0, "refusal": 0.2}) as simulator:
        async with pipeline(simulator, url(path)) as opened:
            summary = await opened.run(quillmark(12, ("chatgpt", "gpt-4.1"), ("US", "DE")), extraction="local")
            insights = await opened.insights(summary.batch_id)
    counted = "SELECT model, status, count(*) AS n FROM question_runs GROUP BY model, status"
    stored = {(row["model"], row["status"]): row["n"] for row in rows(path, counted)}
    assert len(insights.models) == 2
    for entry in insights.models:
        count = {word: stored.get((entry["model"], word), 0) for word in ("answered", "refused", "no_answer", "failed")}
        told, figure = entry["summary"]["outcomes"], entry["summary"]["visibility"]
        assert [told[word] for word in ("answered", "refused", "noAnswer", "failed")] == list(count.values())
        assert figure["denominator"] == count["answered"]
        assert (figure["leftOut"]["refused"], figure["leftOut"]["failed"]) == (count["refused"], count["failed"])
        assert sum(count.values()) == 24
    assert insights.summary["outcomes"]["refused"] > 0, "this seed refused nothing"


def assert_agreement(insights: Insights, served: Sequence[Mapping[str, Any]]) -> None:
    """Raw agreement and kappa of each pair, from the truth."""
    said: dict[str, dict[str, bool]] = defaultdict(dict)
    for entry in insights.models:
        for answer in of_model(served, entry["model"]):
            said[entry["model"]][answer["prompt"]] = any(brand["name"] == "Quillmark" for brand in answer["brands"])
    assert len(insights.agreement) == 10
    for pair in insights.agreement:
        one, other = (said[model] for model in pair["models"])
        same = sum(one[prompt] == other[prompt] for prompt in one)
        assert (pair["cells"], pair["raw"]["numerator"]) == (25, same), pair["models"]
        first, second = sum(one.values()) / 25, sum(other.values()) / 25
        chance = first * second + (1 - first) * (1 - second)
        assert pair["kappa"] == pytest.approx((same / 25 - chance) / (1 - chance))


async def test_the_shape_is_plain_and_explain_gives_the_stored_runs(tmp_path: Path, perfect: Simulator) -> None:
    path = tmp_path / "s.db"
    async with pipeline(perfect, url(path)) as opened:
        summary = await opened.run(quillmark(6, ("chatgpt", "gpt-4.1"), ("US", "DE")), extraction="local", repeats=2)
        insights = await opened.insights(summary.batch_id)
    told = insights.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert list(told) == [
        "batchIds",
        "batchStatus",
        "summary",
        "models",
        "questions",
        "competitors",
        "domains",
        "agreement",
        "change",
        "holistic",
    ]
    assert told["batchStatus"]["status"] == "complete"
    assert (told["batchIds"], told["change"], told["holistic"]) == ([summary.batch_id], None, None)
    assert set(METRICS) <= set(told["summary"])
    assert [place["location"] for place in told["models"][0]["locations"]] == ["DE", "US"]
    assert {entry["surface"] for entry in told["models"]} == {"chatgpt", "openai"}
    told["summary"].clear()
    assert insights.summary, "to_dict gives a copy"
    # Every figure rests on runs of the store, by their keys.
    stored = {row["cell_key"]: row for row in rows(path, "SELECT * FROM org_evals")}
    lines = insights.explain("visibility")
    assert {line["cellKey"] for line in lines} == set(stored)
    assert all(line["numerator"] == stored[line["cellKey"]]["mentioned"] for line in lines)
    assert {line["batchId"] for line in lines} == {summary.batch_id}
    for metric in METRICS:
        for model in (None, "gpt-4.1"):
            lines = insights.explain(metric, model=model)
            entry = insights.summary if model is None else insights.models[1]["summary"]
            assert sum(line["numerator"] for line in lines) == pytest.approx(entry[metric]["numerator"])
            assert sum(line["denominator"] for line in lines) == pytest.approx(entry[metric]["denominator"])
    assert insights.explain("brandSOV") == insights.explain("summary.shareOfVoiceBinary")
    for keywords in (
        {"metric": "fame"},
        {"metric": "visibility", "model": "x"},
        {"metric": "visibility", "location": "FR"},
    ):
        with pytest.raises(ConfigError, match=r"fame|'x'|FR"):
            insights.explain(**keywords)


async def test_repeats_belong_to_their_question(tmp_path: Path, perfect: Simulator) -> None:
    async with pipeline(perfect, url(tmp_path / "s.db")) as opened:
        summary = await opened.run(quillmark(4, ("gpt-4.1",)), extraction="local", repeats=5)
        insights = await opened.insights(summary.batch_id)
    figure = insights.summary["visibility"]
    assert (figure["denominator"], figure["verdict"], figure["interval"]) == (20, "insufficient", None)
    (cell,) = insights.questions[0]["cells"]
    assert (cell["visibility"]["denominator"], cell["visibility"]["intervalMethod"]) == (5, "wilson")


# --- which batches ---


async def test_an_org_is_its_newest_batch_or_all_since_a_moment(tmp_path: Path, perfect: Simulator) -> None:
    org = quillmark(6, ("gpt-4.1",))
    async with pipeline(perfect, url(tmp_path / "s.db")) as opened:
        first = await opened.run(org, extraction="local")
        second = await opened.run(org, extraction="local")
        waiting = await opened.create_batch(quillmark(7, ("gpt-4.1",)))
        newest = await opened.insights(org)
        assert newest.batch_ids == [second.batch_id], "the newest has no completed model run"
        assert newest.change is not None
        assert newest.change["against"] == first.batch_id
        # The store has never seen this org but in its batches.
        for since in ("2020-01-01", date(2020, 1, 1), datetime(2020, 1, 1), datetime(2020, 1, 1, tzinfo=timezone.utc)):
            pooled = await opened.insights(org, since=since)
            assert pooled.batch_ids == [second.batch_id, first.batch_id]
        figure = pooled.summary["visibility"]
        assert (figure["denominator"], pooled.summary["questions"], pooled.change) == (12, 6, None)
        assert {line["batchId"] for line in pooled.explain("visibility")} == {first.batch_id, second.batch_id}
        await opened.store.save_org(org)
        assert (await opened.insights(org.id)).batch_ids == [second.batch_id]
        later = datetime.now(timezone.utc) + timedelta(days=1)
        for wanted, keywords, message in (
            ("nobody", {}, "no batch and no org 'nobody'"),
            (org, {"since": later}, f"org '{org.id}' has no batch made at or after"),
            (org, {"since": "yesterday"}, "since: 'yesterday' is no date"),
            (org, {"since": 7}, "since: must be"),
            (first.batch_id, {"since": "2020-01-01"}, "is a batch; since goes with an org"),
            (first.batch_id, {"against": "nothing"}, "against: there is no batch 'nothing'"),
            (first.batch_id, {"against": first.batch_id}, "cannot be compared with itself"),
            (replace(org, id="other"), {}, "org 'other' has no batch with a completed model run"),
        ):
            with pytest.raises(ConfigError, match=message):
                await opened.insights(wanted, **keywords)  # type: ignore[arg-type]
        # A batch of which nothing is complete has insights: it says that there is no data.
        empty = await opened.insights(waiting)
        assert empty.summary["visibility"]["verdict"] == "no data"
        assert (empty.models, empty.batch_status.complete) == ([], False)


async def test_a_change_is_seen_between_two_batches(tmp_path: Path, perfect: Simulator) -> None:
    path = tmp_path / "s.db"
    org = quillmark(30, ("gpt-4.1",))
    async with pipeline(perfect, url(path)) as opened:
        first = await opened.run(org, extraction="local")
        second = await opened.run(org, extraction="local")
        third = await opened.run(quillmark(29, ("gpt-4.1",)), extraction="local")
        insights = await opened.insights(second.batch_id)
        said = [
            {
                row["cell_key"]: row["mentioned"]
                for row in rows(path, f"SELECT * FROM org_evals WHERE batch_id = '{each}'")
            }
            for each in (first.batch_id, second.batch_id)
        ]
        assert insights.change is not None
        (model,) = insights.change["models"]
        assert (insights.change["against"], model["model"]) == (first.batch_id, "gpt-4.1")
        lost = sum(said[0][key] and not said[1][key] for key in said[0])
        won = sum(said[1][key] and not said[0][key] for key in said[0])
        assert (model["b"], model["c"], model["cells"]) == (lost, won, 30)
        assert (model["before"]["numerator"], model["after"]["numerator"]) == (
            sum(said[0].values()),
            sum(said[1].values()),
        )
        assert model["verdict"] in ("moved", "within noise")
        other = await opened.insights(third.batch_id, against=first.batch_id)
        assert other.change is not None
        assert (other.change["verdict"], other.change["p"]) == ("not comparable", None)
        assert (await opened.insights(first.batch_id)).change is None
        pooled = await opened.insights(org, since="2020-01-01", against=first.batch_id)
        assert pooled.change is not None
        assert pooled.change["verdict"] == "not comparable", "the newest of the pool is compared"


# --- which rows ---


async def kept(tmp_path: Path, status: str = "completed") -> tuple[Any, Batch]:
    """A store with a batch of two model runs, `m-0` completed and `m-1` not."""
    store = open_store(url(tmp_path / "s.db"))
    batch = make_batch(batch_size=2, config={"org": quillmark().to_dict()})
    runs = [make_model_run(batch, f"m-{number}", status=status if number == 0 else "queued") for number in range(2)]
    await store.save_batch(batch)
    await store.save_model_runs(runs)
    for model_run in runs:
        answered = [make_question_run(model_run, f"q{number}") for number in range(6)]
        await store.save_question_runs(answered)
        await store.save_extractions([make_extraction(each) for each in answered[:5]])
    return store, batch


@pytest.mark.broken_store("rows that no start made")
async def test_only_completed_model_runs_count(tmp_path: Path) -> None:
    store, batch = await kept(tmp_path)
    await store.save_insights(
        BatchInsights(
            batch_id=batch.batch_id,
            revision=1,
            org_id="acme",
            model=None,
            prompt_version="1",
            content={"source": "rules"},
        )
    )
    insights = await Pipeline(store, env={}).insights(batch.batch_id)
    assert [entry["model"] for entry in insights.models] == ["m-0"]
    figure = insights.summary["visibility"]
    assert (figure["numerator"], figure["denominator"], figure["leftOut"]["notExtracted"]) == (5, 5, 1)
    assert (figure["value"], figure["intervalMethod"]) == (100, "wilson")
    assert insights.batch_status.status == "partial"
    assert insights.holistic == {"source": "rules"}
    assert insights.summary["outcomes"]["answered"] == 6
    await store.aclose()


@pytest.mark.broken_store("rows that no start made")
async def test_pages_are_read_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, batch = await kept(tmp_path)
    whole = (await Pipeline(store, env={}).insights(batch.batch_id)).to_dict()
    for size in (1, 2, 3, 6, 12):
        monkeypatch.setattr("overheard.insights._PAGE", size)
        assert (await Pipeline(store, env={}).insights(batch.batch_id)).to_dict() == whole
    await store.aclose()


async def test_a_store_that_keeps_nothing_to_measure_says_so(tmp_path: Path, perfect: Simulator) -> None:
    environment = perfect.environment() | {"OVERHEARD_STORE": url(tmp_path / "s.db")}
    opened = Pipeline(env=environment, on_question_runs=lambda runs: None)
    summary = await opened.run(quillmark(2, ("gpt-4.1",)), extraction="local")
    with pytest.raises(ConfigError, match="CallbackStore has no insight_rows"):
        await opened.insights(summary.batch_id)
    own = MyStore()
    summary = await run(perfect, own, quillmark(2, ("gpt-4.1",)), extraction="local")
    with pytest.raises(ConfigError, match="has no insight_rows"):
        await pipeline(perfect, own).insights(summary.batch_id)


class Rows:
    """The least a store needs for insights: rows in pages, plain."""

    def __init__(self, given: Sequence[Any]) -> None:
        self.given = given

    def insight_rows(self, batch_id: str, after: str | None, limit: int) -> Sequence[Any]:
        return self.given[:limit]


async def measured(given: Sequence[Any], **fields: Any) -> Insights:
    batch = Batch(
        batch_id="b", org_id="quill", batch_size=1, config={"org": quillmark().to_dict()}, model_runs=(completed("m"),)
    )

    async def load_batch(batch_id: str) -> Batch | None:
        return replace(batch, **fields) if batch_id == "b" else None

    async def load_org(org_id: str) -> Org:
        raise ConfigError(f"there is no org '{org_id}'")

    return await measure(Rows(given), "b", load_org=load_org, load_batch=load_batch)


def completed(model: str) -> ModelRun:
    return ModelRun(
        run_id=model,
        batch_id="b",
        batch_size=1,
        org_id="quill",
        model=model,
        status="completed",
        overhead_micro_usd=5,
        overhead_maybe_charged_micro_usd=3,
    )


async def test_a_store_of_the_users_own_needs_one_method() -> None:
    given = [
        {"cell_key": f"{question['id']}|m|US|1", "question_id": question["id"], "model": "m", "status": "answered"}
        | {"extracted": 1, "mentioned": number % 2, "cost_micro_usd": 10}
        for number, question in enumerate(questions(6))
    ]
    insights = await measured(given)
    assert insights.summary["visibility"]["value"] == 50
    assert insights.summary["brandSOV"] is None, "its competitors are not known, which is not none"
    assert insights.summary["shareOfVoiceBinary"]["leftOut"]["notKnown"] == 6
    assert insights.summary["cost"]["totalMicroUsd"] == 65
    assert insights.summary["cost"]["maybeChargedMicroUsd"] == 3
    with pytest.raises(ConfigError, match="no org_batches"):
        await measure(Rows([]), quillmark(), load_org=None, load_batch=None)  # type: ignore[arg-type]


async def test_pages_that_do_not_go_on_are_an_error_and_not_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overheard.insights._PAGE", 2)
    for given in ([{"model": "m"}, {"model": "m"}], [None, None], [{"cell_key": "a"}, {"cell_key": "b"}]):
        with pytest.raises(StoreError, match="there is no next page"):
            await measured(given)

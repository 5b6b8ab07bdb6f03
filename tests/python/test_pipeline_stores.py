"""The pipeline over stores of the user's own: a class, two functions, callbacks that raise; and `Provider` alone."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from overheard import Batch, ExistingKey, Extraction, ModelRun, Org, Outcome, Pipeline, Provider, QuestionRun
from overheard.errors import AuthError, ConfigError, OverheardError, UnsupportedError
from overheard.simulator import Simulator
from overheard.testing import FAST, check_store

ORG = Org(
    "acme",
    "Quillmark",
    websites=["https://www.quillmark.example"],
    questions=[f"Which writing software is best, number {number}?" for number in range(4)],
    models=["chatgpt", "gpt-4.1"],
    locations=["US"],
)


class Memory:
    """A store in plain functions and dicts, as a user would write one."""

    def __init__(self) -> None:
        self.batches: dict[str, Batch] = {}
        self.model_runs: dict[str, ModelRun] = {}
        self.runs: dict[tuple[str, str], QuestionRun] = {}
        self.extractions: dict[tuple[str, str], Extraction] = {}
        self.threads: set[int] = set()

    def load_org(self, org_id: str) -> Org | None:
        return ORG if org_id == ORG.id else None

    def save_batch(self, batch: Batch) -> None:
        self.batches[batch.batch_id] = batch

    def save_model_runs(self, model_runs: Sequence[ModelRun]) -> None:
        self.model_runs.update({run.run_id: run for run in model_runs})

    def load_batch(
        self, batch_id: str | None = None, *, org_id: str | None = None, batch_key: str | None = None
    ) -> Batch | None:
        def wanted(batch: Batch) -> bool:
            if batch_id is not None:
                return batch.batch_id == batch_id
            key_fits = batch.finished_at_ms is None if batch_key is None else batch.batch_key == batch_key
            return batch.org_id == org_id and key_fits

        found = max(filter(wanted, self.batches.values()), key=lambda batch: batch.created_at_ms, default=None)
        if found is None:
            return None
        model_runs = tuple(run for run in self.model_runs.values() if run.batch_id == found.batch_id)
        return dataclasses.replace(found, model_runs=model_runs)

    def save_question_runs(self, runs: Sequence[QuestionRun]) -> None:
        self.threads.add(threading.get_ident())
        for identity, run in {(run.batch_id, run.key): run for run in runs}.items():
            self.runs[identity] = run
            self.extractions.pop(identity, None)

    def existing_keys(self, batch_id: str, after: str | None, limit: int) -> list[ExistingKey]:
        return [self._key(run) for run in self._page(batch_id, after, limit, lambda _run: True)]

    def question_runs(self, batch_id: str, after: str | None, limit: int) -> list[Mapping[str, Any]]:
        def wanted(run: QuestionRun) -> bool:
            extraction = self.extractions.get((batch_id, run.key))
            return run.status == "answered" and (extraction is None or extraction.error is not None)

        return [run.to_dict() for run in self._page(batch_id, after, limit, wanted)]

    def save_extractions(self, extractions: Sequence[Extraction]) -> None:
        self.extractions.update({(entry.batch_id, entry.key): entry for entry in extractions})

    def _page(
        self, batch_id: str, after: str | None, limit: int, wanted: Callable[[QuestionRun], bool]
    ) -> list[QuestionRun]:
        runs = [run for (batch, key), run in self.runs.items() if batch == batch_id and key > (after or "")]
        return sorted(filter(wanted, runs), key=lambda run: run.key)[:limit]

    def _key(self, run: QuestionRun) -> ExistingKey:
        extraction = self.extractions.get((run.batch_id, run.key))
        done = extraction is not None and extraction.error is None
        error = run.outcome.error
        return ExistingKey(
            run.key,
            run.status,
            extracted=done,
            cost_micro_usd=(run.cost_micro_usd or 0) + ((extraction.cost_micro_usd or 0) if extraction else 0),
            maybe_charged_micro_usd=run.outcome.maybe_charged_micro_usd
            + (extraction.maybe_charged_micro_usd if extraction else 0),
            citations=len(extraction.citations) if extraction and done else 0,
            competitors=len(extraction.competitors) if extraction and done else 0,
            error_kind=error.kind if error else None,
        )


def pipeline(simulator: Simulator, *arguments: Any, **keywords: Any) -> Pipeline:
    return Pipeline(*arguments, env=simulator.environment(), **FAST, **keywords)


def test_a_users_store_passes_the_contract() -> None:
    check_store(Memory)


def test_a_users_store_from_a_plain_script(perfect: Simulator) -> None:
    store = Memory()
    summary = asyncio.run(pipeline(perfect, store).run(ORG))
    assert (summary.status, summary.processed, summary.evaluations) == ("complete", 8, 8)
    assert summary.total_cost_micro_usd == perfect.ledger()["charged_micro_usd"]
    assert len(store.runs) == len(store.extractions) == 8
    assert threading.get_ident() not in store.threads
    again = asyncio.run(pipeline(perfect, store).resume(summary.batch_id))
    assert (again.requests_made, again.citations) == (0, summary.citations)


def test_a_store_that_lacks_methods_is_told_which() -> None:
    class Half:
        def load_org(self, org_id: str) -> None: ...

    with pytest.raises(ConfigError, match="Half lacks save_batch, save_model_runs"):
        Pipeline(Half(), env={})  # type: ignore[arg-type]


async def test_two_functions_are_enough(perfect: Simulator, own_state_folder: Path) -> None:
    runs: list[QuestionRun] = []
    extractions: list[Extraction] = []

    async def keep_extractions(batch: Sequence[Extraction]) -> None:
        extractions.extend(batch)

    def running() -> Pipeline:
        return pipeline(perfect, on_question_runs=runs.extend, on_extractions=keep_extractions)

    summary = await running().run(ORG, batch_key="monday")
    assert (len(runs), len(extractions)) == (8, 8)
    assert all(run.outcome.raw for run in runs)
    assert (await running().run(ORG, batch_key="monday")).requests_made == 0
    assert (await running().status(summary.batch_id)).complete
    assert len(runs) == 8
    assert (own_state_folder / "overheard" / "overheard-state.db").stat().st_mode & 0o077 == 0


async def test_what_a_callback_raises_comes_back_itself_and_nothing_is_bought_twice(perfect: Simulator) -> None:
    trouble = OSError("the disk is full")
    taken: list[QuestionRun] = []
    org = dataclasses.replace(ORG, models=["chatgpt"])

    def refuse(_runs: Sequence[QuestionRun]) -> None:
        raise trouble

    with pytest.raises(OSError, match="the disk is full") as caught:
        await pipeline(perfect, on_question_runs=refuse).run(org, extraction="local")
    assert caught.value is trouble
    summary = await pipeline(perfect, on_question_runs=taken.extend).run(org, extraction="local")
    assert (summary.status, len({run.key for run in taken})) == ("complete", 4)
    assert summary.total_cost_micro_usd == perfect.ledger()["charged_micro_usd"]


# --- Provider alone --------------------------------------------------------------------------------------------------


async def test_a_batch_of_any_length_comes_back_in_order(perfect: Simulator) -> None:
    provider = Provider.for_model("chatgpt", env=perfect.environment(), **FAST)
    assert (provider.supports_batching, provider.max_batch_size) == (True, 20)
    questions = [f"Which writing software is best, number {number}?" for number in range(45)]
    outcomes = await provider.run_question_batch(questions, location="US")
    assert [outcome.status for outcome in outcomes] == ["answered"] * 45
    assert perfect.ledger()["requests"]["brightdata.trigger"] == 3
    truth = {answer["prompt"]: answer["text"] for answer in perfect.truth()["answers"]}
    assert [outcome.text for outcome in outcomes] == [truth[question] for question in questions]
    assert sum(outcome.cost_micro_usd or 0 for outcome in outcomes) == perfect.ledger()["charged_micro_usd"]


async def test_one_question_and_its_error(perfect: Simulator) -> None:
    provider = Provider.for_model("gpt-4.1", env=perfect.environment())
    assert (provider.supports_batching, provider.max_batch_size) == (False, 1)
    outcome = await provider.run_question_web_search("Which writing software is best?", location="US")
    assert (outcome.status, outcome.location_applied) == ("answered", "US")
    perfect.inject({"endpoint": "openai.responses"}, "status:401", None)
    with pytest.raises(AuthError) as caught:
        await provider.run_question("Which writing software is best?")
    assert (caught.value.status_code, caught.value.provider) == (401, "openai")
    outcomes = await provider.run_question_batch(["Why?", "How?"])
    assert [outcome.status for outcome in outcomes] == ["failed", "failed"]
    assert all(isinstance(outcome.error, OverheardError) for outcome in outcomes)


async def test_native_batching_is_refused_in_the_known_words(perfect: Simulator) -> None:
    provider = Provider.for_model("gpt-4.1", env=perfect.environment())
    with pytest.raises(UnsupportedError, match="Provider does not support batching"):
        await provider.run_question_batch(["Why?"], native=True)
    assert await provider.run_question_batch([]) == []


async def test_a_custom_provider_alone() -> None:
    class Echo:
        supports_batching = False
        max_batch_size = 1

        def ask(self, requests: Sequence[Any]) -> list[Outcome]:
            return [Outcome(f"{request.question} {request.location}") for request in requests]

    provider = Provider.for_model("Echo", providers={"echo": Echo()}, env={})
    outcomes = await provider.run_question_batch(["a", "b"])
    assert [(outcome.text or "").split()[0] for outcome in outcomes] == ["a", "b"]


@pytest.mark.parametrize(
    ("model", "env", "said"),
    [
        ("chatgpt", {}, "BRIGHTDATA_API_KEY"),
        ("", {}, "model: must not be empty"),
        ("nonsense", {}, "no provider is known"),
    ],
)
def test_a_provider_that_cannot_be_made_says_what_to_mend(model: str, env: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Provider.for_model(model, env=env)

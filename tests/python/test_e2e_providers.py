"""Asking without a store, from every kind of program; and a user's own provider among the built-in ones."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from e2e_help import (
    FAST,
    asked,
    assert_every_cell_once,
    environment,
    pipeline,
    questions,
    quillmark,
    requests,
    rows,
    stored_cost,
    url,
)
from overheard import (
    Ask,
    AuthError,
    ConfigError,
    Location,
    Outcome,
    Provider,
    ProviderProtocol,
    RateLimitError,
    ServerError,
    UnsupportedError,
)
from overheard.simulator import Simulator

TEXTS = [entry["text"] for entry in questions(30)]


@pytest.fixture
def perfect() -> Iterator[Simulator]:
    with Simulator(seed=8, snapshot_ms=30, perfect=True) as running:
        yield running


def provider(simulator: Simulator, model: str = "chatgpt", **settings: Any) -> Provider:
    return Provider.for_model(model, env=simulator.environment(), **(FAST | settings))


# --- the five methods ---


async def test_a_batch_of_any_length_is_chunked_and_comes_back_in_order(perfect: Simulator) -> None:
    outcomes = await provider(perfect).run_question_batch(TEXTS, location=Location("US"))
    assert len(outcomes) == 30
    served = {answer["prompt"]: answer for answer in perfect.truth()["answers"]}
    for text, outcome in zip(TEXTS, outcomes, strict=True):
        assert (outcome.status, outcome.error) == ("answered", None)
        assert outcome.text is not None
        assert outcome.text.strip() == served[text]["text"].strip()
        assert {link.url for link in outcome.citations} <= {link["url"] for link in served[text]["citations"]}
        assert (outcome.cost_micro_usd, outcome.cost) == (1500, Decimal("0.001500"))
        assert outcome.usage.records == 1
        assert outcome.location_applied == "US"
        assert outcome.started_at is not None
        assert outcome.started_at.utcoffset() is not None
        assert outcome.raw
    assert requests(perfect)["brightdata.trigger"] == 2
    assert perfect.ledger()["charged_micro_usd"] == 45_000


@pytest.mark.parametrize(
    ("model", "name", "surface", "size"),
    [
        ("chatgpt", "brightdata", "chatgpt", 20),
        ("ChatGPT", "brightdata", "chatgpt", 20),
        ("perplexity", "brightdata", "perplexity", 20),
        ("gemini", "brightdata", "gemini", 20),
        ("gpt-4.1", "openai", "openai", 1),
        ("claude-sonnet-4-5", "anthropic", "anthropic", 1),
    ],
)
async def test_every_engine(perfect: Simulator, model: str, name: str, surface: str, size: int) -> None:
    asker = provider(perfect, model)
    assert (asker.name, asker.surface, asker.max_batch_size) == (name, surface, size)
    assert asker.supports_batching is (size > 1)
    outcome = await asker.run_question(TEXTS[0], location=Location("DE"), web_search=True)
    assert outcome.status == "answered"
    assert outcome.citations
    searched = await asker.run_question_web_search(TEXTS[1])
    assert searched.status == "answered"
    several = await asker.run_question_batch(TEXTS[2:5])
    assert [entry.status for entry in several] == ["answered"] * 3
    booked = sum(entry.cost_micro_usd or 0 for entry in (outcome, searched, *several))
    assert booked == perfect.ledger()["charged_micro_usd"] > 0


async def test_without_web_search(perfect: Simulator) -> None:
    outcome = await provider(perfect, "gpt-4.1").run_question(TEXTS[0], web_search=False)
    assert (outcome.status, outcome.usage.searches, outcome.citations) == ("answered", 0, [])
    assert outcome.cost_micro_usd == perfect.ledger()["charged_micro_usd"]


async def test_chat_completions(perfect: Simulator) -> None:
    asker = provider(perfect, "gpt-4.1", openai_chat_completions=True)
    outcome = await asker.run_question(TEXTS[0], web_search=False)
    assert outcome.status == "answered"
    assert requests(perfect)["openai.chat_completions"] == 1
    assert outcome.cost_micro_usd == perfect.ledger()["charged_micro_usd"]


async def test_run_question_raises_what_the_batch_form_carries(perfect: Simulator) -> None:
    asker = provider(perfect, "gpt-4.1")
    perfect.inject({"endpoint": "openai.responses", "prompt_contains": TEXTS[0]}, "status:503:0", None)
    with pytest.raises(ServerError) as caught:
        await asker.run_question(TEXTS[0])
    assert (caught.value.status_code, caught.value.attempts, caught.value.provider) == (503, 3, "openai")
    wrong, right = await asker.run_question_batch(TEXTS[:2])
    assert (wrong.status, type(wrong.error), right.status) == ("failed", ServerError, "answered")


async def test_a_provider_without_batching_says_so_when_batching_is_insisted_on(perfect: Simulator) -> None:
    asker = provider(perfect, "gpt-4.1")
    with pytest.raises(UnsupportedError, match="Provider does not support batching"):
        await asker.run_question_batch(TEXTS[:2], native=True)
    assert requests(perfect) == {}
    assert len(await asker.run_question_batch([])) == 0


async def test_a_wrong_key_is_one_clear_error(perfect: Simulator) -> None:
    perfect.inject({"endpoint": "brightdata"}, "status:401", None)
    (outcome,) = await provider(perfect).run_question_batch(TEXTS[:1])
    assert isinstance(outcome.error, AuthError)
    assert "BrightData API returned status 401" in str(outcome.error)
    assert "BRIGHTDATA_API_KEY" in str(outcome.error), "what to check is missing"
    assert "simulated" not in str(outcome.error), "the key is in the error"
    assert requests(perfect)["brightdata.trigger"] == 1


# --- every kind of program ---

SCRIPT = """
import asyncio, sys
from overheard import Location, Provider

async def main():
    provider = Provider.for_model("chatgpt", first_poll_ms=20, min_poll_ms=10)
    outcomes = await provider.run_question_batch(["Which wiki suits us?", "Which editor?"], location=Location("US"))
    print([outcome.status for outcome in outcomes], sum(outcome.cost_micro_usd for outcome in outcomes))

if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_from_a_plain_script(perfect: Simulator, tmp_path: Path, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    (tmp_path / "ask.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "ask.py", loop],
        cwd=tmp_path,
        env=environment(perfect, tmp_path),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == "['answered', 'answered'] 3000"


def test_a_whole_run_under_uvloop(perfect: Simulator, tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        async with pipeline(perfect, url(tmp_path / "s.db")) as opened:
            summary = await opened.run(quillmark(4, ("chatgpt", "gpt-4.1")))
        assert summary.total_cost_micro_usd == perfect.ledger()["charged_micro_usd"]

    uvloop.run(main())
    assert_every_cell_once(tmp_path / "s.db", quillmark(4, ("chatgpt", "gpt-4.1")))


def test_from_several_threads_with_their_own_loops(perfect: Simulator, tmp_path: Path) -> None:
    """One asker is shared by all threads; each thread also runs an org into its own store."""
    shared = provider(perfect, "gpt-4.1")
    failures: list[BaseException] = []
    answers: dict[int, list[str | None]] = {}

    async def work(number: int) -> None:
        outcomes, summary = await asyncio.gather(
            shared.run_question_batch(TEXTS[:5]),
            pipeline(perfect, url(tmp_path / f"{number}.db")).run(quillmark(3), extraction="local"),
        )
        answers[number] = [outcome.status for outcome in outcomes]
        assert summary.complete

    def thread(number: int) -> None:
        try:
            asyncio.run(work(number))
        except BaseException as error:  # told to the test below
            failures.append(error)

    threads = [threading.Thread(target=thread, args=(number,)) for number in range(4)]
    for entry in threads:
        entry.start()
    for entry in threads:
        entry.join(30)
    assert failures == []
    assert answers == {number: ["answered"] * 5 for number in range(4)}
    for number in range(4):
        assert_every_cell_once(tmp_path / f"{number}.db", quillmark(3))
    assert perfect.ledger()["records"] == 12


async def test_with_the_shipped_fixture(simulator: Simulator) -> None:
    (outcome,) = await provider(simulator).run_question_batch(TEXTS[:1])
    assert outcome.status in ("answered", "refused", "failed")
    assert requests(simulator)["brightdata.trigger"] >= 1


def test_the_shipped_fixture_in_somebody_elses_suite(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(
        "import asyncio\n"
        "from overheard import Pipeline, demo_org\n"
        "from overheard.testing import FAST\n\n"
        "def test_theirs(simulator, tmp_path):\n"
        "    pipeline = Pipeline(f'sqlite:///{tmp_path}/x.db', env=simulator.environment(), **FAST)\n"
        "    summary = asyncio.run(pipeline.run(demo_org(), questions=1, models=['chatgpt'], locations=['US']))\n"
        "    assert summary.total_cost_micro_usd == simulator.ledger()['charged_micro_usd']\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_theirs.py"],
        cwd=tmp_path,
        env=environment(None, tmp_path),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


# --- a user's own provider ---


class TenLines:
    supports_batching = True
    max_batch_size = 7
    price_per_question = "0.002"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    async def ask(self, requests: Sequence[Ask]) -> list[Outcome]:
        self.batches.append([request.question for request in requests])
        return [Outcome(f"Quillmark or Notaro, {request.country}.") for request in requests]


async def test_ten_lines_take_part_beside_the_built_in_models(perfect: Simulator, tmp_path: Path) -> None:
    own = TenLines()
    assert isinstance(own, ProviderProtocol)
    path, org = tmp_path / "s.db", quillmark(20, ("chatgpt", "house-model", "gpt-4.1"), ("US", "DE"))
    async with pipeline(perfect, url(path), providers={"house-model": own}) as opened:
        summary = await opened.run(org, extraction="local")
        assert summary.complete
        assert_every_cell_once(path, org)
        assert sorted(len(batch) for batch in own.batches) == [6, 6, 7, 7, 7, 7]
        assert sorted(sum(own.batches, [])) == sorted([q.text for q in org.question_list] * 2)
        assert summary.total_cost_micro_usd == perfect.ledger()["charged_micro_usd"] + 40 * 2_000 == stored_cost(path)
        kept = rows(path, "SELECT DISTINCT answer_text FROM question_runs WHERE model = 'house-model'")
        assert {row["answer_text"] for row in kept} == {"Quillmark or Notaro, US.", "Quillmark or Notaro, DE."}
        named = rows(path, "SELECT DISTINCT name FROM org_competitors WHERE cell_key LIKE '%house-model%'")
        assert {row["name"] for row in named} == {"Notaro"}
        before = (requests(perfect), len(own.batches))
        assert (await opened.resume(summary.batch_id)).requests_made == 0
        assert (requests(perfect), len(own.batches)) == before


async def test_a_plain_provider_without_batching_and_its_limit(tmp_path: Path) -> None:
    lock, seen = threading.Lock(), {"now": 0, "most": 0, "calls": 0}
    both = threading.Barrier(2, timeout=10)

    class Plain:
        supports_batching = False
        max_batch_size = 1
        max_in_flight = 2

        def ask(self, requests: Sequence[Ask]) -> list[dict[str, Any]]:
            with lock:
                seen["now"] += 1
                seen["calls"] += 1
                seen["most"] = max(seen["most"], seen["now"])
            both.wait()  # two are inside at the same time, or this breaks
            with lock:
                seen["now"] -= 1
            return [{"status": "answered", "text": "Draftly.", "cost_micro_usd": 7} for _ in requests]

    asker = Provider.for_model("plain", providers={"plain": Plain()}, env={})
    assert (asker.supports_batching, asker.name) == (False, "plain")
    outcomes = await asker.run_question_batch(TEXTS[:8])
    assert seen == {"now": 0, "most": 2, "calls": 8}
    assert [(outcome.text, outcome.cost_micro_usd) for outcome in outcomes] == [("Draftly.", 7)] * 8


async def test_an_own_provider_is_retried_by_the_one_policy(perfect: Simulator, tmp_path: Path) -> None:
    class Moody(TenLines):
        async def ask(self, requests: Sequence[Ask]) -> list[Outcome]:
            outcomes = await super().ask(requests)
            if len(self.batches) == 1:
                raise RateLimitError("too fast", retry_after=0.0)
            if len(self.batches) == 2:
                return [Outcome(error=ServerError("broken", status_code=503)), *outcomes[1:]]
            return outcomes

    own, path, org = Moody(), tmp_path / "s.db", quillmark(5, ("house-model",))
    async with pipeline(perfect, url(path), providers={"house-model": own}) as opened:
        summary = await opened.run(org, extraction="local")
    assert (summary.status, summary.failed) == ("complete", 0)
    assert [len(batch) for batch in own.batches] == [5, 5, 1], "only what failed is asked again"
    assert summary.total_cost_micro_usd == 5 * 2_000


@pytest.mark.parametrize("wrong", ["raises", "too-few", "too-many", "no-list", "none"])
async def test_an_own_provider_that_breaks_fails_its_cells_and_no_others(
    perfect: Simulator, tmp_path: Path, wrong: str
) -> None:
    class Breaks(TenLines):
        async def ask(self, requests: Sequence[Ask]) -> Any:
            right = await super().ask(requests)
            if wrong == "raises":
                raise ValueError("my own bug")
            return {"too-few": right[1:], "too-many": [*right, *right], "no-list": "text", "none": None}[wrong]

    own, path, org = Breaks(), tmp_path / "s.db", quillmark(5, ("house-model", "gpt-4.1"))
    async with pipeline(perfect, url(path), providers={"house-model": own}) as opened:
        summary = await opened.run(org, extraction="local")
        status = await opened.status(summary.batch_id)
    assert summary.status == "partial"
    assert {model["model"]: model["answered"] for model in status.models} == {"house-model": 0, "gpt-4.1": 5}
    told = str(summary.processing_errors)
    assert {
        "raises": "my own bug",
        "too-few": "Batch returned 4 responses but expected 5",
        "too-many": "Batch returned 10 responses but expected 5",
    }.get(wrong, "ask") in told
    assert set(asked(perfect).values()) == {1}


def test_an_own_provider_that_lacks_something_is_told_what() -> None:
    class Nothing:
        pass

    with pytest.raises(ConfigError, match="house-model"):
        Provider.for_model("house-model", providers={"house-model": Nothing()}, env={})  # type: ignore[dict-item]

"""`Extractor`: any answer in, one extraction out, in order; with a model under one cap and one bill."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from e2e_help import FAST, quillmark
from hypothesis import given, settings
from hypothesis import strategies as st
from overheard import Extraction, Extractor, KnownCompetitor, Org, Outcome, Provider
from overheard.errors import AuthError, ConfigError, UnsupportedError
from overheard.simulator import Simulator
from overheard.testing import make_batch, make_model_run, make_question_run

ACME = Org("acme", "Acme", ["https://acme.example"], competitors=["Bolt", KnownCompetitor("Crate", aliases=["Krate"])])
TEXT = "1. Bolt is cheap.\n2. Acme is good, see https://acme.example/a"


def plain(extraction: Extraction) -> dict[str, Any]:
    """Without what differs by the way an answer came in, and the moment."""
    fields = extraction.to_dict()
    for name in ("key", "batch_id", "run_id", "org_id", "extracted_at_ms"):
        del fields[name]
    return fields


# --- by rules ---


def test_texts_outcomes_and_question_runs_give_the_same_in_order() -> None:
    run = make_question_run(make_model_run(make_batch()), text=TEXT, citations=[])
    extractor = Extractor(ACME)
    as_text, as_outcome, as_run, nothing = extractor.extract([TEXT, Outcome(TEXT, served_model="m-1"), run, None])
    assert plain(as_text) == plain(as_outcome) == plain(as_run)
    assert (as_text.evaluation.mentioned, as_text.evaluation.mention_rank) == (True, 2)
    assert [brand.name for brand in as_text.competitors] == ["Bolt"]
    assert [entry.ownership for entry in as_text.citations] == ["primary"]
    assert [as_text.key, as_outcome.key, as_run.key] == ["answer-1|text|anywhere|1", "answer-2|m-1|anywhere|1", run.key]
    assert not nothing.evaluation.mentioned
    assert {as_text.fingerprint, as_run.fingerprint} == {extractor.fingerprint}
    assert as_text.extractor_version == extractor.version
    assert (as_text.method, as_text.cost_micro_usd, as_text.error) == ("local", 0, None)


def test_only_answered_outcomes_have_a_text_to_look_at() -> None:
    (refused,) = Extractor(ACME).extract([Outcome("I cannot speak of Acme.", status="refused")])
    assert not refused.evaluation.mentioned


def test_answers_are_numbered_through_however_many_there_are() -> None:
    answers = (f"Acme, number {number}" for number in range(1, 1_001))
    keys = [extraction.question_id for extraction in Extractor(ACME).extract(answers)]
    assert keys == [f"answer-{number}" for number in range(1, 1_001)]


@pytest.mark.parametrize("wrong", [["fine", 7], [b"Acme"], [["Acme"]]])
def test_what_is_no_answer_is_named_by_its_number(wrong: list[Any]) -> None:
    with pytest.raises(TypeError, match=f"answer {len(wrong)}: expected str, Outcome, QuestionRun or None"):
        Extractor(ACME).extract(wrong)
    with pytest.raises(TypeError, match="not one text"):
        Extractor(ACME).extract("Acme")


def test_the_fingerprint_is_of_what_the_rules_are_told_and_of_nothing_else() -> None:
    base = {"id": "a", "name": "Acme", "competitors": ["Bolt"]}
    same = [{"id": "b"}, {"questions": ["Why?"]}, {"models": ["chatgpt"]}, {"competitors": [{"name": "Bolt"}]}]
    other = [
        {"name": "Acme Corp"},
        {"aliases": ["AC"]},
        {"websites": ["https://acme.example"]},
        {"competitors": []},
        {"competitors": [{"name": "Bolt", "products": ["Nut"]}]},
        {"confusables": ["Acme Valley"]},
        {"homonyms": ["Acme"]},
        {"context": ["tools"]},
        {"keep_apart": ["Bolt CRM"]},
    ]
    told = Extractor(base).fingerprint
    assert len(told) == 16
    assert {Extractor(base | change).fingerprint for change in same} == {told}
    prints = [Extractor(base | change).fingerprint for change in other] + [Extractor(base, names=["Akme"]).fingerprint]
    assert len({told, *prints}) == len(prints) + 1


def test_further_names_are_looked_for() -> None:
    assert not Extractor(ACME).extract(["Akmee is good."])[0].evaluation.mentioned
    assert Extractor(ACME, names=["Akmee"]).extract(["Akmee is good."])[0].evaluation.mentioned


def spans(value: Any) -> list[tuple[int, int]]:
    """Every span of an evidence."""
    if isinstance(value, dict):
        own = [tuple(value["span"])] if "span" in value else []
        own += [tuple(span) for span in value.get("spans", ())]
        return own + [span for entry in value.values() for span in spans(entry)]
    return [span for entry in value for span in spans(entry)] if isinstance(value, list) else []


any_text = st.text(st.characters(exclude_categories=()), max_size=400)
strange = st.lists(
    st.sampled_from(
        ["Acme", "\u202eAcme\u202c", "\ud800", "\udc00", "\0", "\x1b[31m", "\u200b", "漢字", "é", "Bolt", "\n1. "]
    ),
    max_size=40,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.none(), any_text, strange), max_size=6))
def test_no_answer_makes_it_fail_and_spans_lie_in_the_answer(answers: list[str | None]) -> None:
    extractions = Extractor(ACME).extract(answers)
    assert len(extractions) == len(answers)
    for answer, extraction in zip(answers, extractions, strict=True):
        text = "".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in answer or "")
        for start, end in spans(extraction.evidence):
            assert 0 <= start <= end <= len(text)
        for passage in (extraction.evaluation.mention_text or "").split(" || "):
            assert passage in text
        assert Extraction.from_dict(extraction.to_dict()) == extraction


def test_a_lone_surrogate_is_one_character_also_beside_another() -> None:
    (extraction,) = Extractor(ACME).extract(["\ud83d\ude00 Acme \udc00 is good"])
    assert extraction.evaluation.mention_text == "\ufffd\ufffd Acme \ufffd is good"


def test_ten_megabytes_are_one_answer() -> None:
    (extraction,) = Extractor(ACME).extract(["word " * 2_000_000 + "Acme"])
    assert extraction.evaluation.mentioned


def test_the_interpreter_is_let_go_while_the_rules_work() -> None:
    answers = [TEXT * 20_000] * 2
    extractor = Extractor(ACME)
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    begun = time.monotonic()
    extractor.extract(answers)
    ended = time.monotonic()
    done.set()
    thread.join()
    inside = [moment for moment in ticks if begun < moment < ended]
    assert len(inside) > (ended - begun) / 0.001 / 20, f"{len(inside)} ticks in {ended - begun:.3f} s"


async def test_without_a_model_the_async_form_is_the_same_in_a_thread() -> None:
    extractor = Extractor(ACME)
    (one,) = await extractor.extract_async([TEXT])
    assert plain(one) == plain(extractor.extract([TEXT])[0])
    assert extractor.cost_micro_usd == 0


# --- with a model ---


async def outcomes(simulator: Simulator, count: int = 6) -> list[Outcome]:
    provider = Provider.for_model("gpt-4.1", env=simulator.environment(), **FAST)
    texts = [question["text"] for question in quillmark(count).to_dict()["questions"]]
    return await provider.run_question_batch(texts)


def by_model(simulator: Simulator, **arguments: Any) -> Extractor:
    return Extractor(quillmark(0), "gpt-4.1-mini", env=simulator.environment(), **FAST, **arguments)


async def test_a_model_extracts_in_order_and_the_bill_is_what_was_charged(perfect: Simulator) -> None:
    answers = await outcomes(perfect)
    before = perfect.ledger()["charged_micro_usd"]
    extractor = by_model(perfect)
    found = await extractor.extract_async([None, *answers, ""])
    assert [extraction.question_id for extraction in found] == [f"answer-{number}" for number in range(1, 9)]
    assert [extraction.method for extraction in found] == ["local", *["llm"] * 6, "local"]
    assert [extraction.error for extraction in found] == [None] * 8
    assert any(extraction.evaluation.mentioned for extraction in found)
    charged = perfect.ledger()["charged_micro_usd"] - before
    assert charged > 0
    assert extractor.cost_micro_usd == sum(extraction.cost_micro_usd or 0 for extraction in found) == charged
    assert (extractor.maybe_charged_micro_usd, extractor.unpriced) == (0, 0)
    assert {extraction.fingerprint for extraction in found} == {extractor.fingerprint}


async def test_max_cost_holds_over_all_calls_and_each_answer_says_why_it_was_not_asked(perfect: Simulator) -> None:
    answers = await outcomes(perfect)
    extractor = by_model(perfect, max_cost="0.01", extraction_in_flight=1)
    errors: list[Any] = []
    for _ in range(12):
        errors += [extraction.error for extraction in await extractor.extract_async(answers)]
    assert extractor.cost_micro_usd <= 10_000
    refused = [error for error in errors if error is not None]
    assert refused, "the cap was never reached"
    assert {type(error).__name__ for error in refused} == {"BudgetExceeded"}
    kept = await extractor.extract_async(answers)
    assert all(extraction.error is not None and extraction.method == "local" for extraction in kept)


async def test_a_model_that_refuses_the_key_is_each_answers_error_and_not_the_lists(perfect: Simulator) -> None:
    answers = await outcomes(perfect)
    perfect.inject({}, "status:401", times=None)
    found = await by_model(perfect).extract_async(answers)
    assert {type(extraction.error) for extraction in found} == {AuthError}
    assert all(extraction.cost_micro_usd == 0 for extraction in found)


def test_what_is_wrong_is_told_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        Extractor(ACME, "gpt-4.1-mini", env={})
    with pytest.raises((UnsupportedError, ConfigError)):
        Extractor(ACME, "chatgpt", env={"BRIGHTDATA_API_KEY": "k"})
    with pytest.raises(ConfigError, match="max_cost"):
        Extractor(ACME, max_cost="lots", env={})
    with pytest.raises(ConfigError, match="names"):
        Extractor(ACME, names="Acme", env={})
    with pytest.raises(ConfigError, match=r"competitors\[0\].alias"):
        Extractor({"id": "a", "name": "A", "competitors": [{"name": "B", "alias": ["C"]}]}, env={})


async def test_cancelling_ends_it_at_once() -> None:
    with Simulator(seed=1, perfect=True) as quick:
        answers = await outcomes(quick)
    with Simulator(seed=1, perfect=True, latency_ms=30_000) as slow:
        task = asyncio.ensure_future(by_model(slow).extract_async(answers))
        await asyncio.sleep(0.3)
        task.cancel()
        begun = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - begun < 5


def test_no_key_is_shown(perfect: Simulator) -> None:
    extractor = by_model(perfect)
    key = perfect.environment()["OPENAI_API_KEY"]
    assert key not in repr(extractor)
    assert key not in repr(vars(extractor))

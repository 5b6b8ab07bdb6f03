"""Record classes: constructors, looks, equality, copies, rows for SQL stores."""

import json
import pickle
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from overheard import _core, errors
from overheard.records import (
    Ask,
    Citation,
    Competitor,
    ExistingKey,
    ExtractedCitation,
    Extraction,
    OrgEvaluation,
    Outcome,
    QuestionRun,
    Usage,
)

ERROR = {"kind": "rate_limited", "message": "too fast", "context": {"retry_after_ms": 1500, "attempts": 3}}
RUN = {
    "batch_id": "b",
    "run_id": "r",
    "org_id": "o",
    "key": {"question_id": "q|1", "model": "chatgpt", "location": "US/California", "repeat": 2},
    "question": "Best CRM?",
    "outcome": {
        "status": "answered",
        "text": "Acme \N{GRINNING FACE}",
        "citations": [{"url": "https://a.example", "title": "A", "cited": True, "position": 1, "start": 0, "end": 4}],
        "usage": {"input_tokens": 10, "output_tokens": 20, "cache_write_tokens": 3, "records": 1},
        "cost_micro_usd": 1500,
        "maybe_charged_micro_usd": 7,
        "served_model": "gpt-x",
        "location_applied": "US",
        "web_search_triggered": False,
        "search_queries": ["crm"],
        "finish_reason": "stop",
        "raw": '{"a": 1}',
        "attempts": 1,
        "started_at_ms": 1_700_000_000_123,
        "finished_at_ms": 1_700_000_001_000,
    },
}
EXTRACTION = {
    "batch_id": "b",
    "run_id": "r",
    "org_id": "o",
    "key": RUN["key"],
    "method": "llm",
    "extractor_version": "1",
    "evaluation": {"mentioned": True, "citation": True, "sentiment": "positive", "share_of_voice": 0.1 + 0.2},
    "competitors": [{"name": "Zenith", "position": 1}],
    "citations": [
        {
            "url": "https://www.a.example/?utm_source=x",
            "canonical_url": "https://a.example",
            "domain": "a.example",
            "ownership": "primary",
            "position": 1,
        }
    ],
    "cost_micro_usd": 12,
    "extracted_at_ms": 1_700_000_002_000,
}


def run(**outcome: Any) -> QuestionRun:
    return QuestionRun.from_dict({**RUN, "outcome": {**RUN["outcome"], **outcome}})  # type: ignore[dict-item]


def records() -> list[Any]:
    extraction = Extraction.from_dict(EXTRACTION)
    return [
        Ask("Why?", country="DE", city="Berlin", key="k"),
        Citation("https://a.example", title="A", cited=False),
        extraction.competitors[0],
        ExistingKey("q|m|US|1", "failed", error_kind="auth", cost_micro_usd=3),
        extraction.citations[0],
        extraction,
        extraction.evaluation,
        run().outcome,
        run(),
        Usage(input_tokens=1, searches=2),
    ]


@pytest.mark.parametrize("record", records(), ids=lambda record: type(record).__name__)
def test_a_copy_is_equal_and_prints_alike(record: Any) -> None:
    for copy in (
        type(record).from_dict(record.to_dict()),
        type(record).from_dict(json.loads(record.to_json())),
        pickle.loads(pickle.dumps(record)),
    ):
        assert copy == record
        assert hash(copy) == hash(record)
        assert repr(copy) == repr(record)
    assert record != object()
    assert type(record).__module__ == "overheard"
    assert all(hasattr(record, name) for name in type(record).__match_args__)
    with pytest.raises(AttributeError):
        record.anything = 1


@pytest.mark.parametrize("record", records(), ids=lambda record: type(record).__name__)
def test_unknown_fields_are_errors(record: Any) -> None:
    with pytest.raises(ValueError, match="surprise"):
        type(record).from_dict({**record.to_dict(), "surprise": 1})
    with pytest.raises(TypeError, match="mapping"):
        type(record).from_dict([1])


def test_repr_is_bounded_and_shows_no_raw_body() -> None:
    long = run(text="word " * 10_000, raw="SECRET-BODY" * 1000)
    for record in (long, long.outcome):
        assert len(repr(record)) < 600
        assert "SECRET" not in repr(record)


def test_question_run_shows_its_parts() -> None:
    record = run()
    assert record.key == "q%7C1|chatgpt|US/California|2"
    assert (record.question_id, record.model, record.location, record.repeat) == ("q|1", "chatgpt", "US/California", 2)
    assert (record.status, record.text, record.cost_micro_usd) == ("answered", record.outcome.text, 1500)
    assert record.cost == Decimal("0.0015")
    assert record.started_at == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=timezone.utc)
    assert run(started_at_ms=0).started_at is None
    assert run(cost_micro_usd=None).cost is None
    match record:
        case QuestionRun("q%7C1|chatgpt|US/California|2", "answered", text):
            assert text is not None
        case _:
            pytest.fail("no match")


def test_outcome_takes_its_status_from_what_is_given() -> None:
    assert Outcome("yes").status == "answered"
    assert Outcome().status == "no_answer"
    assert Outcome(error="broken").status == "failed"
    assert Outcome("I cannot", status="refused").status == "refused"
    for wrong in ({"status": "answered"}, {"text": "x", "status": "failed"}, {"text": "x", "status": "ok"}):
        with pytest.raises(ValueError, match=r"outcome|status"):
            Outcome(**wrong)  # type: ignore[arg-type]


def test_money_is_never_a_float() -> None:
    with pytest.raises(TypeError):
        Outcome("yes", cost_micro_usd=1.5)  # type: ignore[arg-type]
    assert Outcome("yes", cost_micro_usd=1).cost == Decimal("0.000001")
    assert Outcome("yes").cost is None


def test_citations_may_be_urls_objects_or_mappings() -> None:
    outcome = Outcome("yes", citations=["https://a", Citation("https://b"), {"url": "https://c", "cited": True}])
    assert [citation.url for citation in outcome.citations] == ["https://a", "https://b", "https://c"]
    assert [citation.cited for citation in outcome.citations] == [None, None, True]
    assert Outcome("yes", usage={"input_tokens": 3}).usage == Usage(input_tokens=3)


def test_outcome_error_is_an_exception_of_the_kind() -> None:
    error = run(status="failed", text=None, error=ERROR).outcome.error
    assert type(error) is errors.RateLimitError
    assert (error.retry_after, error.attempts) == (1.5, 3)
    assert str(error) == "too fast (3 attempts in 0.0 s)"
    kept = Outcome(error=errors.QuotaError("no money", provider="mine", status_code=402)).error
    assert type(kept) is errors.QuotaError
    assert (kept.provider, kept.status_code, kept.message) == ("mine", 402, "no money")
    foreign = Outcome(error=KeyError("x")).error
    assert type(foreign) is errors.RecordError
    assert "KeyError" in foreign.message
    assert Outcome("yes").error is None


def test_raw_bytes_survive_a_pickle_even_when_they_are_no_text() -> None:
    outcome = Outcome("yes", raw=b"\xff\x00\xfe")
    assert pickle.loads(pickle.dumps(outcome)).raw == b"\xff\x00\xfe"
    assert outcome.to_dict()["raw"] == "\ufffd\x00\ufffd"


def test_ask_shows_its_location_as_parts_and_as_a_mapping() -> None:
    ask = Ask("Why?", country="DE", city="Berlin")
    assert (ask.country, ask.region, ask.city) == ("DE", None, "Berlin")
    assert ask.location == {"country": "DE", "city": "Berlin"}
    assert Ask("Why?").location is None


def test_rows_hold_the_columns_and_come_back() -> None:
    before = [run(), run(status="failed", text=None, citations=[], cost_micro_usd=None, error=ERROR, raw="")]
    rows = _core.question_run_rows(before)
    row = dict(zip(_core.QUESTION_RUN_COLUMNS, rows[0], strict=True))
    assert row["cell_key"] == before[0].key
    assert (row["status"], row["answer_text"], row["raw_body"]) == ("answered", before[0].text, b'{"a": 1}')
    assert json.loads(row["citations"]) == [citation.to_dict() for citation in before[0].outcome.citations]
    assert (row["web_search_triggered"], row["unpriced"], row["error"]) == (False, False, None)
    failed = dict(zip(_core.QUESTION_RUN_COLUMNS, rows[1], strict=True))
    assert (failed["error_kind"], failed["unpriced"]) == ("rate_limited", True)
    assert type(errors.from_fields(json.loads(failed["error"]))) is errors.RateLimitError
    assert _core.question_runs_from_rows(rows) == before
    as_sqlite_has_it = [[int(value) if isinstance(value, bool) else value for value in row] for row in rows]
    assert _core.question_runs_from_rows(as_sqlite_has_it) == before


def test_a_wrong_column_is_named() -> None:
    row = list(_core.question_run_rows([run()])[0])
    row[_core.QUESTION_RUN_COLUMNS.index("citations")] = "{"
    with pytest.raises(ValueError, match="citations"):
        _core.question_runs_from_rows([row])


def test_extraction_rows_keep_a_failure_apart() -> None:
    good = Extraction.from_dict(EXTRACTION)
    failed = Extraction.from_dict({**EXTRACTION, "error": ERROR})
    evaluations, competitors, citations, failures = _core.extraction_rows([good, failed])
    evaluation = dict(zip(_core.ORG_EVAL_COLUMNS, evaluations[0], strict=True))
    assert (evaluation["mentioned"], evaluation["sentiment"], evaluation["cost_micro_usd"]) == (True, "positive", 12)
    assert evaluation["share_of_voice"] == 0.1 + 0.2
    competitor = dict(zip(_core.ORG_COMPETITOR_COLUMNS, competitors[0], strict=True))
    nothing = {"occurrences": 0, "parent": None, "merged": None}
    assert competitor == {"batch_id": "b", "cell_key": good.key, "position": 1, "name": "Zenith", **nothing}
    citation = dict(zip(_core.ORG_CITATION_COLUMNS, citations[0], strict=True))
    assert (citation["domain"], citation["type"], citation["title"]) == ("a.example", "primary", None)
    assert [len(rows) for rows in (evaluations, competitors, citations, failures)] == [1, 1, 1, 1]
    failure = dict(zip(_core.ORG_EVAL_COLUMNS, failures[0], strict=True))
    assert json.loads(failure["error"])["kind"] == "rate_limited"


def test_records_that_only_the_core_makes_have_no_constructor() -> None:
    for cls in (QuestionRun, Extraction, OrgEvaluation, Competitor, ExtractedCitation):
        with pytest.raises(TypeError, match="cannot create"):
            cls()


def test_errors_survive_a_pickle_with_their_facts() -> None:
    error = errors.RateLimitError("slow down", provider="mine", retry_after=2.5, attempts=2, body="x" * 900)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is errors.RateLimitError
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
    assert len(copy.body) == 500

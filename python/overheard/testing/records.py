"""Makes the records a store is handed, for tests. Asks no provider and extracts nothing: the values are made up."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from overheard._core import Extraction, QuestionRun
from overheard.batch import Batch, ModelRun, now_ms


def make_batch(**fields: Any) -> Batch:
    """A batch of one model run; `fields` override."""
    defaults: dict[str, Any] = {"batch_id": str(uuid4()), "org_id": "acme", "batch_size": 1, "created_at_ms": now_ms()}
    return Batch(**{**defaults, **fields})


def make_model_run(batch: Batch, model: str = "chatgpt", **fields: Any) -> ModelRun:
    """A queued model run of a batch."""
    defaults: dict[str, Any] = {
        "run_id": str(uuid4()),
        "batch_id": batch.batch_id,
        "batch_size": batch.batch_size,
        "org_id": batch.org_id,
        "model": model,
        "surface": model,
    }
    return ModelRun(**{**defaults, **fields})


def make_question_run(model_run: ModelRun, question_id: str = "q1", *, repeat: int = 1, **outcome: Any) -> QuestionRun:
    """An answered question run, $0.0015, with one citation; `outcome` overrides fields of its outcome."""
    defaults: dict[str, Any] = {
        "status": "answered",
        "text": f"Acme is fine, says {question_id}.",
        "citations": [{"url": f"https://acme.example/{question_id}?utm_source=openai", "title": "Acme"}],
        "usage": {"records": 1},
        "cost_micro_usd": 1_500,
        "location_applied": "US",
        "attempts": 1,
        "started_at_ms": 1_700_000_000_000,
        "finished_at_ms": 1_700_000_001_000,
        "raw": '{"answer": "…"}',
    }
    return QuestionRun.from_dict(
        {
            "batch_id": model_run.batch_id,
            "run_id": model_run.run_id,
            "org_id": model_run.org_id,
            "key": {"question_id": question_id, "model": model_run.model, "location": "US", "repeat": repeat},
            "question": f"Question {question_id}?",
            "outcome": {**defaults, **outcome},
        }
    )


def make_extraction(run: QuestionRun, **fields: Any) -> Extraction:
    """An extraction with two competitors and one citation, 70 micro-dollars; `fields` override."""
    defaults: dict[str, Any] = {
        "batch_id": run.batch_id,
        "run_id": run.run_id,
        "org_id": run.org_id,
        "key": {
            "question_id": run.question_id,
            "model": run.model,
            "location": run.location,
            "repeat": run.repeat,
        },
        "method": "llm",
        "extractor_version": "1",
        "evaluation": {
            "mentioned": True,
            "citation": True,
            "sentiment": "positive",
            "mention_text": "Acme is fine",
            "mention_rank": 1,
            "share_of_voice": 0.5,
        },
        "competitors": [{"name": "Bolt", "position": 1}, {"name": "Crate", "position": 2}],
        "citations": [
            {
                "url": "https://acme.example/?utm_source=openai",
                "canonical_url": "https://acme.example",
                "domain": "acme.example",
                "ownership": "primary",
                "title": "Acme",
                "cited": True,
                "position": 1,
            }
        ],
        "cost_micro_usd": 70,
        "usage": {"input_tokens": 100, "output_tokens": 10},
        "extracted_at_ms": 1_700_000_002_000,
    }
    return Extraction.from_dict({**defaults, **fields})

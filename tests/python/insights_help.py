"""Insights as `Insights.to_dict()` gives them, made up by hand: two models, one with names that would do harm.

Only shape and variety matter here; that figures are right is for the tests of the measuring.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

BATCH = "7f9c2c1e-0000-4000-8000-000000000001"
EARLIER = "12ab2c1e-0000-4000-8000-000000000002"
HOSTILE = "=HYPERLINK(1)[bold]\x1b[31m\u202eevil"
_NONE = {"refused": 0, "noAnswer": 0, "failed": 0, "notExtracted": 0, "notKnown": 0}


def figure(
    metric: str,
    value: float | None,
    unit: str = "percent",
    *,
    of: tuple[float, float] = (18, 40),
    interval: tuple[float, float] | None = None,
    method: str | None = "bootstrap",
    verdict: str = "ok",
    **left_out: int,
) -> dict[str, Any]:
    """A figure with its numbers."""
    return {
        "metric": metric,
        "value": value,
        "unit": unit,
        "numerator": of[0],
        "denominator": of[1],
        "leftOut": {**_NONE, **left_out},
        "interval": None if interval is None else list(interval),
        "intervalMethod": None if interval is None else method,
        "verdict": verdict,
    }


def summary(visibility: float, *, interval: tuple[float, float] | None = (31.5, 59.25)) -> dict[str, Any]:
    """A summary with every key; without an interval it is one of too few questions."""
    verdict = "ok" if interval else "insufficient"
    return {
        "brandSOV": "45.2",
        "brandSOVInterval": ["38.1", "52.0"] if interval else None,
        "topCompetitor": "Inkwell",
        "visibility": figure("visibility", visibility, interval=interval, verdict=verdict, refused=2, failed=1),
        "ownCitationRate": figure("ownCitationRate", 20.0, of=(8, 40), interval=interval, verdict=verdict),
        "ownCitationShare": figure("ownCitationShare", 4.5, of=(9, 200), interval=interval, verdict=verdict),
        "shareOfVoiceBinary": figure("shareOfVoiceBinary", 45.2, of=(19, 42), interval=interval, verdict=verdict),
        "shareOfVoiceText": figure("shareOfVoiceText", 33.1, of=(13.25, 40), interval=interval, verdict=verdict),
        "averageRank": figure("averageRank", 2.25, "rank", of=(40.5, 18), interval=interval and (1.5, 3.0)),
        "meanReciprocalRank": figure("meanReciprocalRank", 0.41, "ratio", of=(16.4, 40)),
        "positionScore": figure("positionScore", 61.0, "score", of=(2440, 40)),
        "sentiment": figure("sentiment", None, "score", of=(0, 0), verdict="no data", notKnown=18),
        "ghostCitationRate": figure("ghostCitationRate", 12.5, of=(1, 8)),
        "overallScore": figure("overallScore", 67.5, "score", of=(2700, 40), interval=interval and (60.0, 75.0)),
        "cost": {"totalMicroUsd": 354_289, "total": "0.354289", "maybeChargedMicroUsd": 1_500, "notKnown": 0},
        "questions": 10,
        "outcomes": {"answered": 40, "refused": 2, "noAnswer": 0, "failed": 1, "notExtracted": 3, "notKnown": 0},
    }


def _model(name: str, surface: str, visibility: float, served: list[str]) -> dict[str, Any]:
    few = summary(visibility, interval=None)
    locations = [{"location": place, "summary": few} for place in ("DE", "US")]
    return {
        "model": name,
        "surface": surface,
        "servedModels": served,
        "summary": summary(visibility),
        "locations": locations,
    }


def _competitor(name: str, answers: int) -> dict[str, Any]:
    return {
        "name": name,
        "answers": answers,
        "visibility": figure("visibility", answers * 2.5, of=(answers, 40), interval=(10.0, 40.0)),
        "shareOfVoice": figure("shareOfVoice", answers * 1.5, of=(answers, 66)),
        "averagePosition": 1.75,
        "models": {"chatgpt": answers - 1, "gpt-4.1": 1},
    }


def _change(model: str | None, verdict: str) -> dict[str, Any]:
    return {
        **({} if model is None else {"model": model}),
        "verdict": verdict,
        "reason": "p 0.012 < 0.05" if verdict == "moved" else "p 0.34",
        "before": figure("visibility", 30.0, of=(12, 40), interval=(18.0, 45.0)),
        "after": figure("visibility", 45.0, interval=(31.5, 59.25)),
        "b": 2,
        "c": 11,
        "p": 0.012 if verdict == "moved" else None,
    }


_METRICS = [{"metric": "models.chatgpt.visibility", "value": 50.0}]
HOLISTIC: Mapping[str, Any] = {
    "source": "model",
    "model": "gpt-4.1-mini",
    "promptVersion": "1",
    "revision": 1,
    "agreements": [
        {"statement": "Both models name Inkwell more often than you.", "confidence": "high", "metrics": _METRICS}
    ],
    "disagreements": [
        {"statement": f"Only chatgpt cites {HOSTILE}.", "confidence": "investigate", "metrics": _METRICS}
    ],
    "actions": [
        {
            "action": "Get reviewed on stackcritic.example, which both models cite and which does not name you yet.",
            "priority": "high",
            "effort": "medium",
            "impact": "Visibility on both models.",
            "restsOn": [0],
            "metrics": _METRICS,
        }
    ],
    "dropped": {"contradicts": 1, "cites nothing": 2, "unknown metric": 0, "invalid": 0},
    "costMicroUsd": 900,
    "why": None,
}
_INSIGHTS: dict[str, Any] = {
    "batchIds": [BATCH],
    "batchStatus": {
        "batchId": BATCH,
        "batchSize": 2,
        "complete": True,
        "finished": True,
        "status": "complete",
        "message": "All models complete - insights reflect full cross-model analysis",
        "completed": 2,
        "failed": 0,
        "running": 0,
        "queued": 0,
        "models": [],
    },
    "summary": {**summary(45.0), "agreement": {"raw": figure("raw", 72.5, of=(14.5, 20)), "kappa": 0.41}},
    "models": [
        _model("chatgpt", "chatgpt", 50.0, ["gpt-5-5", "gpt-5-6"]),
        _model("gpt-4.1", "openai", 40.0, ["gpt-4.1-2025-04-14"]),
    ],
    "questions": [
        {
            "questionId": "q000",
            "question": "Which tool suits a team?",
            "cells": [
                {"model": "chatgpt", "visibility": figure("visibility", 100.0, of=(2, 2), interval=(34.24, 100.0))},
                {"model": "gpt-4.1", "visibility": figure("visibility", None, of=(0, 0), verdict="no data")},
            ],
        }
    ],
    "competitors": [
        _competitor("Inkwell", 16),
        _competitor(HOSTILE, 9),
        *(_competitor(f"Rival {n}", 8) for n in range(10)),
    ],
    "domains": [
        {
            "domain": "quillmark.example",
            "type": "primary",
            "answers": 8,
            "citations": 9,
            "share": figure("share", 4.5, of=(9, 200), interval=(2.0, 8.0)),
            "models": {"chatgpt": 9},
        },
        {
            "domain": "a-long-name-of-a-domain-that-does-not-fit-into-a-column.thedailycompass.example",
            "type": "secondary",
            "answers": 20,
            "citations": 31,
            "share": figure("share", 15.5, of=(31, 200), interval=(9.0, 22.5)),
            "models": {"chatgpt": 30, "gpt-4.1": 1},
        },
    ],
    "agreement": [
        {
            "models": ["chatgpt", "gpt-4.1"],
            "cells": 20,
            "raw": figure("raw", 72.5, of=(14.5, 20), interval=(50.0, 90.0)),
            "kappa": 0.41,
            "domainsJaccard": 0.2,
            "competitorsOverlap": figure("competitorsOverlap", 0.3, "ratio", of=(21, 70), interval=(0.2, 0.4)),
        }
    ],
    "change": {
        "against": EARLIER,
        "metric": "visibility",
        **_change(None, "moved"),
        "models": [_change("chatgpt", "within noise")],
    },
    "holistic": None,
}


def insights(**changed: Any) -> dict[str, Any]:
    """Insights of a complete batch; `changed` replaces whole sections."""
    return copy.deepcopy({**_INSIGHTS, **changed})


class Measured:
    """What `Pipeline.insights` returns, as far as the tables need it."""

    def __init__(self, plain: Mapping[str, Any] | None = None) -> None:
        self.plain = insights() if plain is None else plain

    def to_dict(self) -> Mapping[str, Any]:
        return self.plain

"""What the tests of holistic insights share: a measured table as `Insights.to_dict()` gives it, and replies about it.

The figures are made up here, so that every test knows what is true of them; measuring is tested elsewhere.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from overheard import Pipeline

Interval = tuple[float, float] | None


def figure(metric: str, value: float | None, interval: Interval = None, **fields: Any) -> dict[str, Any]:
    """A figure as the table of metrics gives it."""
    made: dict[str, Any] = {
        "metric": metric,
        "value": value,
        "unit": "percent",
        "numerator": value or 0.0,
        "denominator": 100.0,
        "leftOut": {"refused": 0, "noAnswer": 0, "failed": 0, "notExtracted": 0, "notKnown": 0},
        "interval": None if interval is None else list(interval),
        "intervalMethod": None if interval is None else "bootstrap",
        "verdict": "no data" if value is None else "ok",
    }
    return made | fields


def model(name: str, visibility: float | None, interval: Interval, rank: float | None = None) -> dict[str, Any]:
    summary = {
        "visibility": figure("visibility", visibility, interval),
        "averageRank": figure("averageRank", rank, None if rank is None else (rank - 0.5, rank + 0.5), unit="rank"),
        "brandSOV": "45.2",
    }
    return {"model": name, "surface": name, "servedModels": [name], "summary": summary, "locations": []}


def competitor(name: str, visibility: float | None, interval: Interval, **models: int) -> dict[str, Any]:
    fields = {"answers": sum(models.values()), "models": models}
    return {"name": name, "visibility": figure("visibility", visibility, interval), **fields}


def measured(**changes: Any) -> dict[str, Any]:
    """Two models that agree, one far below; a competitor ahead of the organisation; a pair that agrees poorly."""
    insights: dict[str, Any] = {
        "batchIds": ["b1"],
        "batchStatus": {"batchId": "b1", "complete": True},
        "summary": {
            "brandSOV": "45.2",
            "brandSOVInterval": ["38.1", "52.0"],
            "topCompetitor": "Inkwell",
            "visibility": figure("visibility", 45.23, (40.0, 50.0)),
            "ownCitationRate": figure("ownCitationRate", 0.0, (0.0, 3.0)),
            "sentiment": figure("sentiment", 61.0, (50.0, 70.0), unit="score"),
            "averageRank": figure("averageRank", 2.4, (2.0, 3.0), unit="rank"),
            "cost": {"totalMicroUsd": 1000, "total": "0.001000", "maybeChargedMicroUsd": 0},
            "agreement": {"raw": figure("raw", 71.0, None), "kappa": 0.35},
            "questions": 12,
        },
        "models": [
            model("chatgpt", 58.1, (50.0, 66.0), 2.0),
            model("perplexity", 57.4, (49.0, 65.0), 2.2),
            model("gpt-4.1-mini", 20.3, (13.0, 29.0), 4.5),
        ],
        "questions": [{"questionId": "q1", "question": "SECRET QUESTION TEXT", "cells": []}],
        "competitors": [
            competitor("Inkwell", 72.0, (66.0, 78.0), chatgpt=20, perplexity=16),
            competitor("Draftly 9", 44.0, (38.0, 50.0), chatgpt=9),
        ],
        "domains": [{"domain": "getpress.example", "type": "secondary", "answers": 7, "share": figure("share", 12.5)}],
        "agreement": [
            {
                "models": ["chatgpt", "perplexity"],
                "cells": 48,
                "raw": figure("raw", 68.8, (55.0, 80.0)),
                "kappa": 0.21,
                "domainsJaccard": None,
                "competitorsOverlap": figure("competitorsOverlap", 40.0, (30.0, 50.0)),
            }
        ],
        "change": None,
        "holistic": None,
    }
    return insights | changes


def nulls(value: Any) -> Any:
    """The same structure, every number and interval of it null."""
    if isinstance(value, dict):
        return {name: nulls(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [nulls(entry) for entry in value]
    return value if isinstance(value, str) else None


def statement(text: str, *claims: tuple[str, str, str | None], entry: str = "s1", **values: Any) -> dict[str, Any]:
    """A statement that cites `values` (`__` for a dot) under its claims."""
    metrics = [{"metric": path.replace("__", "."), "value": value} for path, value in values.items()]
    listed = [{"relation": relation, "left": left, "right": right} for relation, left, right in claims]
    return {"id": entry, "statement": text, "metrics": metrics, "claims": listed}


def action(text: str, *rests_on: str, **fields: Any) -> dict[str, Any]:
    made = {"action": text, "priority": "high", "effort": "low", "impact": "More answers.", "metrics": []}
    return made | {"restsOn": list(rests_on)} | fields


def reply(agreements: list[Any] = [], disagreements: list[Any] = [], actions: list[Any] = []) -> dict[str, Any]:  # noqa: B006
    return {"agreements": agreements, "disagreements": disagreements, "actions": actions}


def measures(monkeypatch: pytest.MonkeyPatch, table: dict[str, Any]) -> list[str]:
    """Makes `Pipeline.insights` give this table; the list tells of which batches it was asked."""
    asked: list[str] = []

    async def insights(_: Pipeline, batch_or_org: str) -> Any:
        asked.append(batch_or_org)
        return SimpleNamespace(to_dict=lambda: table, models=())

    monkeypatch.setattr(Pipeline, "insights", insights, raising=False)
    return asked


def insight_rows(batch_id: str, after: str | None, limit: int) -> list[dict[str, Any]]:
    """What marks a store as one that can be measured; `measures` measures in its place."""
    raise AssertionError("nothing is read here")

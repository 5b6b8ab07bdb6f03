"""Insights as rows, one a figure. Pure: takes what `Insights.to_dict()` gives, measures nothing, imports no library.

What is missing or null in it gives no row, or a null in its row; never an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from overheard._columns import COLUMNS
from overheard._loose import count, mapping, mappings, number, sequence, text

_LEFT_OUT = {
    "refused": "left_out_refused",
    "noAnswer": "left_out_no_answer",
    "failed": "left_out_failed",
    "notExtracted": "left_out_not_extracted",
    "notKnown": "left_out_not_known",
}

_TEXTS = [column.name for column in COLUMNS["metrics"] if column.kind == "text"]


def figure_rows(insights: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One row a figure, with the columns of the table `metrics`.

    `scope` is `summary`, `model`, `location` (of a model), `question`, `competitor`, `domain`, `agreement` or `change`;
    `name` is the competitor, the domain, the pair of models (`a~b`), or `before` and `after` of a change; `metric` is
    the key in `Insights.to_dict()`. Percent values are 0-100; `low` and `high` bound the 95 % interval.

    Args:
        insights: As `Insights.to_dict()` gives it.
    """
    base = {"batch_ids": [str(entry) for entry in sequence(insights.get("batchIds"))]}
    for place, numbers in _numbers(insights):
        row = {**place, **numbers}
        yield {**base, **row, **{name: text(row.get(name)) for name in _TEXTS}}


def _numbers(insights: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Where each figure stands, and its numbers."""
    for scope, place, numbers in _sections(insights):
        yield {"scope": scope, **place}, numbers


def _sections(insights: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    yield from (("summary", {}, numbers) for numbers in _summary(mapping(insights.get("summary"))))
    served: dict[str | None, dict[str, Any]] = {}
    for model in mappings(insights.get("models")):
        place = {
            "model": model.get("model"),
            "served_model": ", ".join(str(name) for name in sequence(model.get("servedModels"))) or None,
            "surface": model.get("surface"),
        }
        served[text(model.get("model"))] = place
        yield from (("model", place, numbers) for numbers in _summary(mapping(model.get("summary"))))
        for location in mappings(model.get("locations")):
            there = {**place, "location": location.get("location")}
            yield from (("location", there, numbers) for numbers in _summary(mapping(location.get("summary"))))
    for question in mappings(insights.get("questions")):
        for cell in mappings(question.get("cells")):
            place = _of_model(served, cell)
            place = {**place, "question_id": question.get("questionId"), "name": question.get("question")}
            yield from (("question", place, numbers) for numbers in _entries(cell))
    for scope, section, key in (("competitor", "competitors", "name"), ("domain", "domains", "domain")):
        for entry in mappings(insights.get(section)):
            yield from ((scope, {"name": entry.get(key)}, numbers) for numbers in _entries(entry))
    for pair in mappings(insights.get("agreement")):
        name = "~".join(str(model) for model in sequence(pair.get("models")))
        yield from (("agreement", {"name": name}, numbers) for numbers in _entries(pair))
    change = mapping(insights.get("change"))
    for entry in (change, *mappings(change.get("models"))):
        for name in ("before", "after"):
            figure = entry.get(name)
            if isinstance(figure, Mapping):
                place = {**_of_model(served, entry), "name": name}
                yield "change", place, _figure(change.get("metric"), figure)


def _of_model(served: Mapping[str | None, dict[str, Any]], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Where the figures of a model stand; of all models when the entry names none."""
    model = text(entry.get("model"))
    return served.get(model, {"model": model})


def _summary(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The figures of a summary, then its cost and its counts."""
    yield from _entries(summary)
    for name, unit in (("totalMicroUsd", "micro_usd"), ("maybeChargedMicroUsd", "micro_usd"), ("notKnown", "count")):
        if (value := number(mapping(summary.get("cost")).get(name))) is not None:
            yield {"metric": f"cost.{name}", "value": value, "unit": unit}
    for part in ("outcomes", "agreement"):
        for metric, value in mapping(summary.get(part)).items():
            if isinstance(value, Mapping):
                yield _figure(f"{part}.{metric}", value)
            elif (found := number(value)) is not None:
                yield {"metric": f"{part}.{metric}", "value": found, "unit": "count" if part == "outcomes" else None}


def _entries(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The figures and plain numbers that stand in a mapping by their names."""
    for metric, value in entry.items():
        if isinstance(value, Mapping) and "value" in value:
            yield _figure(metric, value)
        elif (found := number(value)) is not None:
            unit = "rank" if metric == "averagePosition" else "count" if isinstance(value, int) else "ratio"
            yield {"metric": metric, "value": found, "unit": unit}


def _figure(metric: Any, figure: Mapping[str, Any]) -> dict[str, Any]:
    interval = sequence(figure.get("interval"))
    low, high = interval if len(interval) == 2 else (None, None)
    left_out = mapping(figure.get("leftOut"))
    counts = {column: count(left_out.get(name)) for name, column in _LEFT_OUT.items()}
    known = [entry for entry in counts.values() if entry is not None]
    return {
        "metric": metric,
        "value": number(figure.get("value")),
        "unit": figure.get("unit"),
        "numerator": number(figure.get("numerator")),
        "denominator": number(figure.get("denominator")),
        "low": number(low),
        "high": number(high),
        "interval_method": figure.get("intervalMethod"),
        "verdict": figure.get("verdict"),
        "left_out": sum(known) if known else None,
        **counts,
    }

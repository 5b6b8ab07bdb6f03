"""What holistic insights are: statements with the metrics they rest on, actions, and what was dropped. Pure data.

Written by a model or by rules, and checked elsewhere: nothing here decides what is true.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

Confidence = Literal["high", "investigate"]
Level = Literal["high", "medium", "low"]
Source = Literal["model", "rules"]

LEVELS: tuple[Level, ...] = ("high", "medium", "low")
DROPS = ("contradicts", "cites nothing", "unknown metric", "invalid")
"""Why something that was written is not kept, in the words of the counts."""


@dataclass(frozen=True)
class Cited:
    """A metric that a statement rests on.

    Attributes:
        metric: Dotted path in `Insights.to_dict()`, such as `models.chatgpt.visibility`.
        value: As measured, in the metric's unit; None: not known.
    """

    metric: str
    value: float | None

    def to_dict(self) -> dict[str, Any]:
        """`metric` and `value`."""
        return {"metric": self.metric, "value": self.value}

    @classmethod
    def from_dict(cls, data: Any) -> Cited:
        """The inverse of `to_dict`.

        Raises:
            ValueError: Names the field that is wrong.
        """
        value = _of(data, "value", "a metric", (int, float, type(None)))
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("a metric: value is not finite")
        return cls(_text(data, "metric", "a metric"), value)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One sentence about the table.

    Attributes:
        statement: The sentence; untrusted text when a model wrote it.
        confidence: `high` where the models agree, `investigate` where they do not or where too little is known.
        metrics: What it rests on; empty only where the table has no metric at all.
    """

    statement: str
    confidence: Confidence
    metrics: tuple[Cited, ...]

    def to_dict(self) -> dict[str, Any]:
        """In the shape of `Holistic.to_dict()`."""
        metrics = [cited.to_dict() for cited in self.metrics]
        return {"statement": self.statement, "confidence": self.confidence, "metrics": metrics}

    @classmethod
    def from_dict(cls, data: Any) -> Statement:
        """The inverse of `to_dict`.

        Raises:
            ValueError: Names the field that is wrong.
        """
        return cls(
            statement=_text(data, "statement", "a statement"),
            confidence=cast("Confidence", _word(data, "confidence", "a statement", ("high", "investigate"))),
            metrics=_items(data, "metrics", "a statement", Cited.from_dict),
        )


@dataclass(frozen=True, kw_only=True)
class Action:
    """What to do next.

    Attributes:
        action: The sentence; untrusted text when a model wrote it.
        priority: `high`, `medium` or `low`.
        effort: The same three words.
        impact: What is expected of it, in words.
        rests_on: Statements it rests on: `agreements.0`, `disagreements.2` (section and place, from 0).
        metrics: The metrics it rests on.
    """

    action: str
    priority: Level
    effort: Level
    impact: str
    rests_on: tuple[str, ...]
    metrics: tuple[Cited, ...]

    def to_dict(self) -> dict[str, Any]:
        """In the shape of `Holistic.to_dict()`."""
        return {
            "action": self.action,
            "priority": self.priority,
            "effort": self.effort,
            "impact": self.impact,
            "restsOn": list(self.rests_on),
            "metrics": [cited.to_dict() for cited in self.metrics],
        }

    @classmethod
    def from_dict(cls, data: Any) -> Action:
        """The inverse of `to_dict`.

        Raises:
            ValueError: Names the field that is wrong.
        """
        rests_on = _of(data, "restsOn", "an action", (list, tuple))
        if not rests_on or not all(isinstance(place, str) for place in rests_on):
            raise ValueError("an action: restsOn names no statement")
        return cls(
            action=_text(data, "action", "an action"),
            priority=cast("Level", _word(data, "priority", "an action", LEVELS)),
            effort=cast("Level", _word(data, "effort", "an action", LEVELS)),
            impact=_text(data, "impact", "an action"),
            rests_on=tuple(rests_on),
            metrics=_items(data, "metrics", "an action", Cited.from_dict),
        )


@dataclass(frozen=True, kw_only=True)
class Holistic:
    """The comparison of a batch's models.

    Attributes:
        source: `model`: a language model wrote it from the measured table; `rules`: rules did.
        model: The model that wrote it; None: rules did.
        prompt_version: Version of the prompt, or of the rules.
        revision: Revision of the batch's answers; None: not stored.
        agreements: What holds with the certainty of its intervals.
        disagreements: Where models differ, or where too little is known.
        actions: Those that rest on an agreement first.
        dropped: How many things a model wrote were not kept, by reason: see `DROPS`.
        cost_micro_usd: What writing was charged, micro-dollars; None: unpriced.
        why: Why rules wrote it; None: a model did.
    """

    source: Source
    prompt_version: str
    model: str | None = None
    revision: int | None = None
    agreements: tuple[Statement, ...] = ()
    disagreements: tuple[Statement, ...] = ()
    actions: tuple[Action, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(DROPS, 0))
    cost_micro_usd: int | None = 0
    why: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """CamelCase, plain types only; what `Insights.to_dict()` has under `holistic`."""
        return {
            "source": self.source,
            "model": self.model,
            "promptVersion": self.prompt_version,
            "revision": self.revision,
            "agreements": [entry.to_dict() for entry in self.agreements],
            "disagreements": [entry.to_dict() for entry in self.disagreements],
            "actions": [entry.to_dict() for entry in self.actions],
            "dropped": dict(self.dropped),
            "costMicroUsd": self.cost_micro_usd,
            "why": self.why,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Holistic:
        """The inverse of `to_dict`; further keys are left alone.

        Raises:
            ValueError: Names the field that is wrong.
        """
        where = "holistic insights"
        dropped = _of(data, "dropped", where, Mapping)
        counts = {reason: _of(dropped, reason, "dropped", int) for reason in DROPS}
        cost = _of(data, "costMicroUsd", where, (int, type(None)))
        if min([cost or 0, *counts.values()]) < 0:
            raise ValueError(f"{where}: a count or a cost is negative")
        made = cls(
            source=cast("Source", _word(data, "source", where, ("model", "rules"))),
            model=_of(data, "model", where, (str, type(None))),
            prompt_version=_text(data, "promptVersion", where),
            revision=_of(data, "revision", where, (int, type(None))),
            agreements=_items(data, "agreements", where, Statement.from_dict),
            disagreements=_items(data, "disagreements", where, Statement.from_dict),
            actions=_items(data, "actions", where, Action.from_dict),
            dropped=counts,
            cost_micro_usd=cost,
            why=_of(data, "why", where, (str, type(None))),
        )
        made._check()
        return made

    def _check(self) -> None:
        if (self.source == "model") != (self.model is not None):
            raise ValueError("holistic insights: source and model do not fit each other")
        if any(entry.confidence != "high" for entry in self.agreements):
            raise ValueError("holistic insights: an agreement is not of high confidence")
        if any(entry.confidence != "investigate" for entry in self.disagreements):
            raise ValueError("holistic insights: a disagreement is not to be investigated")
        places = {f"agreements.{place}" for place in range(len(self.agreements))}
        places |= {f"disagreements.{place}" for place in range(len(self.disagreements))}
        if missing := [place for entry in self.actions for place in entry.rests_on if place not in places]:
            raise ValueError(f"holistic insights: an action rests on {missing[0]}, which is not there")


def _of(data: Any, name: str, where: str, kinds: Any) -> Any:
    if not isinstance(data, Mapping) or name not in data:
        raise ValueError(f"{where}: {name} is missing")
    value = data[name]
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise ValueError(f"{where}: {name} is of type {type(value).__name__}")
    return value


def _text(data: Any, name: str, where: str) -> str:
    text: str = _of(data, name, where, str)
    if not text.strip():
        raise ValueError(f"{where}: {name} is empty")
    return text


def _word(data: Any, name: str, where: str, words: Sequence[str]) -> str:
    word = _text(data, name, where)
    if word not in words:
        raise ValueError(f"{where}: {name} is none of {', '.join(words)}")
    return word


def _items(data: Any, name: str, where: str, read: Any) -> tuple[Any, ...]:
    return tuple(read(entry) for entry in _of(data, name, where, (list, tuple)))

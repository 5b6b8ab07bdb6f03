"""The measured table: `Insights.to_dict()` reduced to figures by path. No answer, no question and no text but names.

Whatever is missing, null or of another type is not known; nothing here raises for what a mapping holds. Names of
competitors, domains and models are untrusted: control characters are taken out, their length and number are bounded.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TypeGuard

LONGEST_NAME = 80
MOST_MODELS = 20
MOST_COMPETITORS = 20
MOST_DOMAINS = 20
MOST_PAIRS = 60
MOST_FIGURES = 800

#: Decimals that a figure is shown with, by unit; half of the last one is what a claimed value may be off.
DIGITS: Mapping[str, int] = {"percent": 1, "score": 1, "rank": 2, "ratio": 3, "count": 0}

_LOWER_IS_BETTER = frozenset({"averageRank", "averageListPosition", "averagePosition", "ghostCitationRate"})


@dataclass(frozen=True)
class Figure:
    """One measured value.

    Attributes:
        path: Dotted, as `Insights.explain` and the page name it.
        kind: First part of the path: `summary`, `models`, `competitors`, `domains`, `agreement`, `change`.
        subject: The model, competitor, domain or pair; empty for `summary` and `change`.
        metric: What is measured: `visibility`, `averageRank`, …
        value: None: not known.
        unit: `percent`, `rank`, `score`, `count` or `ratio`.
        interval: Low and high; None: none was measured.
        verdict: `ok`, `insufficient` or `no data`.
    """

    path: str
    kind: str
    subject: str
    metric: str
    value: float | None
    unit: str
    interval: tuple[float, float] | None = None
    verdict: str = "ok"

    @property
    def shown(self) -> str:
        """The value as prompt and sentences write it; `no data` when it is not known."""
        return "no data" if self.value is None else written(self.value, self.unit)

    @property
    def tolerance(self) -> float:
        """How far a claimed value may be off: half of the last decimal that is shown; nothing for a count."""
        digits = DIGITS.get(self.unit, 1)
        return 0.5 * 10.0**-digits if digits else 0.0

    @property
    def lower_is_better(self) -> bool:
        """True for ranks and for ghost citations."""
        return self.metric in _LOWER_IS_BETTER


@dataclass(frozen=True)
class Table:
    """Figures by path, in the order they are shown.

    Attributes:
        figures: Path to figure; never empty paths.
        left_out: What the bounds cut off, in words; empty: nothing.
    """

    figures: Mapping[str, Figure]
    left_out: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, insights: Mapping[str, Any]) -> Table:
        """The table of `Insights.to_dict()`, whatever it holds."""
        figures: dict[str, Figure] = {}
        left_out: list[str] = []
        for figure in _figures(insights if isinstance(insights, Mapping) else {}, left_out):
            # A second figure of a path can only come from two names that are the same once cleaned.
            if len(figures) < MOST_FIGURES:
                figures.setdefault(figure.path, figure)
        return cls(figures, tuple(left_out))

    @property
    def known(self) -> list[Figure]:
        """The figures that have a value."""
        return [figure for figure in self.figures.values() if figure.value is not None]

    def of_kind(self, kind: str, metric: str) -> list[Figure]:
        """The figures of one kind and metric, those without a value too."""
        return [figure for figure in self.figures.values() if (figure.kind, figure.metric) == (kind, metric)]


def clean(text: Any, limit: int) -> str:
    """One line without control, format and surrogate characters, cut to `limit`; empty for what is no text."""
    if not isinstance(text, str):
        return ""
    shown = (" " if unicodedata.category(character)[0] in "CZ" else character for character in text[: 4 * limit])
    return " ".join("".join(shown).split())[:limit].strip()


def number(value: Any) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        made = float(value)
    except OverflowError:
        return None
    return made if math.isfinite(made) else None


def written(value: float, unit: str) -> str:
    """A value with the decimals of its unit."""
    text = f"{value:.{DIGITS.get(unit, 1)}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _figures(insights: Mapping[str, Any], left_out: list[str]) -> Iterator[Figure]:
    summary = _mapping(insights.get("summary"))
    yield from _all_of("summary", "", summary)
    agreement = _mapping(summary.get("agreement"))
    yield from _figure("summary.agreement.raw", "summary", "", "agreement.raw", agreement.get("raw"))
    yield from _plain("summary.agreement.kappa", "summary", "", "agreement.kappa", agreement.get("kappa"), "ratio")
    change = _mapping(insights.get("change"))
    for name in ("before", "after"):
        yield from _figure(f"change.{name}", "change", "", name, change.get(name))
    models = _named(insights, "models", "model", MOST_MODELS, left_out)
    for name, entry in models:
        yield from _all_of("models", name, _mapping(entry.get("summary")))
    for name, entry in _named(insights, "competitors", "name", MOST_COMPETITORS, left_out):
        yield from _all_of("competitors", name, entry)
        counts = _mapping(entry.get("models"))
        for model, _ in models:
            path = f"competitors.{name}.models.{model}"
            yield from _plain(path, "competitors", name, f"models.{model}", counts.get(model), "count")
    for name, entry in _named(insights, "domains", "domain", MOST_DOMAINS, left_out):
        yield from _all_of("domains", name, entry)
    for entry in _list(insights, "agreement", MOST_PAIRS, left_out):
        pair = entry.get("models")
        names = [clean(name, LONGEST_NAME) for name in pair] if is_list(pair) else []
        if len(names) == 2 and all(names):
            subject = "~".join(names)
            yield from _all_of("agreement", subject, entry)
            for metric in ("kappa", "domainsJaccard"):
                yield from _plain(
                    f"agreement.{subject}.{metric}", "agreement", subject, metric, entry.get(metric), "ratio"
                )


def _all_of(kind: str, subject: str, entries: Mapping[str, Any]) -> Iterator[Figure]:
    for name, entry in entries.items():
        if isinstance(name, str) and name.isascii() and name.isidentifier():
            path = ".".join(part for part in (kind, subject, name) if part)
            yield from _figure(path, kind, subject, name, entry)


def _figure(path: str, kind: str, subject: str, metric: str, entry: Any) -> Iterator[Figure]:
    """The figure of a mapping as the table of metrics gives it; nothing for any other value."""
    if not isinstance(entry, Mapping) or "value" not in entry or "unit" not in entry:
        return
    value, unit = number(entry["value"]), entry["unit"]
    bounds = entry.get("interval")
    low, high = (number(bound) for bound in bounds) if is_list(bounds) and len(bounds) == 2 else (None, None)
    interval = None if low is None or high is None or low > high else (low, high)
    verdict = entry.get("verdict")
    verdict = verdict if verdict in ("ok", "insufficient") else "no data"
    unit = unit if isinstance(unit, str) and unit in DIGITS else "score"
    yield Figure(path, kind, subject, metric, value, unit, interval, "no data" if value is None else verdict)


def _plain(path: str, kind: str, subject: str, metric: str, value: Any, unit: str) -> Iterator[Figure]:
    """The figure of a bare number: it has no interval, and nothing certain follows from it."""
    if (known := number(value)) is not None:
        yield Figure(path, kind, subject, metric, known, unit)


def _named(
    insights: Mapping[str, Any], section: str, name: str, most: int, left_out: list[str]
) -> list[tuple[str, Mapping[str, Any]]]:
    entries = ((clean(entry.get(name), LONGEST_NAME), entry) for entry in _list(insights, section, most, left_out))
    return [(cleaned, entry) for cleaned, entry in entries if cleaned]


def _list(insights: Mapping[str, Any], section: str, most: int, left_out: list[str]) -> list[Mapping[str, Any]]:
    found = insights.get(section)
    entries = [entry for entry in found if isinstance(entry, Mapping)] if is_list(found) else []
    if len(entries) > most:
        left_out.append(f"{len(entries) - most} more {section}")
    return entries[:most]


def is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    """True for a list or tuple; a text is none."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}

"""The same three sections without a model: sentences put together from the measured table by fixed rules.

What comes out goes through the same check as what a model writes; a sentence that the check drops is a fault of the
rules. Knows no prompt and asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from overheard.holistic.check import Checked, check, truth
from overheard.holistic.content import Action, Cited, Statement
from overheard.holistic.table import Figure, Table

RULES_VERSION = "rules-1"
"""Stored in place of the prompt's version; raised whenever the rules change what comes out."""

WEAK_KAPPA = 0.4
"""Cohen's kappa below which two models agree no better than fairly (Landis and Koch 1977)."""

#: What is compared between models, with its words.
_METRICS = (
    ("visibility", "visibility"),
    ("shareOfVoiceBinary", "share of voice"),
    ("averageRank", "average rank"),
    ("sentiment", "sentiment"),
    ("ownCitationRate", "rate of own citations"),
    ("overallScore", "overall score"),
)
_MOST_PAIRS = 3
_LONGEST_LIST = 220


@dataclass(frozen=True)
class _Said:
    """A sentence, its claims (relation, left, right), and the action that follows from it."""

    text: str
    cited: tuple[Figure, ...]
    claims: tuple[tuple[str, Figure, Figure | None], ...]
    agreement: bool
    #: Action, priority, effort, impact; None: nothing follows.
    action: tuple[str, str, str, str] | None = None


def write(table: Table) -> Checked:
    """The sections, from the table alone; `no data` in words where nothing is known."""
    if not table.known:
        return _no_data(table)
    said = [*_of_models(table), *_of_rivals(table), *_of_zero(table), *_of_pairs(table)]
    checked = check(_draft(said), table)
    if not checked.is_empty:
        return checked
    known = table.known[0]
    text = (
        f"Too little is known to compare: {_name(known)} is {known.shown}, and no two figures can be set side by side."
    )
    statement = Statement(statement=text, confidence="investigate", metrics=(Cited(known.path, known.value),))
    return Checked(disagreements=[statement], actions=[_ask_more(statement)], dropped=checked.dropped)


def _of_models(table: Table) -> Iterator[_Said]:
    for metric, words in _METRICS:
        figures = [figure for figure in table.of_kind("models", metric) if figure.value is not None]
        unknown = [figure for figure in table.of_kind("models", metric) if figure.value is None]
        if len(figures) > 1:
            yield from _compared(figures, words, table)
        if figures and unknown and metric == "visibility":
            yield _unknown(unknown, figures[0])


def _compared(figures: Sequence[Figure], words: str, table: Table) -> Iterator[_Said]:
    pairs = list(combinations(figures, 2))
    if all(truth("equal", left, right, table) == "certain" for left, right in pairs):
        values = _listed([f"{figure.subject} {figure.shown}" for figure in figures])
        claims = tuple(("equal", left, right) for left, right in pairs)
        text = f"The models agree on the {words}: {values}; their intervals hold each other's values."
        yield _Said(text, tuple(figures), claims[:24], True, _KEEP if words == "visibility" else None)
        return
    lowest, highest = (chosen(figures, key=lambda figure: figure.value or 0.0) for chosen in (min, max))
    best, worst = (lowest, highest) if lowest.lower_is_better else (highest, lowest)
    found = truth("higher", highest, lowest, table)
    if found == "certain":
        text = (
            f"The models differ on the {words}: {best.subject} has {best.shown}, {worst.subject} {worst.shown}, and "
            "their intervals do not overlap."
        )
        action = (
            f"Find out what {best.subject} reads about the organisation that {worst.subject} does not, and bring it "
            "there.",
            "high" if words == "visibility" else "medium",
            "medium",
            f"The {words} on {worst.subject} can come closer to that on {best.subject}.",
        )
        yield _Said(text, (best, worst), (("higher", highest, lowest),), False, action)
    elif found == "uncertain" and "insufficient" in (highest.verdict, lowest.verdict):
        text = (
            f"Too few questions to say whether the models differ on the {words}: {highest.subject} has "
            f"{highest.shown}, {lowest.subject} {lowest.shown}."
        )
        yield _Said(text, (highest, lowest), (("higher", highest, lowest),), False, _ASK)


def _unknown(unknown: Sequence[Figure], known: Figure) -> _Said:
    names = _listed([figure.subject for figure in unknown[:5]])
    text = f"There is no data on the visibility of: {names}; known is {known.subject} with {known.shown}."
    return _Said(text, (known, *unknown[:5]), (("known", known, None),), False, _RESUME)


def _of_rivals(table: Table) -> Iterator[_Said]:
    own = table.figures.get("summary.visibility")
    rivals = [figure for figure in table.of_kind("competitors", "visibility") if figure.value is not None]
    if own is None or own.value is None or not rivals:
        return
    best = max(rivals, key=lambda figure: figure.value or 0.0)
    ahead = truth("higher", best, own, table)
    if ahead == "false":
        if all(truth("higher", own, rival, table) == "certain" for rival in rivals):
            text = (
                f"No competitor is named as often as the organisation: it has {own.shown}, {best.subject} {best.shown}."
            )
            yield _Said(text, (own, *rivals), tuple(("higher", own, rival) for rival in rivals), True, _KEEP)
        return
    certainly = ahead == "certain"
    text = (
        f"{best.subject} is named more often than the organisation: {best.shown} against {own.shown}"
        f"{'.' if certainly else ', though the intervals overlap.'}"
    )
    action = (
        f"Compare what engines say of {best.subject} with what they say of the organisation, and close the gaps in "
        "content.",
        "high" if certainly else "medium",
        "medium",
        "The organisation is named in more of the answers that name a competitor today.",
    )
    yield _Said(text, (best, own), (("higher", best, own),), certainly, action)


def _of_zero(table: Table) -> Iterator[_Said]:
    for path, text, action in _ZEROS:
        figure = table.figures.get(path)
        if figure is not None and figure.value == 0:
            yield _Said(text, (figure,), (("absent", figure, None),), figure.verdict == "ok", action)


def _of_pairs(table: Table) -> Iterator[_Said]:
    weak = [figure for figure in table.of_kind("agreement", "kappa") if (figure.value or 0.0) < WEAK_KAPPA]
    weak.sort(key=lambda figure: figure.value or 0.0)
    for figure in weak[:_MOST_PAIRS]:
        first, _, second = figure.subject.partition("~")
        text = f"{first} and {second} seldom name the organisation in the same answers: kappa {figure.shown}."
        action = (
            f"Read the answers in which only one of {first} and {second} names the organisation.",
            "medium",
            "low",
            "It becomes clear which questions one engine answers without the organisation.",
        )
        yield _Said(text, (figure,), (("known", figure, None),), False, action)


def _draft(said: Sequence[_Said]) -> dict[str, Any]:
    """The reply of a model that says this."""
    draft: dict[str, list[dict[str, Any]]] = {"agreements": [], "disagreements": [], "actions": []}
    for place, each in enumerate(said):
        metrics = [Cited(figure.path, figure.value).to_dict() for figure in each.cited]
        claims = [
            {"relation": relation, "left": left.path, "right": None if right is None else right.path}
            for relation, left, right in each.claims
        ]
        section = "agreements" if each.agreement else "disagreements"
        draft[section].append({"id": str(place), "statement": each.text, "metrics": metrics, "claims": claims})
        if each.action is not None:
            action, priority, effort, impact = each.action
            levels = {"priority": priority, "effort": effort}
            draft["actions"].append(
                {"action": action, "impact": impact, "restsOn": [str(place)], "metrics": metrics, **levels}
            )
    return draft


def _no_data(table: Table) -> Checked:
    cited = tuple(Cited(figure.path, None) for figure in list(table.figures.values())[:1])
    text = "There is no data to compare: no metric of this batch has a value."
    statement = Statement(statement=text, confidence="investigate", metrics=cited)
    return Checked(disagreements=[statement], actions=[_ask_more(statement, _RESUME)])


def _ask_more(statement: Statement, told: tuple[str, str, str, str] | None = None) -> Action:
    action, _, _, impact = told or _ASK
    return Action(
        action=action,
        priority="high",
        effort="low",
        impact=impact,
        rests_on=("disagreements.0",),
        metrics=statement.metrics,
    )


def _listed(parts: Sequence[str]) -> str:
    """As many as a sentence takes."""
    listed = parts[0]
    for part in parts[1:]:
        if len(listed) + len(part) > _LONGEST_LIST:
            return f"{listed} and others"
        listed = f"{listed}, {part}"
    return listed


def _name(figure: Figure) -> str:
    return f"{figure.metric} of {figure.subject}" if figure.subject else figure.metric


_KEEP = (
    "Keep the pages that engines read today as they are, and measure again after every larger change of them.",
    "low",
    "low",
    "What is reached today is kept.",
)
_ASK = (
    "Ask more questions, or each question more often, before acting on this.",
    "medium",
    "low",
    "The intervals become narrower, and it can be told whether the models differ.",
)
_RESUME = (
    "Resume the batch, and look at the errors of the models without data.",
    "high",
    "low",
    "Every model counts in the comparison.",
)
_ZEROS = (
    (
        "summary.visibility",
        "No answer names the organisation.",
        (
            "Make the organisation known on the sites that engines cite for these questions.",
            "high",
            "high",
            "Engines begin to name the organisation.",
        ),
    ),
    (
        "summary.ownCitationRate",
        "No answer cites a page of the organisation.",
        (
            "Publish pages that answer these questions directly, so that engines can cite them.",
            "high",
            "medium",
            "Answers begin to cite the organisation's own pages.",
        ),
    ),
)

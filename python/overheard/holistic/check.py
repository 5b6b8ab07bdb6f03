"""Holds what was written against the measured table: what contradicts it, cites nothing or is malformed is dropped.

Takes any value at all and never raises: what a model wrote is untrusted. Decides by the table alone, never by the words
of a sentence, but for the numbers in it. The rules (`rules.py`) pass through here, too.

A claim holds
- `higher`, `lower`: both sides are known, of one unit, and stand so; certain when their intervals do not overlap;
- `equal`: the values are the same as shown, or the intervals overlap; certain when each value lies in the other's
  interval;
- `top`: no figure of the same kind and metric is better; certain when its interval overlaps none of theirs;
- `absent`: it was measured and is zero;
- `known`: it was measured; never certain, as nothing is said that could be.
Nothing is certain of a figure without an interval, or whose verdict is not `ok` (`absent` needs the verdict alone).

An agreement is a statement all of whose claims are certain and none of which sets one model against another: any other
that holds is moved to the disagreements, to be investigated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from overheard.holistic.content import DROPS, LEVELS, Action, Cited, Statement
from overheard.holistic.numbers import stands_in, without_names
from overheard.holistic.prompt import RELATIONS
from overheard.holistic.table import Figure, Table, clean, is_list, number

MOST_STATEMENTS = 12
MOST_ACTIONS = 12
MOST_METRICS = 24
MOST_CLAIMS = 24
LONGEST_TEXT = 400
LONGEST_PATH = 400

_EPSILON = 1e-9
_MARKUP = ("://", "www.", "<", "](", "```")

Truth = Literal["false", "uncertain", "certain"]


class Dropped(Exception):
    """Something that is not kept; its text is the reason, one of `content.DROPS`."""


@dataclass
class Checked:
    """What was kept.

    Attributes:
        agreements: Confidence `high`.
        disagreements: Confidence `investigate`.
        actions: Each rests on a statement that was kept; those that rest on an agreement first.
        dropped: How many were not kept, by reason.
    """

    agreements: list[Statement] = field(default_factory=list)
    disagreements: list[Statement] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DROPS, 0))

    @property
    def is_empty(self) -> bool:
        """True when no statement was kept."""
        return not self.agreements and not self.disagreements


def check(reply: Any, table: Table) -> Checked:
    """Keeps what the table holds of a reply of the prompt's schema."""
    checked, places, drops = Checked(), dict[str, str](), Counter[str]()
    reply = reply if isinstance(reply, Mapping) else {}
    for section in ("agreements", "disagreements"):
        for entry in _entries(reply, section, MOST_STATEMENTS, drops):
            try:
                statement = _statement(entry, table, section == "agreements")
            except Dropped as reason:
                drops[str(reason)] += 1
                continue
            kept, name = (
                (checked.agreements, "agreements")
                if statement.confidence == "high"
                else (checked.disagreements, "disagreements")
            )
            if isinstance(known := entry.get("id"), str):
                places.setdefault(known, f"{name}.{len(kept)}")
            kept.append(statement)
    for entry in _entries(reply, "actions", MOST_ACTIONS, drops):
        try:
            checked.actions.append(_action(entry, table, checked, places))
        except Dropped as reason:
            drops[str(reason)] += 1
    checked.actions.sort(key=_rank)
    checked.dropped.update(drops)
    return checked


def truth(relation: str, left: Figure, right: Figure | None, table: Table) -> Truth:
    """Whether a claim holds in the table."""
    if left.value is None:
        return "false"
    if relation == "absent":
        return "false" if left.value != 0 else "certain" if left.verdict == "ok" else "uncertain"
    if relation == "known":
        return "uncertain"
    if relation == "top":
        return _top(left, table)
    if right is None or right.value is None or left.unit != right.unit or left.path == right.path:
        return "false"
    if relation == "equal":
        return _equal(left, right)
    high, low = (left, right) if relation == "higher" else (right, left)
    return _above(high, low)


def _above(high: Figure, low: Figure) -> Truth:
    if high.value is None or low.value is None or high.value <= low.value:
        return "false"
    if high.interval is None or low.interval is None or high.interval[0] <= low.interval[1]:
        return "uncertain"
    return "certain" if high.verdict == low.verdict == "ok" else "uncertain"


def _equal(left: Figure, right: Figure) -> Truth:
    if left.value is None or right.value is None:
        return "false"
    if left.interval is not None and right.interval is not None:
        if left.interval[0] > right.interval[1] or right.interval[0] > left.interval[1]:
            return "false"
        within = left.interval[0] <= right.value <= left.interval[1]
        within = within and right.interval[0] <= left.value <= right.interval[1]
        return "certain" if within and left.verdict == right.verdict == "ok" else "uncertain"
    return "uncertain" if left.shown == right.shown else "false"


def _top(figure: Figure, table: Table) -> Truth:
    others = [other for other in table.of_kind(figure.kind, figure.metric) if other.path != figure.path]
    known = [other for other in others if other.value is not None]
    if not known or figure.value is None:
        return "false"  # the best of one is no news
    result: Truth = "certain"
    for other in known:
        above = _above(other, figure) if figure.lower_is_better else _above(figure, other)
        if above == "false" and other.value != figure.value:
            return "false"
        result = result if above == "certain" else "uncertain"
    return result


def _statement(entry: Mapping[str, Any], table: Table, agreement: bool) -> Statement:
    text = _sentence(entry.get("statement"))
    figures = _cited(entry.get("metrics"), table)
    if not figures:
        raise Dropped("cites nothing")
    certain = agreement
    for relation, left, right in _claims(entry.get("claims"), table):
        if left.path not in figures or (right is not None and right.path not in figures):
            raise Dropped("cites nothing")
        found = truth(relation, left, right, table)
        if found == "false":
            raise Dropped("contradicts")
        certain = certain and found == "certain" and not _sets_models_apart(relation, left)
    _numbers_stand_in(text, figures.values())
    return Statement(
        statement=text,
        confidence="high" if certain else "investigate",
        metrics=tuple(Cited(figure.path, figure.value) for figure in figures.values()),
    )


def _sets_models_apart(relation: str, left: Figure) -> bool:
    """One model above the others is a difference between models, however certain it is."""
    return left.kind == "models" and relation in ("higher", "lower", "top")


def _action(entry: Mapping[str, Any], table: Table, checked: Checked, places: Mapping[str, str]) -> Action:
    text, impact = _sentence(entry.get("action")), _sentence(entry.get("impact"))
    priority, effort = entry.get("priority"), entry.get("effort")
    if priority not in LEVELS or effort not in LEVELS:
        raise Dropped("invalid")
    named = entry.get("restsOn")
    ids = [name for name in named if isinstance(name, str)] if is_list(named) else []
    rests_on = tuple(sorted({places[name] for name in ids if name in places}))
    figures = _cited(entry.get("metrics"), table)
    if not rests_on:
        raise Dropped("cites nothing")
    for place in rests_on:
        for cited in _at(checked, place).metrics:
            figures.setdefault(cited.metric, table.figures[cited.metric])
    for sentence in (text, impact):
        _numbers_stand_in(sentence, figures.values())
    metrics = tuple(Cited(figure.path, figure.value) for figure in figures.values())
    return Action(action=text, priority=priority, effort=effort, impact=impact, rests_on=rests_on, metrics=metrics)


def _at(checked: Checked, place: str) -> Statement:
    section, _, index = place.partition(".")
    return (checked.agreements if section == "agreements" else checked.disagreements)[int(index)]


def _rank(action: Action) -> tuple[bool, int]:
    on_agreement = any(place.startswith("agreements.") for place in action.rests_on)
    return not on_agreement, LEVELS.index(action.priority)


def _sentence(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise Dropped("invalid")
    text = clean(value, LONGEST_TEXT)
    if not text:
        raise Dropped("invalid")
    return text


def _cited(value: Any, table: Table) -> dict[str, Figure]:
    """The figures that an entry cites, by path; each with the value it has in the table."""
    if not is_list(value) or len(value) > MOST_METRICS:
        raise Dropped("invalid")
    figures: dict[str, Figure] = {}
    for cited in value:
        if not isinstance(cited, Mapping) or "value" not in cited:
            raise Dropped("invalid")
        figure = _figure(cited.get("metric"), table)
        claimed = number(cited["value"])
        if figure.value is None or claimed is None:
            if not (figure.value is None and cited["value"] is None):
                raise Dropped("contradicts")
        elif abs(claimed - figure.value) > figure.tolerance + _EPSILON * max(1.0, abs(figure.value)):
            raise Dropped("contradicts")
        figures[figure.path] = figure
    return figures


def _claims(value: Any, table: Table) -> Iterator[tuple[str, Figure, Figure | None]]:
    if not is_list(value) or not 0 < len(value) <= MOST_CLAIMS:
        raise Dropped("invalid")
    for claim in value:
        if not isinstance(claim, Mapping) or claim.get("relation") not in RELATIONS:
            raise Dropped("invalid")
        relation, right = claim["relation"], claim.get("right")
        two_sided = relation in ("higher", "lower", "equal")
        if two_sided == (right is None):
            raise Dropped("invalid")
        yield relation, _figure(claim.get("left"), table), _figure(right, table) if two_sided else None


def _figure(path: Any, table: Table) -> Figure:
    if not isinstance(path, str) or len(path) > LONGEST_PATH:
        raise Dropped("invalid")
    if path not in table.figures:
        raise Dropped("unknown metric")
    return table.figures[path]


def _numbers_stand_in(text: str, figures: Any) -> None:
    """Every number of a sentence is a cited value; names and paths of what is cited are no numbers of it."""
    cited = list(figures)
    names = [part for figure in cited for part in (figure.path, figure.subject, *figure.subject.split("~"))]
    names += [figure.metric.partition(".")[2] for figure in cited]
    bare = without_names(text, names)
    if any(mark in bare for mark in _MARKUP):
        raise Dropped("invalid")
    if not stands_in(bare, [figure.value for figure in cited if figure.value is not None]):
        raise Dropped("contradicts")


def _entries(reply: Mapping[str, Any], section: str, most: int, drops: Counter[str]) -> list[Mapping[str, Any]]:
    found = reply.get(section)
    entries = list(found) if is_list(found) else []
    kept = [entry for entry in entries[:most] if isinstance(entry, Mapping)]
    drops["invalid"] += len(entries) - len(kept)
    return kept

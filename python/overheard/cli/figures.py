"""Insights as tables for a terminal, 80 columns or wider. Layout only: measures nothing, prints nothing.

Names, domains and sentences come from answers. They enter as `rich.text.Text`, without control and direction
characters, in one line, never as markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from overheard._loose import count, mapping, mappings, number, sequence
from overheard.cli.terminal import clean
from overheard.summary import dollars

_SHOWN = 10  # competitors, domains, questions
_SUMMARY = (
    ("visibility", "Visibility"),
    ("shareOfVoiceBinary", "Share of voice"),
    ("shareOfVoiceOccurrences", "Share of occurrences"),
    ("shareOfVoiceText", "Share of voice in the text"),
    ("averageRank", "Average rank"),
    ("averageListPosition", "Average place in lists"),
    ("prominence", "Prominence"),
    ("meanReciprocalRank", "Mean reciprocal rank"),
    ("positionScore", "Position score"),
    ("sentiment", "Sentiment"),
    ("ownCitationRate", "Answers citing own site"),
    ("ownCitationShare", "Own share of citations"),
    ("ghostCitationRate", "Cited, not mentioned"),
    ("overallScore", "Overall score"),
)
_LEFT_OUT = (
    ("refused", "refused"),
    ("noAnswer", "no answer"),
    ("failed", "failed"),
    ("notExtracted", "not extracted"),
    ("notKnown", "not known"),
)
_DIGITS = {"percent": 1, "score": 1, "count": 0}
_NOTHING = "-"
_FOOT = (
    "Intervals: 95 %. insufficient: fewer than five questions, so chance alone could explain it. "
    "Of: what was counted, of how many."
)


def sections(insights: Mapping[str, Any], *, wide: bool, holistic: bool) -> Iterator[RenderableType]:
    """What is printed, from top to bottom.

    Args:
        insights: As `Insights.to_dict()` gives it; whatever is missing or null in it is shown as not known.
        wide: At least 100 columns; else 80.
        holistic: With the holistic insights.
    """
    yield _head(insights)
    for section in (
        [_summary(mapping(insights.get("summary")))],
        [_models(mappings(insights.get("models")), wide=wide)],
        _ranked("Competitors", mappings(insights.get("competitors")), _competitors, wide=wide),
        _ranked("Domains", mappings(insights.get("domains")), _domains, wide=wide),
        _agreement(mappings(insights.get("agreement")), mapping(mapping(insights.get("summary")).get("agreement"))),
        _change(insights.get("change")),
        _holistic(insights.get("holistic")) if holistic else (),
        [Text(_FOOT, style="dim")],
    ):
        for place, part in enumerate(section):
            yield part if place else Padding(part, (1, 0, 0, 0))


def _head(insights: Mapping[str, Any]) -> Text:
    status = mapping(insights.get("batchStatus"))
    batches = ", ".join(str(entry) for entry in sequence(insights.get("batchIds"))) or str(status.get("batchId"))
    text = _sentence(f"Batch {batches}: {status.get('status', 'not known')}", style="bold")
    text.append(f"\n{_line(status.get('message'))}", style="not bold")
    summary = mapping(insights.get("summary"))
    top = summary.get("topCompetitor")
    text.append(f"\nBrand share of voice: {_brand(summary)}; top competitor: {_line(top) or 'none'}", style="not bold")
    return text


def _brand(summary: Mapping[str, Any]) -> str:
    value, interval = summary.get("brandSOV"), sequence(summary.get("brandSOVInterval"))
    if value is None:
        return "no data"
    return f"{value} %" + (f" ({interval[0]} to {interval[1]})" if len(interval) == 2 else " (insufficient)")


def _summary(summary: Mapping[str, Any]) -> RenderableType:
    table = _table("All models", "metric", "value>", "interval", "of>", "left out+")
    for name, label in _SUMMARY:
        figure = mapping(summary.get(name))
        table.add_row(label, _value(figure), _interval(figure), _of(figure), _left_out(figure))
    cost, outcomes = mapping(summary.get("cost")), mapping(summary.get("outcomes"))
    answered = _int(outcomes.get("answered"))
    counted = answered + sum(_int(outcomes.get(name)) for name in ("refused", "noAnswer", "failed"))
    table.add_row("Answered", f"{answered}", _NOTHING, f"{answered}/{counted}", _left_out({"leftOut": outcomes}))
    maybe = _int(cost.get("maybeChargedMicroUsd"))
    table.add_row(
        "Cost",
        f"${dollars(_int(cost.get('totalMicroUsd')))}",
        _NOTHING,
        _NOTHING,
        f"perhaps ${dollars(maybe)} more" if maybe else _NOTHING,
    )
    return table


def _models(models: Sequence[Mapping[str, Any]], *, wide: bool) -> RenderableType:
    columns = ["model*", "visibility>", "interval", "voice>", "rank>", "own cited>", "score>"]
    if wide:
        columns[1:1] = ["served*"]
        columns[-1:-1] = ["sentiment>"]
        columns.append("cost>")
    table = _table("Models", *columns)
    for model in models:
        summary = mapping(model.get("summary"))
        figure = {name: mapping(summary.get(name)) for name, _ in _SUMMARY}
        cells: list[str | Text] = [
            _text(model.get("model")),
            _value(figure["visibility"]),
            _interval(figure["visibility"]),
            _value(figure["shareOfVoiceBinary"]),
            _value(figure["averageRank"]),
            _value(figure["ownCitationRate"]),
            _value(figure["overallScore"]),
        ]
        if wide:
            served = ", ".join(str(name) for name in sequence(model.get("servedModels")))
            cells[1:1] = [_text(served)]
            cells[-1:-1] = [_value(figure["sentiment"])]
            cells.append(f"${dollars(_int(mapping(summary.get('cost')).get('totalMicroUsd')))}")
        table.add_row(*cells)
    return table


def _ranked(title: str, entries: Sequence[Mapping[str, Any]], table_of: Any, *, wide: bool) -> Iterator[RenderableType]:
    yield table_of(entries[:_SHOWN], wide)
    if len(entries) > _SHOWN:
        yield Text(f"  … {len(entries) - _SHOWN} more {title.lower()}: --json has all", style="dim")


def _competitors(entries: Sequence[Mapping[str, Any]], wide: bool) -> RenderableType:
    table = _table("Competitors", "name*", "answers>", "visibility>", "interval", "voice>", "position>", *_by(wide))
    for entry in entries:
        visibility = mapping(entry.get("visibility"))
        table.add_row(
            _text(entry.get("name")),
            str(_int(entry.get("answers"))),
            _value(visibility),
            _interval(visibility),
            _value(mapping(entry.get("shareOfVoice"))),
            _plain(entry.get("averagePosition")),
            *_counts(entry, wide),
        )
    return table


def _domains(entries: Sequence[Mapping[str, Any]], wide: bool) -> RenderableType:
    table = _table("Domains", "domain*", "type", "answers>", "citations>", "share>", "interval", *_by(wide))
    for entry in entries:
        share = mapping(entry.get("share"))
        table.add_row(
            _text(entry.get("domain")),
            _text(entry.get("type")),
            str(_int(entry.get("answers"))),
            str(_int(entry.get("citations"))),
            _value(share),
            _interval(share),
            *_counts(entry, wide),
        )
    return table


def _by(wide: bool) -> tuple[str, ...]:
    return ("by model*",) if wide else ()


def _counts(entry: Mapping[str, Any], wide: bool) -> tuple[Text, ...]:
    counts = ", ".join(f"{model} {answers}" for model, answers in mapping(entry.get("models")).items() if answers)
    return (_text(counts),) if wide else ()


def _agreement(pairs: Sequence[Mapping[str, Any]], mean: Mapping[str, Any]) -> Iterator[RenderableType]:
    if not pairs:
        return
    names = ("models*", "cells>", "same>", "interval", "kappa>", "domains>", "competitors>")
    table = _table("Agreement of models", *names)
    for pair in pairs:
        raw = mapping(pair.get("raw"))
        table.add_row(
            _text(" ~ ".join(str(model) for model in sequence(pair.get("models")))),
            str(_int(pair.get("cells"))),
            _value(raw),
            _interval(raw),
            *(_plain(pair.get(name)) for name in ("kappa", "domainsJaccard", "competitorsOverlap")),
        )
    raw = mapping(mean.get("raw"))
    table.add_row("all pairs", "", _value(raw), _interval(raw), _plain(mean.get("kappa")), "", "")
    yield table


def _change(change: Any) -> Iterator[RenderableType]:
    if not isinstance(change, Mapping):
        return
    title = f"Change of {_line(change.get('metric'))} against batch {_line(change.get('against'))}"
    table = _table(title, "model*", "before>", "after>", "lost>", "won>", "p>", "verdict", "why+")
    for entry in (change, *mappings(change.get("models"))):
        table.add_row(
            _text(entry.get("model") or "all models"),
            _value(mapping(entry.get("before"))),
            _value(mapping(entry.get("after"))),
            str(_int(entry.get("b"))),
            str(_int(entry.get("c"))),
            _plain(entry.get("p")),
            _text(entry.get("verdict")),
            _sentence(entry.get("reason")),
        )
    yield table


def _holistic(holistic: Any) -> Iterator[RenderableType]:
    if not isinstance(holistic, Mapping):
        yield Text("No holistic insights: no model run of the batch has completed", style="yellow")
        return
    if holistic.get("source") == "model":
        by = f"written by {_line(holistic.get('model'))} from the figures above"
    else:
        by = f"written from rules ({_line(holistic.get('why')) or 'no model was asked'})"
    yield _sentence(f"Holistic insights, {by}", style="bold")
    for title, name in (("The models agree", "agreements"), ("The models disagree", "disagreements")):
        yield Text(title, style="bold")
        statements = mappings(holistic.get(name))
        for statement in statements:
            told = f"{_line(statement.get('statement'))} [{_line(statement.get('confidence'))}; {_rests_on(statement)}]"
            yield Padding(_sentence(f"- {told}"), (0, 0, 0, 2))
        if not statements:
            yield Text("  nothing that the figures bear out")
    table = _table("Actions", "priority", "effort", "action+", "impact+")
    for action in mappings(holistic.get("actions")):
        table.add_row(*(_sentence(action.get(name)) for name in ("priority", "effort", "action", "impact")))
    yield table
    dropped = {str(reason): _int(times) for reason, times in mapping(holistic.get("dropped")).items()}
    if total := sum(dropped.values()):
        reasons = ", ".join(f"{reason} {times}" for reason, times in dropped.items() if times)
        yield _sentence(f"{total} statements were dropped: {reasons}", style="dim")


def _rests_on(statement: Mapping[str, Any]) -> str:
    metrics = mappings(statement.get("metrics"))
    return ", ".join(f"{_line(entry.get('metric'))} {_told(entry.get('value'))}" for entry in metrics) or "no metric"


def _told(value: Any) -> str:
    """A figure as a statement names it: no more digits than mean something."""
    return f"{value:.4g}" if isinstance(value, float) else _line(value)


# --- cells ---


def _table(title: str, *columns: str) -> Table:
    """A table. A column's last character: `>` numbers, `*` text of others, `+` sentences.

    Numbers are never cut. Where a table is too wide, text of others is cut (see `_text`) and sentences take more lines.
    """
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in columns:
        name, mark = (column[:-1], column[-1]) if column[-1] in ">*+" else (column, "")
        # What may wrap is what gives way first.
        table.add_column(name, justify="right" if mark == ">" else "left", no_wrap=mark not in ("*", "+"))
    return table


def _line(value: Any) -> str:
    """Text of others in one line, without what a terminal obeys; empty for None."""
    return "" if value is None else " ".join(clean(str(value)).split())


def _text(value: Any, style: str = "") -> Text:
    """Text of others for a cell: one line, cut where the column ends."""
    return Text(_line(value) or _NOTHING, style=style, no_wrap=True, overflow="ellipsis")


def _sentence(value: Any, style: str = "") -> Text:
    """Text of others that takes the lines it needs."""
    return Text(_line(value) or _NOTHING, style=style)


def _value(figure: Mapping[str, Any]) -> str:
    value = number(figure.get("value"))
    if value is None:
        return "no data"
    if figure.get("unit") == "percent":
        return f"{value:.1f} %"
    return f"{value:.{_DIGITS.get(str(figure.get('unit')), 2)}f}"


def _interval(figure: Mapping[str, Any]) -> str:
    bounds = [bound for bound in map(number, sequence(figure.get("interval"))) if bound is not None]
    if len(bounds) == 2:
        digits = _DIGITS.get(str(figure.get("unit")), 2)
        return f"{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}"
    return "insufficient" if figure.get("verdict") == "insufficient" else _NOTHING


def _of(figure: Mapping[str, Any]) -> str:
    over, under = number(figure.get("numerator")), number(figure.get("denominator"))
    return _NOTHING if over is None or under is None else f"{over:g}/{under:g}"


def _left_out(figure: Mapping[str, Any]) -> str:
    counts = mapping(figure.get("leftOut"))
    return ", ".join(f"{_int(counts.get(name))} {word}" for name, word in _LEFT_OUT if _int(counts.get(name))) or "none"


def _plain(value: Any) -> str:
    """A number with two digits, or a figure's value."""
    found = number(value.get("value") if isinstance(value, Mapping) else value)
    return _NOTHING if found is None else f"{found:.2f}"


def _int(value: Any) -> int:
    return count(value) or 0

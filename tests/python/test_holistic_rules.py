"""Holistic insights without a model: the rules say only what the check lets pass, and `no data` where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from holistic_help import competitor, figure, measured, model, nulls
from hypothesis import given, settings
from hypothesis import strategies as st
from overheard.holistic import Checked, Table, rules


def sentences(checked: Checked) -> list[str]:
    return [kept.statement for kept in (*checked.agreements, *checked.disagreements)]


def test_the_rules_say_what_the_table_holds() -> None:
    checked = rules.write(Table.of(measured()))
    assert sum(checked.dropped.values()) == 0
    assert [kept.statement for kept in checked.agreements] == [
        "Inkwell is named more often than the organisation: 72.0 against 45.2.",
        "No answer cites a page of the organisation.",
    ]
    assert [kept.statement for kept in checked.disagreements] == [
        "The models differ on the visibility: chatgpt has 58.1, gpt-4.1-mini 20.3, and their intervals do not overlap.",
        "The models differ on the average rank: chatgpt has 2.00, gpt-4.1-mini 4.50, and their intervals do not "
        "overlap.",
        "chatgpt and perplexity seldom name the organisation in the same answers: kappa 0.210.",
    ]
    on = [kept.rests_on for kept in checked.actions]
    assert on == [
        ("agreements.0",),
        ("agreements.1",),
        ("disagreements.0",),
        ("disagreements.1",),
        ("disagreements.2",),
    ]
    assert all(kept.metrics for kept in checked.actions)


def test_models_that_agree_are_an_agreement() -> None:
    models = [model("chatgpt", 58.1, (50.0, 66.0)), model("perplexity", 57.4, (49.0, 65.0))]
    checked = rules.write(Table.of(measured(models=models)))
    assert (
        "The models agree on the visibility: chatgpt 58.1, perplexity 57.4; their intervals hold each other's values."
        in [kept.statement for kept in checked.agreements]
    )


def test_a_lead_over_all_competitors_is_an_agreement() -> None:
    rivals = [competitor("Inkwell", 12.0, (8.0, 17.0)), competitor("Draftly", 9.0, (6.0, 14.0))]
    checked = rules.write(Table.of(measured(competitors=rivals)))
    wanted = "No competitor is named as often as the organisation: it has 45.2, Inkwell 12.0."
    assert wanted in [kept.statement for kept in checked.agreements]


def test_a_lead_within_the_intervals_is_to_be_investigated() -> None:
    checked = rules.write(Table.of(measured(competitors=[competitor("Inkwell", 47.0, (41.0, 53.0))])))
    wanted = "Inkwell is named more often than the organisation: 47.0 against 45.2, though the intervals overlap."
    assert wanted in [kept.statement for kept in checked.disagreements]


def test_a_model_without_data_is_told_and_not_counted_as_zero() -> None:
    models = [model("chatgpt", 58.1, (50.0, 66.0)), model("gemini", None, None)]
    checked = rules.write(Table.of(measured(models=models)))
    wanted = "There is no data on the visibility of: gemini; known is chatgpt with 58.1."
    assert wanted in [kept.statement for kept in checked.disagreements]
    assert not any("differ on the visibility" in said for said in sentences(checked))


def test_too_few_questions_are_told() -> None:
    models = [model("chatgpt", 58.1, (20.0, 90.0)), model("gemini", 30.0, (5.0, 70.0))]
    for entry in models:
        entry["summary"]["visibility"]["verdict"] = "insufficient"
    checked = rules.write(Table.of(measured(models=models)))
    assert any(
        said.startswith("Too few questions to say whether the models differ on the visibility")
        for said in sentences(checked)
    )


@pytest.mark.parametrize("table", [{}, nulls(measured()), {"summary": None, "models": [None], "competitors": "x"}])
def test_nulls_everywhere_say_no_data(table: Any) -> None:
    checked = rules.write(Table.of(table))
    assert "no data" in checked.disagreements[0].statement
    assert not checked.agreements
    assert [kept.rests_on for kept in checked.actions] == [("disagreements.0",)]


def test_one_known_figure_alone_is_told_as_too_little() -> None:
    checked = rules.write(Table.of({"summary": {"visibility": figure("visibility", 45.2, (40.0, 50.0))}}))
    assert sentences(checked) == [
        "Too little is known to compare: visibility is 45.2, and no two figures can be set side by side."
    ]
    assert checked.actions


# A name without a letter could not be told from a value, so the check lets no sentence with it pass.
NAMES = st.one_of(
    st.text(max_size=90).map(lambda text: f"n{text}"), st.sampled_from(["gpt-4.1-mini", "a~b", "7-Eleven", "x" * 500])
)
PERCENT = st.one_of(st.none(), st.floats(0, 100))


@st.composite
def figures(draw: st.DrawFn) -> tuple[float | None, tuple[float, float] | None]:
    value = draw(PERCENT)
    if value is None or draw(st.integers(0, 4)) == 0:
        return value, None
    return value, (max(0.0, value - draw(st.floats(0, 30))), min(100.0, value + draw(st.floats(0, 30))))


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.tuples(NAMES, figures(), st.one_of(st.none(), st.floats(1, 9))), max_size=22),
    st.lists(st.tuples(NAMES, figures()), max_size=22),
    figures(),
)
def test_what_the_rules_write_passes_the_check(models: Any, rivals: Any, own: Any) -> None:
    table = Table.of(
        measured(
            summary={"visibility": figure("visibility", *own)},
            models=[model(name, *measure, rank) for name, measure, rank in models],
            competitors=[competitor(name, *measure) for name, measure in rivals],
        )
    )
    checked = rules.write(table)
    assert checked.dropped["contradicts"] == checked.dropped["unknown metric"] == 0, checked.dropped
    assert sentences(checked)
    assert all(kept.rests_on for kept in checked.actions)

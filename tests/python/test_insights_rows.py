"""Rows as a user's store may give them: no Python value makes measuring fail, and what cannot be read is counted."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from overheard._core import InsightsTable

ORG = json.dumps({"name": "Acme", "aliases": [], "competitors": ["Bolt"]})
FIELDS = (
    "cell_key",
    "question_id",
    "question",
    "model",
    "location",
    "repeat",
    "status",
    "served_model",
    "cost_micro_usd",
    "maybe_charged_micro_usd",
    "extracted",
    "extraction_cost_micro_usd",
    "extraction_maybe_charged_micro_usd",
    "mentioned",
    "citation",
    "sentiment",
    "mention_rank",
    "share_of_voice",
    "competitors",
    "citations",
)


class Raising(Sequence[Any]):
    """A sequence that raises when it is read."""

    def __getitem__(self, place: Any) -> Any:
        raise RuntimeError(place)

    def __len__(self) -> int:
        raise RuntimeError

    def __repr__(self) -> str:
        return "Raising()"


class Hostile(Mapping[str, Any]):
    """A mapping that raises when it is read."""

    def __getitem__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError

    def __len__(self) -> int:
        return 3

    def __repr__(self) -> str:
        return "Hostile()"


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.binary(max_size=4),
    st.decimals(allow_nan=True),
    st.sampled_from(
        [Raising(), Hostile(), object(), Decimal("1.5"), datetime.now(timezone.utc), 10**400, "\ud800", "x" * 100_000]
    ),
)
VALUES = st.recursive(
    ODD,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.one_of(st.text(max_size=4), st.integers(), st.sampled_from(FIELDS)), inner, max_size=3)
    ),
    max_leaves=6,
)


def row(number: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "cell_key": f"q{number}|m|US|1",
        "question_id": f"q{number}",
        "question": "?",
        "model": "m",
        "location": "US",
        "repeat": 1,
        "status": "answered",
        "served_model": None,
        "cost_micro_usd": 1,
        "maybe_charged_micro_usd": 0,
        "extracted": True,
        "extraction_cost_micro_usd": None,
        "extraction_maybe_charged_micro_usd": None,
        "mentioned": True,
        "citation": False,
        "sentiment": "positive",
        "mention_rank": 1,
        "share_of_voice": 0.25,
        "competitors": ["Bolt"],
        "citations": [{"domain": "x.example", "type": "secondary", "position": 1, "cited": None}],
    } | changes


def summary(rows: Any) -> dict[str, Any]:
    table = InsightsTable(ORG, 1)
    table.add("b", rows)
    told: dict[str, Any] = json.loads(table.measure("{}"))["summary"]
    return told


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(VALUES, st.dictionaries(st.sampled_from(FIELDS), VALUES)), max_size=4))
def test_no_row_makes_measuring_fail(rows: list[Any]) -> None:
    told = summary([*rows, *(row(number) for number in range(5))])
    figure = told["visibility"]
    assert figure["denominator"] >= 5
    assert figure["denominator"] + sum(figure["leftOut"].values()) == len(rows) + 5


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(FIELDS), VALUES)
def test_a_field_that_cannot_be_read_is_counted(field: str, value: Any) -> None:
    told = summary([row(0, **{field: value}), *(row(number) for number in range(1, 6))])
    for metric in ("visibility", "shareOfVoiceText", "positionScore", "overallScore"):
        figure = told[metric]
        assert figure["denominator"] + sum(figure["leftOut"].values()) == 6, metric


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_is_absent_null_or_empty(field: str) -> None:
    without = {name: value for name, value in row().items() if name != field}
    for broken in (without, row(**{field: None}), row(**{field: ""}), row(**{field: []}), row(**{field: {}})):
        told = summary([broken, row(1)])
        figure = told["visibility"]
        unknown = field in ("question_id", "model", "status", "extracted", "mentioned")
        assert figure["leftOut"]["notKnown"] == int(unknown), broken
        assert figure["denominator"] == 2 - unknown


def test_unknown_is_not_zero() -> None:
    told = summary([row(0, competitors=None, citations=None, citation=None), row(1)])
    assert told["shareOfVoiceBinary"]["denominator"] == 2
    assert told["shareOfVoiceBinary"]["leftOut"]["notKnown"] == 1
    assert told["ownCitationRate"]["denominator"] == 1
    assert told["ownCitationShare"]["leftOut"]["notKnown"] == 1
    told = summary([row(0, cost_micro_usd=None), row(1)])
    assert (told["cost"]["totalMicroUsd"], told["cost"]["notKnown"]) == (1, 1)


def test_rows_may_be_any_mapping_in_any_iterable() -> None:
    from types import MappingProxyType

    rows = (MappingProxyType(OrderedDict(row(number))) for number in range(5))
    assert summary(rows)["visibility"]["denominator"] == 5
    table = InsightsTable(ORG, 1)
    table.add("b", [])
    assert len(table) == 0
    with pytest.raises(TypeError):
        table.add("b", None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="options"):
        table.measure('{"model": []}')
    with pytest.raises(ValueError, match="org"):
        InsightsTable("{", 1)
    assert InsightsTable("[]", 2**64 - 1).explain("visibility") == []

"""The labelled set is whole and split by its ids alone; extraction by rules stays above a floor.

The floor is of the part to work with. The part kept aside is measured by `make accuracy` and quoted in the README; no
test looks at it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ACCURACY = Path(__file__).parents[1] / "accuracy"
sys.path.insert(0, str(ACCURACY))

import measure  # noqa: E402 - lies beside the set, not in the package
import scores  # noqa: E402
from labelled import Labelled, kept_aside, load  # noqa: E402

SENTIMENTS = {"positive", "neutral", "negative"}
CLASSES = {"own", "competitor", "news", "social", "reference", "directory", "government", "other"}


@pytest.fixture(scope="module")
def answers() -> list[Labelled]:
    return load()


def test_the_set_is_large_mixed_and_whole(answers: list[Labelled]) -> None:
    assert len(answers) >= 200
    assert len({answer.id for answer in answers}) == len(answers)
    blind = sum(answer.id.startswith("a") for answer in answers)
    assert blind * 2 >= len(answers), "half of them written by somebody who had not seen the rules"
    assert len({answer.language for answer in answers}) >= 15
    kinds = {kind for answer in answers for kind in answer.label["kind"]}
    assert kinds >= {"numbered list", "table", "headings", "prose", "refusal", "absence", "homonym", "link only"}


def test_every_label_is_one_that_the_rules_know(answers: list[Labelled]) -> None:
    for answer in answers:
        label = answer.label
        configured = {entry["name"] for entry in answer.org["competitors"]}
        assert set(label["competitors"]) <= configured, answer.id
        assert label["mention"] == (label["rank"] is not None) == (label["sentiment"] in SENTIMENTS), answer.id
        assert label["mention"] or label["list_position"] is None, answer.id
        assert {citation["class"] for citation in label["citations"]} <= CLASSES, answer.id
        urls = [citation["url"] for citation in label["citations"]]
        assert len(set(urls)) == len(urls), answer.id


def test_the_split_follows_from_the_id(answers: list[Labelled]) -> None:
    assert [kept_aside(identity) for identity in ("a1-001", "a1-002", "b2-050")] == [False, True, False]
    aside = sum(answer.kept_aside for answer in answers)
    assert 0.25 < aside / len(answers) < 0.4


def test_scores_have_their_reference_values() -> None:
    counts = scores.of_sets({"a", "b", "x"}, {"a", "b", "c"})
    assert (counts.right, counts.wrong, counts.missed) == (2, 1, 1)
    assert (counts.precision, counts.recall, counts.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert scores.of_truth(False, False) == scores.Counts()
    assert scores.wilson(10, 22) == pytest.approx((0.2692, 0.6534), abs=1e-4)
    assert scores.bootstrap([scores.Counts(right=1)] * 5, lambda counts: counts.f1) == (1.0, 1.0)


async def test_rules_stay_above_the_floor(answers: list[Labelled]) -> None:
    """A floor below what is measured, so that a rule that breaks another is seen at once."""
    found = await measure.extracted([answer for answer in answers if not answer.kept_aside])
    table = measure.figures(found)
    assert table["mention"]["f1"] >= 0.97, "\n".join(measure.misses(found))
    assert table["competitors"]["f1"] >= 0.97
    assert table["rank"]["exact"] >= 0.94
    assert table["citation set"]["exact"] >= 0.95
    assert table["citation class"]["exact"] >= 0.87

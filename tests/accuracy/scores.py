"""Counts of right and wrong, and the figures made of them. Knows no file and no extractor.

Precision, recall and F1 come with a 95 % interval: percentiles of a bootstrap over answers (2,000 resamples, fixed
seed), because several names of one answer are not independent. A share of answers has Wilson's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

RESAMPLES = 2_000
SEED = 20261122
Z = 1.959964


@dataclass(frozen=True)
class Counts:
    """Of one answer, or of several: found and right, found and wrong, not found."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Both."""
        return Counts(self.right + other.right, self.wrong + other.wrong, self.missed + other.missed)

    @property
    def precision(self) -> float | None:
        """None: nothing was found."""
        return _ratio(self.right, self.right + self.wrong)

    @property
    def recall(self) -> float | None:
        """None: there was nothing to find."""
        return _ratio(self.right, self.right + self.missed)

    @property
    def f1(self) -> float | None:
        """None: nothing was found and nothing was there."""
        return _ratio(2 * self.right, 2 * self.right + self.wrong + self.missed)


def of_sets(found: Iterable[str], labelled: Iterable[str]) -> Counts:
    """Compares two sets."""
    found, labelled = set(found), set(labelled)
    return Counts(len(found & labelled), len(found - labelled), len(labelled - found))


def of_truth(found: bool, labelled: bool) -> Counts:
    """Compares two yes or no; a no that is right counts nothing."""
    return Counts(found and labelled, found and not labelled, labelled and not found)


def total(answers: Iterable[Counts]) -> Counts:
    """The sum."""
    return sum(answers, Counts())


def bootstrap(answers: Sequence[Counts], figure: Callable[[Counts], float | None]) -> tuple[float, float] | None:
    """The interval of a figure; None: fewer than two answers, or a figure that no resample has."""
    if len(answers) < 2:
        return None
    chance = random.Random(SEED)
    drawn = (figure(total(chance.choices(answers, k=len(answers)))) for _ in range(RESAMPLES))
    values = sorted(value for value in drawn if value is not None)
    if not values:
        return None
    return values[int(0.025 * (len(values) - 1))], values[math.ceil(0.975 * (len(values) - 1))]


def wilson(right: int, of: int) -> tuple[float, float] | None:
    """Wilson's interval of a share; None without a denominator."""
    if of == 0:
        return None
    share = right / of
    centre = (share + Z**2 / (2 * of)) / (1 + Z**2 / of)
    half = Z * math.sqrt(share * (1 - share) / of + Z**2 / (4 * of**2)) / (1 + Z**2 / of)
    return max(0.0, centre - half), min(1.0, centre + half)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None

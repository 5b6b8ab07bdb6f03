"""How often the 95 % intervals of insights hold the truth, measured by simulation on populations whose truth is known.

    python tests/campaign/coverage.py [--repetitions 2000] [--seed N]

Each repetition draws questions, each with a chance of its own to mention the org, and answers of each; rows go through
the same table as a store's. Beside the bootstrap over questions stands Wilson over all answers as if they did not hang
together, which is what it is there to mend. Prints one line a setting; asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

from overheard._core import InsightsTable

ORG = json.dumps({"name": "Acme", "aliases": [], "competitors": ["Bolt"]})
ANSWERS = 4
RIVALS = ["Bolt", "Crate", "Dynamo", "Ember", "Flint"]
METRICS = ("visibility", "shareOfVoiceBinary", "averageRank")
SPREAD = 2.0
"""The two shapes of the beta distribution of the questions' chances add up to this: small is a wide spread."""


@dataclass(frozen=True)
class Setting:
    """Questions of a batch, and the mean chance that an answer mentions the org."""

    questions: int
    mean: float

    def truth(self) -> dict[str, float]:
        """The figures over all questions there could be, in their units."""
        rivals = len(RIVALS) / 2
        return {
            "visibility": 100 * self.mean,
            "shareOfVoiceBinary": 100 * self.mean / (self.mean + rivals),
            "averageRank": 1 + 4 / 2,
        }

    def rows(self, chance: random.Random) -> Iterator[dict[str, Any]]:
        """The rows of one batch."""
        for question in range(self.questions):
            own = chance.betavariate(SPREAD * self.mean, SPREAD * (1 - self.mean))
            rival, place = chance.betavariate(2, 2), chance.betavariate(2, 2)
            for repeat in range(1, ANSWERS + 1):
                mentioned = chance.random() < own
                yield row(question, repeat) | {
                    "mentioned": mentioned,
                    "mention_rank": 1 + sum(chance.random() < place for _ in range(4)) if mentioned else None,
                    "competitors": [name for name in RIVALS if chance.random() < rival],
                }


SETTINGS = tuple(Setting(questions, mean) for mean in (0.4, 0.1) for questions in (5, 8, 12, 25, 50, 100))


def row(question: int, repeat: int) -> dict[str, Any]:
    """An extracted answer."""
    return {
        "question_id": f"q{question}",
        "model": "m",
        "location": "US",
        "repeat": repeat,
        "status": "answered",
        "extracted": True,
    }


def measured(rows: Any, seed: int) -> dict[str, Any]:
    """The report on the rows."""
    table = InsightsTable(ORG, seed)
    table.add("b", rows)
    report: dict[str, Any] = json.loads(table.measure("{}"))
    return report


def wilson(figure: Mapping[str, Any]) -> tuple[float, float]:
    """Wilson's interval of a figure in percent, as if its answers were independent; written out again on purpose."""
    p, n, z = figure["value"] / 100, figure["denominator"], 1.959964
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return 100 * (centre - half), 100 * (centre + half)


def of_bootstrap(setting: Setting, repetitions: int, seed: int) -> dict[str, tuple[float, int]]:
    """Part of the repetitions whose interval holds the truth, and how many had one, by metric."""
    chance = random.Random(f"{seed} {setting}")
    truth, held, had = setting.truth(), dict.fromkeys((*METRICS, "naive"), 0), dict.fromkeys((*METRICS, "naive"), 0)
    for repetition in range(repetitions):
        summary = measured(setting.rows(chance), repetition)["summary"]
        intervals = {metric: summary[metric]["interval"] for metric in METRICS}
        intervals["naive"] = wilson(summary["visibility"])
        for name, interval in intervals.items():
            if interval is not None:
                true = truth.get(name, truth["visibility"])
                had[name] += 1
                held[name] += interval[0] <= true <= interval[1]
    return {name: (held[name] / max(1, had[name]), had[name]) for name in had}


def of_wilson(repeats: int, repetitions: int, seed: int) -> float:
    """Part of the cells of so many repeats whose interval holds the cell's chance, over chances from 0 to 1."""
    chance = random.Random(f"{seed} {repeats}")
    chances = [chance.random() for _ in range(repetitions)]
    rows = (
        row(question, repeat) | {"mentioned": chance.random() < p}
        for question, p in enumerate(chances)
        for repeat in range(1, repeats + 1)
    )
    held = 0
    for line in measured(rows, seed)["questions"]:
        low, high = line["cells"][0]["visibility"]["interval"]
        held += low <= 100 * chances[int(line["questionId"][1:])] <= high
    return held / repetitions


def _told(part: float, had: int, repetitions: int) -> str:
    """With how many had an interval, where most were insufficient: of few, the part says little."""
    return f"{part:.1%}" if had > repetitions / 2 else f"({had} had one) {part:.1%}" if had else "none had one"


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    options = parser.parse_args()
    print(f"coverage of 95 % intervals: {options.repetitions} repetitions, seed {options.seed}", flush=True)
    print("Wilson of a cell, by repeats (mean over all chances):")
    for repeats in (1, 2, 3, 5, 10):
        print(f"  {repeats:3} repeats   {of_wilson(repeats, options.repetitions, options.seed):6.1%}", flush=True)
    print(f"bootstrap over questions, {ANSWERS} answers a question; last: Wilson over all answers")
    print(f"  {'questions':9} {'mean':>5}  " + "  ".join(f"{name:>18}" for name in (*METRICS, "naive visibility")))
    for setting in SETTINGS:
        found = of_bootstrap(setting, options.repetitions, options.seed)
        told = "  ".join(f"{_told(part, had, options.repetitions):>18}" for part, had in found.values())
        print(f"  {setting.questions:9} {setting.mean:5.0%}  {told}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

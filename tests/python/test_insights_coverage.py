"""The small form of `make intervals`: intervals hold the truth about as often as they say, and the check can fail."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

from e2e_help import FOLDER

CAMPAIGN = FOLDER / "tests" / "campaign"
# By its file: a tool of the same name may be installed.
_SPEC = importlib.util.spec_from_file_location("interval_coverage", CAMPAIGN / "coverage.py")
assert _SPEC is not None
assert _SPEC.loader is not None
coverage: Any = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = coverage
_SPEC.loader.exec_module(coverage)

SEED = 20261122


def test_bootstrap_intervals_hold_the_truth_and_naive_ones_do_not() -> None:
    found = coverage.of_bootstrap(coverage.Setting(12, 0.4), 150, SEED)
    # 150 repetitions of 95 %: three standard errors are 5.3 points.
    for metric in coverage.METRICS:
        part, had = found[metric]
        assert had >= 145, f"{metric}: only {had} of 150 had an interval"
        assert 0.88 <= part <= 1, f"{metric} holds the truth in {part:.1%}, seed {SEED}"
    assert found["naive"][0] < 0.88, "answers of a question hang together here: this check could not fail"


def test_wilson_of_a_cell_holds_the_truth() -> None:
    for repeats in (1, 3, 5):
        part = coverage.of_wilson(repeats, 600, SEED)
        assert 0.92 <= part <= 0.99, f"{repeats} repeats hold the truth in {part:.1%}, seed {SEED}"


def test_the_campaign_prints_its_tables() -> None:
    done = subprocess.run(
        [sys.executable, str(CAMPAIGN / "coverage.py"), "--repetitions", "2", "--seed", str(SEED)],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0] == f"coverage of 95 % intervals: 2 repetitions, seed {SEED}"
    assert sum(line.split()[:2] == ["100", "10%"] for line in lines) == 1, done.stdout

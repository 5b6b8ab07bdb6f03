"""The simulator of the fault tests: a perfect day, so that nothing goes wrong but what a test switched on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from overheard.simulator import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=30, snapshot_ms=30, answer_chars=600, perfect=True) as running:
        yield running

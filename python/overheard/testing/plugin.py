"""The pytest plugin: a `simulator` fixture, without any import of the package before a test asks for it.

async def test_my_store(simulator):
    async with Pipeline(MyStore(), env=simulator.environment(), **FAST) as pipeline: ...
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from overheard.simulator import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """The provider simulator on a free port, for one test; `simulator.environment()` leads every provider to it.

    Its days are as imperfect as by default, but no snapshot says "try again in 30 seconds".
    """
    from overheard.simulator import Simulator

    with Simulator(seed=1, snapshot_ms=50, rates={"late_ready": 0.0}) as running:
        yield running

"""What the fault tests share: the three kinds of provider, and how a batch is held against the simulator afterwards.

Must not import anything private of the package: these tests see what a user sees, plus the simulator's books.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from e2e_help import asked, assert_every_cell_once, assert_paid_as_charged, rows
from overheard import Org, Pipeline, Summary
from overheard.simulator import Simulator
from overheard.stores import open_store
from overheard.verify import verify


@dataclass(frozen=True)
class Kind:
    """A kind of provider.

    Attributes:
        name: As the simulator's endpoints begin.
        model: A model it answers.
        paid: The endpoint that costs money.
        key: The variable of its key.
        one: Limits under which one paid call is in flight at a time.
    """

    name: str
    model: str
    paid: str
    key: str
    one: dict[str, int]

    def __str__(self) -> str:
        return self.name


BRIGHTDATA = Kind(
    "brightdata",
    "chatgpt",
    "brightdata.trigger",
    "BRIGHTDATA_API_KEY",
    {"brightdata_in_flight": 1, "brightdata_triggers": 1},
)
OPENAI = Kind("openai", "gpt-4.1", "openai.responses", "OPENAI_API_KEY", {"openai_in_flight": 1})
ANTHROPIC = Kind(
    "anthropic", "claude-sonnet-4-5", "anthropic.messages", "ANTHROPIC_API_KEY", {"anthropic_in_flight": 1}
)
KINDS = (BRIGHTDATA, OPENAI, ANTHROPIC)
DIRECT = (OPENAI, ANTHROPIC)
MODELS = tuple(kind.model for kind in KINDS)

every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)
every_direct_kind = pytest.mark.parametrize("kind", DIRECT, ids=str)


async def assert_sound(path: Path) -> None:
    """`overheard verify` finds nothing wrong."""
    store = open_store(f"sqlite:///{path}")
    try:
        checks = await verify(store)
    finally:
        await store.aclose()
    assert checks
    assert all(check.passed for check in checks), "\n".join(check.line() for check in checks)


async def assert_completed(path: Path, simulator: Simulator, org: Org, summary: Summary) -> None:
    """Every cell is answered once and was paid for once; the money agrees to the micro-dollar."""
    assert (summary.status, summary.failed) == ("complete", 0), summary.processing_errors
    assert_every_cell_once(path, org)
    places = max(1, len(org.location_list))
    assert set(asked(simulator).values()) == {places}, "a question was paid for twice, or never"
    assert_paid_as_charged(path, simulator, summary)
    await assert_sound(path)


def runs(path: Path, model: str | None = None) -> list[dict[str, Any]]:
    """Stored question runs in the order of their cells, of one model or of all."""
    if model is None:
        return rows(path, "SELECT * FROM question_runs ORDER BY cell_key")
    return rows(path, "SELECT * FROM question_runs WHERE model = ? ORDER BY cell_key", model)


def states(path: Path) -> dict[str, str]:
    """The status of every model run."""
    return {row["model"]: row["status"] for row in rows(path, "SELECT model, status FROM geo_runs")}


def kinds_of(summary: Summary) -> set[str]:
    """The kinds of the errors that the summary tells."""
    return {error["kind"] for error in summary.processing_errors}


def words_of(summary: Summary) -> str:
    """The messages of the errors that the summary tells."""
    return "\n".join(error["message"] for error in summary.processing_errors)


def struck(simulator: Simulator) -> int:
    """How often a fault was applied."""
    return sum(simulator.ledger(charges=False)["faults"].values())


def impatient(pipeline: Pipeline, milliseconds: int) -> Pipeline:
    """The pipeline with this total timeout of triggers, polls and downloads, which have no argument of their own."""
    places = ("timeouts.trigger_ms", "timeouts.poll_ms", "timeouts.download_ms")
    values = dict(pipeline.settings.values) | dict.fromkeys(places, milliseconds)
    pipeline.settings = pipeline._worker._settings = replace(pipeline.settings, values=values)
    return pipeline

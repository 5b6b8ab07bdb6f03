"""The options that several commands share, with their help, and how their text is read. Starts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# typer reads these at run time, on Python 3.10 too.
Models = Annotated[
    str | None,
    typer.Option("--models", help="Models to ask, with commas: chatgpt,gpt-4.1. Default: the org's."),
]
Locations = Annotated[
    str | None,
    typer.Option("--locations", help="Where from, separated by commas: US,DE or US/California. Default: the org's."),
]
Questions = Annotated[int | None, typer.Option("--questions", min=1, help="Ask the first N questions only.")]
Repeats = Annotated[int, typer.Option("--repeats", min=1, help="Times each question is asked of each pair.")]
ExtractionMode = Annotated[
    str,
    typer.Option(
        "--extraction",
        help="auto (llm when its key is set, else local), local, llm, or llm-batch (the model's batch endpoint: "
        "half the price, within a day).",
    ),
]
MaxCost = Annotated[
    str | None, typer.Option("--max-cost", help="Most the batch may cost over all its starts, in dollars: 5.00.")
]
OnUnknown = Annotated[
    str | None,
    typer.Option(
        "--on-unknown",
        help="A submission whose snapshot id was lost, or whose snapshot is gone: reconcile (look for it, "
        "hold what is unclear; the default), hold (never look), retrigger (book the loss and buy again).",
    ),
]
BatchKey = Annotated[
    str | None, typer.Option("--batch-key", help="Continue or make the org's batch of this key. Default: the UTC day.")
]
RunId = Annotated[
    str | None,
    typer.Option("--run-id", help="Run this one model run of the store (a row of geo_runs), whoever inserted it."),
]
New = Annotated[bool, typer.Option("--new", help="Force a new batch.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan with calls and costs; send and store nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary alone, as JSON, on the last line of stdout.")]
StoreUrl = Annotated[
    str | None,
    typer.Option("--store", help="Where results are kept: sqlite:///x.db. Default: OVERHEARD_STORE."),
]
LogLevel = Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR, on stderr.")]
OrgsFile = Annotated[
    Path | None, typer.Option("--orgs-file", help="Take orgs from this YAML or JSON file instead of the store.")
]
Parallel = Annotated[int, typer.Option("--parallel", min=1, help="Orgs at the same time.")]
Simulate = Annotated[
    bool, typer.Option("--simulate", help="A simulator answers on this machine: no keys, no charges, invented answers.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the simulator's world.")]
LatencyMs = Annotated[
    int | None, typer.Option("--latency-ms", min=0, help="Simulator: milliseconds before it answers.")
]
SnapshotMs = Annotated[
    int | None, typer.Option("--snapshot-ms", min=0, help="Simulator: milliseconds until a snapshot is ready.")
]


def listed(text: str | None) -> list[str] | None:
    """The parts of a comma-separated option; None when it was not given."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def log_level(text: str) -> str:
    """A level name in upper case.

    Raises:
        typer.BadParameter: Not a level.
    """
    level = text.upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise typer.BadParameter(f"'{text}' is none of DEBUG, INFO, WARNING, ERROR", param_hint="--log-level")
    return level

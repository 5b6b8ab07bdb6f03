"""`overheard insights`: shows what `Pipeline.insights` measures of a batch or an org. The layout is in `figures`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import aclosing
from typing import Annotated, Any

import typer
from rich.console import Console

from overheard._loose import mapping, sequence
from overheard.cli import options as option
from overheard.cli.figures import sections
from overheard.cli.opening import LeaveWith, existing_store
from overheard.cli.starts import COMPLETE, PARTIAL
from overheard.cli.terminal import say
from overheard.errors import ConfigError
from overheard.pipeline import Pipeline

Target = Annotated[str, typer.Argument(metavar="BATCH|ORG", help="A batch, as the summary names it, or an org's id.")]
Since = Annotated[
    str | None,
    typer.Option("--since", help="With an org: all its batches made at or after this date, together: 2026-01-31."),
]
Against = Annotated[
    str | None,
    typer.Option("--against", metavar="BATCH", help="The earlier batch to compare with. Default: the one before."),
]
Holistic = Annotated[
    bool,
    typer.Option(
        "--holistic",
        help="Also what the models agree and disagree on, and what to do next. When it is not written yet for the "
        "newest answers, it is written now: one paid call of the extraction model, or from rules without a key.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the insights alone, as JSON, on the last line of stdout.")]


async def tell_insights(
    target: str, store: str | None, *, since: str | None, against: str | None, holistic: bool, as_json: bool
) -> int:
    """Measures and prints; gives the exit code."""
    existing_store(store)
    async with Pipeline(store) as pipeline:
        found = await measured(pipeline, target, since=since, against=against)
        if holistic:
            await _see_to_holistic(pipeline, found)
            found = await measured(pipeline, target, since=since, against=against)
    if as_json:
        say(json.dumps(found))
    else:
        console = Console(highlight=False, markup=False, emoji=False)
        for part in sections(found, wide=console.width >= 100, holistic=holistic):
            console.print(part)
    return COMPLETE if mapping(found.get("batchStatus")).get("complete") else PARTIAL


async def measured(pipeline: Any, target: str, **options: str | None) -> Mapping[str, Any]:
    """What `Pipeline.insights` measures of a batch or an org, as `to_dict()` gives it.

    Raises:
        ConfigError: There is no such batch or org.
    """
    given = {name: value for name, value in options.items() if value is not None}
    found = await pipeline.insights(target, **given)
    plain: Mapping[str, Any] = found.to_dict()
    return plain


async def _see_to_holistic(pipeline: Any, found: Mapping[str, Any]) -> None:
    """Has the holistic insights written when they are not yet, or not for the newest answers.

    What follows the end of a batch is claimed and done by the first look of `Pipeline.watch`, so that nothing is paid
    twice whoever looks. A batch that has not ended has none.

    Raises:
        ConfigError: Several batches are taken together.
    """
    batch_ids = sequence(found.get("batchIds"))
    if len(batch_ids) != 1:
        raise ConfigError("--holistic compares the models of one batch: name the batch", field="holistic")
    async with aclosing(pipeline.watch(batch_ids[0])) as statuses:
        async for _ in statuses:
            break


def register(app: typer.Typer, leave_with: LeaveWith) -> None:
    """Adds the command to the command line."""

    @app.command()
    def insights(
        target: Target,
        since: Since = None,
        against: Against = None,
        holistic: Holistic = False,
        as_json: AsJson = False,
        store: option.StoreUrl = None,
    ) -> None:
        """Tell where an org stands on each model, how sure that is, where the models agree, and what changed.

        Every figure has its 95 % interval; below five questions it says insufficient. Only completed model runs count.

        Exit codes: 0 the batch is complete, 3 it is not (the insights are given all the same), 1 no such batch or org.

        Examples:

          overheard insights 7f9c…

          overheard insights acme --since 2026-01-01

          overheard insights 7f9c… --against 12ab… --holistic

          overheard insights acme --json | tail -n 1 | jq .summary.brandSOV
        """
        leave_with(
            lambda: tell_insights(target, store, since=since, against=against, holistic=holistic, as_json=as_json)
        )

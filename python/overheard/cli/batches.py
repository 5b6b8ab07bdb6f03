"""`overheard status` and `overheard cancel`: where a batch stands, and its end before its time. Starts nothing."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from overheard.batch import BatchStatus
from overheard.cli import options as option
from overheard.cli.starts import COMPLETE, PARTIAL, status_lines
from overheard.cli.terminal import say
from overheard.pipeline import Pipeline

BatchId = Annotated[str, typer.Argument(help="The batch, as the summary names it.")]
Watch = Annotated[bool, typer.Option("--watch", help="Tell again whenever it changes, until the batch has ended.")]
Every = Annotated[float, typer.Option("--every", min=0.05, help="Seconds between two looks of --watch.")]


async def tell_status(batch_id: str, store: str | None, *, as_json: bool, watch: bool, every: float) -> int:
    """Prints where a batch stands, once or on each change; gives the exit code."""
    # A look from outside does not do the work that follows the end: it may have no key, and nobody expects it to pay.
    async with Pipeline(store, holistic="off") as pipeline:
        if not watch:
            return _tell(await pipeline.status(batch_id), as_json)
        code = PARTIAL
        async for status in pipeline.watch(batch_id, every=every):
            code = _tell(status, as_json)
        return code


async def cancel_batch(batch_id: str, store: str | None, *, as_json: bool) -> int:
    """Cancels a batch and prints where it stands; gives the exit code."""
    async with Pipeline(store, holistic="off") as pipeline:
        _tell(await pipeline.cancel(batch_id), as_json)
    return COMPLETE


def _tell(status: BatchStatus, as_json: bool) -> int:
    for line in [json.dumps(status.to_dict())] if as_json else status_lines(status):
        say(line)
    return COMPLETE if status.complete else PARTIAL


def register(app: typer.Typer, leave_with: Callable[[Callable[[], Awaitable[int]]], None]) -> None:
    """Adds the commands to the command line.

    Args:
        app: The command line.
        leave_with: Runs what a command does and leaves with its exit code.
    """

    @app.command()
    def status(
        batch_id: BatchId,
        store: option.StoreUrl = None,
        as_json: option.AsJson = False,
        watch: Watch = False,
        every: Every = 1.0,
    ) -> None:
        """Tell where a batch stands. Exit code 0 when it is complete, else 3.

        Example: overheard status 7f9c… --watch
        """
        leave_with(lambda: tell_status(batch_id, store, as_json=as_json, watch=watch, every=every))

    @app.command()
    def cancel(batch_id: BatchId, store: option.StoreUrl = None, as_json: option.AsJson = False) -> None:
        """Cancel a batch: nothing new is asked, what is in flight gets its grace, and no start continues it.

        A process at work on it stops when it renews its leases. `overheard resume` goes on with it.

        Example: overheard cancel 7f9c…
        """
        leave_with(lambda: cancel_batch(batch_id, store, as_json=as_json))

"""`overheard export`: a batch's tables into files or onto stdout. The writing is `overheard.export`'s."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, Literal, TypeAlias

import typer

from overheard.cli import options as option
from overheard.cli.insights import measured
from overheard.cli.opening import LeaveWith, existing_store
from overheard.cli.starts import COMPLETE
from overheard.cli.terminal import say
from overheard.errors import ConfigError
from overheard.export import Format, export_batch, export_stream
from overheard.pipeline import Pipeline

Table: TypeAlias = Literal["question-runs", "extractions", "metrics"]

BatchId = Annotated[str, typer.Argument(metavar="BATCH", help="The batch, as the summary names it.")]
FormatOption = Annotated[
    Format,
    typer.Option(
        "--format", help="csv, parquet (pip install 'overheard\\[arrow]'), or json: one document a line (NDJSON)."
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "-o",
        "--output",
        metavar="PATH",
        help="A file; a folder (one that is there, or a name that ends with /), which gets all three tables; "
        "or - for stdout (csv, json).",
    ),
]
WhatOption = Annotated[
    Table | None,
    typer.Option(
        "--what",
        help="The table. Default: all three into a folder; into a file the question runs, each with what was "
        "extracted from it.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]
Excel = Annotated[bool, typer.Option("--excel", help="CSV begins with a byte order mark, so that Excel reads UTF-8.")]


async def write(
    batch_id: str,
    store: str | None,
    output: str,
    *,
    form: Format,
    what: Table | None,
    force: bool,
    excel: bool,
) -> int:
    """Writes the tables and says how many rows went where; gives the exit code."""
    existing_store(store)
    to_stdout, path = output == "-", Path(output)
    if output.endswith("/"):
        _make_folder(path)
    to_folder = not to_stdout and await asyncio.to_thread(path.is_dir)
    async with Pipeline(store) as pipeline:
        metrics: Mapping[str, Any] | None = None
        if what == "metrics" or (what is None and to_folder):
            if await pipeline.store.load_batch(batch_id) is None:  # the id of an org could be measured, too
                raise ConfigError(f"there is no batch '{batch_id}' in the store", field="batch_id")
            metrics = await measured(pipeline, batch_id)
        if to_stdout:
            with _told_of_stdout() as file:
                await export_stream(
                    pipeline.store, batch_id, file, format=form, what=what or "joined", metrics=metrics, excel=excel
                )
            return COMPLETE
        written = await export_batch(
            pipeline.store, batch_id, path, format=form, what=what, metrics=metrics, force=force, excel=excel
        )
    for file_path, rows in written.items():
        say(f"{file_path}: {rows} rows")
    return COMPLETE


@contextmanager
def _told_of_stdout() -> Iterator[IO[bytes]]:
    """Stdout; a reader that has gone, or a full disk behind it, is one sentence."""
    try:
        yield sys.stdout.buffer
    except OSError as error:
        # What is still in the buffer would raise once more when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ConfigError(f"stdout: {error.strerror or error}; not everything was written", field="output") from error


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}; name another folder", field="output") from error


def register(app: typer.Typer, leave_with: LeaveWith) -> None:
    """Adds the command to the command line."""

    @app.command()
    def export(
        batch_id: BatchId,
        format: FormatOption,
        output: Output,
        what: WhatOption = None,
        force: Force = False,
        excel: Excel = False,
        store: option.StoreUrl = None,
    ) -> None:
        """Write a batch's question runs, extractions and metrics as tables, for a spreadsheet, pandas, DuckDB or Spark.

        Rows are streamed: a batch of any size fits. A file appears when it is whole, readable by you alone.

        Money is in micro-dollars, times are UTC. In CSV, lists are JSON.

        In CSV, text that a spreadsheet would run as a formula gets a leading apostrophe.

        Examples:

          overheard export 7f9c… --format parquet -o tables/

          overheard export 7f9c… --format csv --excel -o answers.csv

          overheard export 7f9c… --format csv --what metrics -o metrics.csv

          overheard export 7f9c… --format json -o - | jq -r .answer_text
        """
        leave_with(lambda: write(batch_id, store, output, form=format, what=what, force=force, excel=excel))

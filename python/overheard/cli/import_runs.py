"""`overheard import-runs`: answers collected elsewhere, from a file or stdin. Checking and storing is `importing`'s."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated

import typer

from overheard.cli import options as option
from overheard.cli.opening import LeaveWith
from overheard.cli.starts import COMPLETE, PARTIAL
from overheard.cli.terminal import complain, say
from overheard.errors import ConfigError
from overheard.importing import Imported, read_lines
from overheard.pipeline import Pipeline

_EVERY = 2.0  # seconds between two lines of progress

File = Annotated[str, typer.Argument(metavar="FILE", help="JSON, one answer a line; - reads stdin.")]
OrgOption = Annotated[
    str | None,
    typer.Option("--org", help="The org of the store whose answers they are. Default: the only org of the store."),
]
BatchKey = Annotated[
    str | None,
    typer.Option(
        "--batch-key",
        help="Make or add to the org's import of this key. Default: made of the lines, so that the same file is one "
        "batch.",
    ),
]
NoExtract = Annotated[
    bool, typer.Option("--no-extract", help="Store only; `overheard extract BATCH` extracts later, with a model too.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary alone, as JSON, on the last line of stdout.")]


async def import_file(
    path: str, store: str | None, *, org: str | None, batch_key: str | None, extract: bool, as_json: bool
) -> int:
    """Imports and says what came of it; gives the exit code.

    Raises:
        ConfigError: The file cannot be read, or has wrong lines; it is not clear which org is meant.
    """
    with ExitStack() as stack:
        file = _opened(path, stack)
        name = "stdin" if path == "-" else path
        said = time.monotonic()

        def progress(stored: int, lines: int) -> None:
            nonlocal said
            if time.monotonic() - said >= _EVERY or (stored == lines and lines > 10_000):
                said = time.monotonic()
                complain(f"{stored} of {lines} answers stored")

        async with Pipeline(store) as pipeline:
            org_id = org or await _only_org(pipeline)
            found = await pipeline.import_runs(
                read_lines(file), org_id, batch_key=batch_key, extract=extract, name=name, on_progress=progress
            )
    if as_json:
        say(json.dumps(found.to_dict()))
    else:
        for line in summary_lines(found):
            say(line)
    return COMPLETE if found.status == "complete" else PARTIAL


def _opened(path: str, stack: ExitStack) -> IO[bytes]:
    if path == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(path).open("rb"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}", field="file") from error


async def _only_org(pipeline: Pipeline) -> str:
    ids: list[str] = await pipeline.store.org_ids()
    if len(ids) == 1:
        return ids[0]
    known = f"the store has {', '.join(ids[:10])}" if ids else "the store has none: overheard orgs import FILE"
    raise ConfigError(f"--org: say whose answers they are; {known}", field="org")


def summary_lines(found: Imported) -> list[str]:
    """What an import did, for a person."""
    models = ", ".join(f"{model} {count}" for model, count in found.models.items())
    return [
        f"Batch {found.batch_id} of {found.org_id}: {found.lines} answers read, {found.stored} stored, "
        f"{found.unchanged} there already, {found.extracted} extracted",
        f"Question runs by model: {models}",
        f"Look at it: overheard insights {found.batch_id}",
    ]


def register(app: typer.Typer, leave_with: LeaveWith) -> None:
    """Adds the command to the command line."""

    @app.command("import-runs")
    def import_runs(
        file: File,
        org: OrgOption = None,
        batch_key: BatchKey = None,
        no_extract: NoExtract = False,
        as_json: AsJson = False,
        store: option.StoreUrl = None,
    ) -> None:
        """Take in answers that were collected elsewhere, as a batch: then insights, rescore and export work on them.

        A line has question and model, and if known location, answer, citations, time (ISO 8601), id (the question's),
        repeat, status (answered, refused, no_answer, failed), served_model and cost. Nothing counts as paid by us. All
        lines are checked before one is stored; the same file twice changes nothing.

        {"question": "Best CRM?", "model": "chatgpt", "location": "US", "answer": "…", "citations": ["https://…"]}

        Examples:

          overheard import-runs answers.jsonl --org acme

          zcat answers.jsonl.gz | overheard import-runs - --org acme --batch-key 2026-10
        """
        leave_with(
            lambda: import_file(file, store, org=org, batch_key=batch_key, extract=not no_extract, as_json=as_json)
        )

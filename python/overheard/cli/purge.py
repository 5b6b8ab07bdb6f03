"""`overheard purge`: old batches out of the store, and their closed journal files off the disk.

What is deleted is the store's decision (`SqlStore.purge_before`); this file asks, reports, and removes files.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from overheard import _closed_journals
from overheard.batch import now_ms
from overheard.cli import options as option
from overheard.cli.opening import LeaveWith, existing_store
from overheard.cli.starts import COMPLETE, USAGE
from overheard.cli.terminal import complain, say
from overheard.errors import ConfigError
from overheard.settings import environment, journal_folder
from overheard.stores import SqlStore

OlderThan = Annotated[
    str, typer.Option("--older-than", help="Days (90d), weeks (12w), or a date (2026-01-01, its first moment in UTC).")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask. Needed where nobody can be asked.")]

_DAYS = {"d": 1, "w": 7}


async def delete(moment: int, store: str | None, *, dry_run: bool, yes: bool) -> int:
    """Deletes what finished before the moment (milliseconds since 1970 UTC), or says what would go; the exit code."""
    async with existing_store(store) as opened:
        going = await _purge_before(opened, moment, dry_run=True)
        said = f"finished before {datetime.fromtimestamp(moment / 1000, timezone.utc):%Y-%m-%d %H:%M} UTC"
        if not any(going.values()):
            say(f"Nothing to purge: no batch {said}")
            return COMPLETE
        if dry_run:
            _show(going, f"Would go: batches {said}")
            return COMPLETE
        if not yes:
            if not sys.stdin.isatty():
                complain("Error: purge deletes for good; look with --dry-run, then give --yes")
                return USAGE
            _show(going, f"Going: batches {said}")
            if not typer.confirm("Delete these rows for good?"):
                say("Nothing was deleted")
                return COMPLETE
        before = set(await opened.batch_ids())
        gone = await _purge_before(opened, moment, dry_run=False)
        removed, kept = _closed_journals.remove(_journal_of(opened), before - set(await opened.batch_ids()))
        _show({**gone, "journal files": removed}, f"Gone: batches {said}")
        for line in kept:
            complain(line)
        return COMPLETE


def _moment(text: str) -> int:
    """Milliseconds since 1970 UTC.

    Raises:
        typer.BadParameter: Neither an age nor a date, or a moment to come.
    """
    number, unit = text[:-1], text[-1:].lower()
    try:
        if unit in _DAYS and number.isascii() and number.isdigit():
            found = datetime.now(timezone.utc) - timedelta(days=int(number) * _DAYS[unit])
        else:
            day = date.fromisoformat(text)
            found = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
    except (ValueError, OverflowError):
        problem = f"'{text}' is neither an age (90d, 12w) nor a date (2026-01-01)"
        raise typer.BadParameter(problem, param_hint="--older-than") from None
    moment = round(found.timestamp() * 1000)
    if moment > now_ms():
        raise typer.BadParameter(f"'{text}' is yet to come", param_hint="--older-than")
    return moment


async def _purge_before(store: Any, moment: int, *, dry_run: bool) -> Mapping[str, int]:
    if not hasattr(store, "purge_before"):
        raise ConfigError(f"purge: {type(store).__name__} cannot delete batches: it has no purge_before", field="store")
    counts: Mapping[str, int] = await store.purge_before(moment, dry_run=dry_run)
    return counts


def _journal_of(store: SqlStore) -> Path:
    said = environment().get("OVERHEARD_JOURNAL", "").strip() or None
    return Path(journal_folder(store.database.path, said))


def _show(counts: Mapping[str, int], title: str) -> None:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("what")
    table.add_column("rows", justify="right")
    for name, count in counts.items():
        if count:
            table.add_row(name, str(count))
    Console(highlight=False, markup=False, emoji=False).print(table)


def register(app: typer.Typer, leave_with: LeaveWith) -> None:
    """Adds the command to the command line."""

    @app.command()
    def purge(older_than: OlderThan, dry_run: DryRun = False, yes: Yes = False, store: option.StoreUrl = None) -> None:
        """Delete batches that finished before a moment: their rows in every table, and what is left of their journal.

        A batch that is not finished stays, whatever its age, and so do orgs.

        There is no way back: export first what you want to keep.

        Examples:

          overheard purge --older-than 90d --dry-run

          overheard purge --older-than 2026-01-01 --yes
        """
        moment = _moment(older_than)
        leave_with(lambda: delete(moment, store, dry_run=dry_run, yes=yes))

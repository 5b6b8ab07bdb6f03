"""Checks that store and journal keep their promises, by reading: an invariant holds, or its first bad row is named.

Repairs, locks and writes nothing; a batch that a process works on, or was killed over, is sound as well.

I1 every cell once, and of the plan; I2 status and rows agree; I4 money adds up to the micro-dollar; I6 extractions are
whole or absent; I8 states are legal; I10 what was asked is what was planned; I11 a finished batch leaves nothing in the
journal; J the journal is sound; I7 nothing is orphaned, no snapshot id is among the results, the database is sound.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from overheard.errors import JournalError, StoreError
from overheard.settings import journal_folder
from overheard.stores import SqlStore
from overheard.stores.callbacks import CallbackStore
from overheard.verify.cells import asked_as_planned, every_cell_once
from overheard.verify.extractions import extractions_are_whole
from overheard.verify.insights import insights_are_sound
from overheard.verify.journal import finished_leaves_nothing, journal_is_sound
from overheard.verify.money import money_adds_up
from overheard.verify.reading import Reader
from overheard.verify.soundness import database_is_sound
from overheard.verify.states import states_are_legal, status_and_rows_agree

__all__ = ["Check", "store_totals", "verify"]


@dataclass(frozen=True)
class Check:
    """What came of one invariant.

    Attributes:
        name: `I1`, `I2`, `I4`, `I6`, `I7`, `I8`, `I10`, `I11`, or `J` for the journal.
        what: The invariant in words.
        problem: The first row that breaks it; None: it holds.
        looked_at: Rows, or entries of the journal, looked at.
        note: What could not be seen; None: everything was.
    """

    name: str
    what: str
    problem: str | None
    looked_at: int
    note: str | None = None

    @property
    def passed(self) -> bool:
        """True when the invariant holds."""
        return self.problem is None

    def line(self) -> str:
        """One line for a person."""
        seen = f"{self.looked_at} rows" if self.passed else self.problem
        note = f" ({self.note})" if self.note else ""
        return f"{'PASS' if self.passed else 'FAIL'} {self.name} {self.what}: {seen}{note}"

    def to_dict(self) -> dict[str, Any]:
        """Every field and `passed`, ready for JSON."""
        return {
            "name": self.name,
            "what": self.what,
            "passed": self.passed,
            "problem": self.problem,
            "looked_at": self.looked_at,
            "note": self.note,
        }


async def verify(
    store: SqlStore | CallbackStore, batch_id: str | None = None, *, journal: Path | str | None = None
) -> list[Check]:
    """Checks one batch, or every batch of the store.

    Args:
        store: What to read; of a `CallbackStore`, our small file: keys, status, counts and money.
        batch_id: None: all.
        journal: The journal's folder; None: beside the database, where a start without `OVERHEARD_JOURNAL` puts it.

    Raises:
        StoreError: The database cannot be opened.
    """
    sql = store.state if isinstance(store, CallbackStore) else store
    path = sql.database.path
    if path is not None and not path.exists():
        raise StoreError(f"{path}: there is no such file; set OVERHEARD_STORE to the store to check")
    folder = Path(journal) if journal is not None else Path(journal_folder(path))
    try:
        return await sql.database.operations.run(_read, sql, folder, batch_id)
    except DBAPIError as error:
        problem = f"the database cannot be read: {error.orig}"
        return [Check("I7", _SOUND, problem, 0)]


async def _read(sql: SqlStore, journal: Path, batch_id: str | None) -> list[Check]:
    # One transaction: what a process writes meanwhile is not seen half. The journal is read after the store, so what is
    # open there and stored here was still open after it was stored.
    async with sql.database.snapshot() as connection:
        reader = Reader(connection, sqlite=sql.database.is_sqlite, journal=journal)
        return await _checked(reader, sql.light, batch_id)


async def _checked(reader: Reader, light: bool, batch_id: str | None) -> list[Check]:
    wanted = [batch_id] if batch_id is not None else await _looked(reader.batch_ids(), [])
    batches, unreadable = [], None
    for entry in wanted:
        try:
            kept = await _looked(reader.batch(entry), None)
        except (ValueError, TypeError) as error:
            unreadable = unreadable or f"batch {entry} cannot be read: {error}"
            continue
        if kept is not None:
            batches.append(kept)
    light = light or await _looked(reader.is_light(), False)
    checks = []
    for name, what, parts in _CHECKS:
        looked_at, problem, note = 0, None, None
        if name == _STATES:
            problem = unreadable
        elif batch_id is not None and not batches and unreadable is None:
            problem = f"there is no batch {batch_id}"
        for batch in batches:
            for part in parts:
                if problem is None:
                    found = await _found(part(reader, batch, light))
                    looked_at += found[0]
                    problem = None if found[1] is None else f"batch {batch.batch_id}: {found[1]}"
                    note = found[2] or note
        checks.append(Check(name, what, problem, looked_at, note))
    known = {name for batch in batches for name in reader.snapshot_ids(batch.batch_id)}
    rows, problem, note = await _found(database_is_sound(reader, known))
    checks.append(Check("I7", _SOUND, problem, rows, note))
    return checks


_Found = tuple[int, "str | None", "str | None"]


async def _found(check: Awaitable[_Found]) -> _Found:
    """A database or journal too damaged for the question is an answer, too."""
    try:
        return await check
    except DBAPIError as error:
        return 0, f"the database cannot be read: {error.orig}", None
    except JournalError as error:
        return 0, str(error), None
    except (ValueError, TypeError) as error:
        return 0, f"a value is not of its column's kind: {error}", None


async def _looked(question: Awaitable[Any], otherwise: Any) -> Any:
    """What cannot be read is named by the check of the whole database."""
    try:
        return await question
    except DBAPIError:
        return otherwise


async def store_totals(store: SqlStore) -> dict[str, int]:
    """Sums over the whole store: `cost_micro_usd` (all that was charged) and `records` of Bright Data."""
    async with store.database.snapshot() as connection:
        reader = Reader(connection, sqlite=store.database.is_sqlite, journal=Path())
        (row,) = await reader.rows(
            "SELECT (SELECT coalesce(sum(cost_micro_usd), 0) FROM question_runs)"
            " + (SELECT coalesce(sum(cost_micro_usd), 0) FROM extractions)"
            " + (SELECT coalesce(sum(overhead_micro_usd), 0) FROM batches)"
            " + (SELECT coalesce(sum(overhead_micro_usd), 0) FROM geo_runs)"
            " + (SELECT coalesce(sum(cost_micro_usd), 0) FROM geo_batch_insights) AS cost_micro_usd,"
            " (SELECT coalesce(sum(records), 0) FROM question_runs) AS records"
        )
    return {name: int(value) for name, value in row.items()}


_STATES = "I8"
_SOUND = "no orphans, no snapshot ids, sound database"
_CHECKS: Sequence[tuple[str, str, Sequence[Callable[..., Awaitable[_Found]]]]] = (
    ("I1", "every cell once, and of the plan", (every_cell_once,)),
    ("I2", "status and rows agree", (status_and_rows_agree,)),
    ("I4", "cost equals the sum of the rows", (money_adds_up,)),
    ("I6", "extractions are whole or absent", (extractions_are_whole,)),
    (_STATES, "states are legal", (states_are_legal, insights_are_sound)),
    ("I10", "asked as planned", (asked_as_planned,)),
    ("I11", "a finished batch leaves nothing in the journal", (finished_leaves_nothing,)),
    ("J", "the journal is sound", (journal_is_sound,)),
)

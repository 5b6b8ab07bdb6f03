"""Removes journal files of batches that the store has no more. Only what nobody holds and what has nothing open goes.

The engine removes its files itself when a start ends well; these are what killed starts left, after another start had
settled all they knew of. Must not remove the record of anything that may have been paid for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from overheard import _core
from overheard.errors import JournalError

_OPEN = ("submissions", "asked", "replies", "extractions", "overhead")


def remove(folder: Path, batch_ids: Iterable[str]) -> tuple[int, list[str]]:
    """Removes the closed files of these batches.

    Args:
        folder: The journal's folder; it need not be there.
        batch_ids: Batches that were purged.

    Returns:
        How many files went, and a sentence for each that stays.
    """
    removed = 0
    kept: list[str] = []
    for batch_id in sorted(batch_ids):
        for path in _paths(folder, batch_id, kept):
            problem = _remove(folder, batch_id, path)
            if problem is None:
                removed += 1
            else:
                kept.append(f"{path} stays: {problem}")
    return removed, kept


def _paths(folder: Path, batch_id: str, kept: list[str]) -> list[Path]:
    try:
        return [Path(file["path"]) for file in _files(folder, batch_id)]
    except JournalError as error:
        kept.append(f"{folder} stays: {error}")
        return []


def _remove(folder: Path, batch_id: str, path: Path) -> str | None:
    """Why it stays; None: it is gone. It is locked while it is looked at, so that nobody writes before it goes."""
    try:
        with path.open("rb") as file:
            if not _locked(file.fileno()):
                return "a process works with it"
            (found,) = [entry for entry in _files(folder, batch_id) if Path(entry["path"]) == path]
            if found["problem"] is not None:
                return str(found["problem"])
            if any(found[name] for name in _OPEN):
                return "it names work that may have been paid for"
            path.unlink()
    except (OSError, JournalError, ValueError) as error:
        return str(error)
    return None


def _files(folder: Path, batch_id: str) -> list[Mapping[str, Any]]:
    files: list[Mapping[str, Any]] = json.loads(_core.inspect_journal(folder, batch_id))["files"]
    return files


def _locked(descriptor: int) -> bool:
    """Takes the lock that the engine holds while it works with a file; False: somebody has it."""
    try:
        import fcntl
    except ImportError:  # not a Unix: an open file cannot be removed there, which is lock enough
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

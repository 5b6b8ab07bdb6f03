"""I11 and J: a finished batch leaves nothing in the journal, and what is open there fits the batch and its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from overheard.batch import BatchStatus
from overheard.verify.reading import Kept, Reader, cell_key

_Entry = Mapping[str, Any]


async def finished_leaves_nothing(reader: Reader, kept: Kept, _light: bool) -> tuple[int, str | None, str | None]:
    """Complete and finished: nothing is open. Complete, its process killed before it ended: only notes are missing.

    A batch at the extraction model's provider is neither: it may take a day, and the answers that wait for it are
    complete without it. It is told, not objected to.
    """
    journal = reader.journal(kept.batch_id)
    entries = list(_entries(journal))
    seen = (_not_seen(kept, journal), _still_asked(entries))
    note = "; ".join(part for part in seen if part) or None
    looked_at = len(entries)
    entries = [entry for entry in entries if not entry[1].startswith(_ASKED_BY_BATCH)]
    if BatchStatus.of(kept.batch, now=kept.read_at_ms).status != "complete" or kept.at_work:
        return looked_at, None, note
    keys = sorted({key for _, _, keys in entries for key in keys})
    stored = await reader.stored(kept.batch_id, keys)
    for file, what, cells in entries:
        # While a batch is open the file stays, and with it the note of charges that the store has: looked at below.
        noted = what.endswith(_NO_CELL) and looked_at > len(entries)
        if kept.batch.finished_at_ms is not None and not noted:
            return looked_at, f"the batch is finished, and {file['path']} has {what} open", note
        if what.endswith(_NO_CELL):
            continue  # below: it says which model run has to have it
        if not cells or not all(_is_done(what, stored.get(key)) for key in cells):
            return looked_at, f"the batch is complete, and {file['path']} has {what} that is not in the store", note
    for file in journal["files"]:
        for entry in file["overhead"]:
            if not _is_booked(kept, entry):
                what = f"{_money_of(entry)} that is not in the store"
                return looked_at, f"the batch is complete, and {file['path']} has {what}", note
    return looked_at, None, note


_NO_CELL = "micro-dollars of no cell"
_ASKED_BY_BATCH = "an extraction by batch"


def _still_asked(entries: list[tuple[_Entry, str, list[str]]]) -> str | None:
    """The submissions of extraction=llm-batch that wait at their provider."""
    waiting = [(what, cells) for _, what, cells in entries if what.startswith(_ASKED_BY_BATCH)]
    if not waiting:
        return None
    (what, _), answers = waiting[0], sum(len(cells) for _, cells in waiting)
    more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    return f"open: {what}{more}, about {answers} answers, is paid for; a start with extraction=llm-batch fetches it"


def _money_of(overhead: _Entry) -> str:
    return f"{overhead['micro_usd'] + overhead['maybe_charged_micro_usd']} {_NO_CELL}"


def _is_booked(kept: Kept, overhead: _Entry) -> bool:
    """The entry is a model run's total over all starts: its row has as much, and only the note of that is missing."""
    charged, maybe = overhead["micro_usd"], overhead["maybe_charged_micro_usd"]
    return any(
        run.overhead_micro_usd >= charged and run.overhead_maybe_charged_micro_usd >= maybe
        for run in kept.batch.model_runs
        if overhead["model"] in (None, run.model)
    )


def _is_done(what: str, row: Mapping[str, Any] | None) -> bool:
    if row is None or what.startswith("a call"):
        return False
    return not what.startswith("an extraction") or row["extracted_at_ms"] is not None


async def journal_is_sound(reader: Reader, kept: Kept, _light: bool) -> tuple[int, str | None, str | None]:
    """Readable, of this batch's plan, no snapshot id twice, and nothing bought that the store had already."""
    journal = reader.journal(kept.batch_id)
    note = _not_seen(kept, journal)
    count = len(list(_entries(journal)))
    bought: dict[str, str] = {}
    for file in journal["files"]:
        if file["problem"] is not None:
            return count, file["problem"], note
        for entry in file["submissions"]:
            if problem := _misfit(kept, entry):
                return count, f"{file['path']}: {problem}", note
            snapshot = entry["snapshot_id"]
            if snapshot is not None and bought.setdefault(snapshot, entry["id"]) != entry["id"]:
                return count, f"{file['path']}: two submissions have the snapshot id {snapshot}", note
        for entry in (*file["asked"], *file["replies"], *file["extractions"]):
            if entry["key"] is not None and not kept.is_planned(entry["key"]):
                return count, f"{file['path']}: {cell_key(entry['key'])} is not of the plan", note
        if any(entry["micro_usd"] < 0 for entry in file["asked"]) or any(
            min(entry["micro_usd"], entry["maybe_charged_micro_usd"]) < 0 for entry in file["overhead"]
        ):
            return count, f"{file['path']}: a charge is less than nothing", note
    problem = await _bought_again(reader, kept, journal)
    return count, problem, note


def _misfit(kept: Kept, submission: _Entry) -> str | None:
    keys = [cell_key(cell) for cell in submission["cells"]]
    what = f"submission {submission['id']}"
    if not keys or len(set(keys)) != len(keys):
        return f"{what} has no cells, or one twice"
    for cell, key in zip(submission["cells"], keys, strict=True):
        if not kept.is_planned(cell):
            return f"{what}: {key} is not of the plan"
        if cell["model"] != submission["model"]:
            return f"{what} is of more than one model"
        if not _is_extraction(submission) and cell["location"] != submission["cells"][0]["location"]:
            return f"{what} is of more than one pair"
    return None


def _is_extraction(submission: _Entry) -> bool:
    """True for a batch of an extraction model: it asks about answers, not for them."""
    return submission.get("extraction") is not None


async def _bought_again(reader: Reader, kept: Kept, journal: Mapping[str, Any]) -> str | None:
    """An answer was stored first, and then bought: the one thing that may never be open."""
    keys = sorted({key for _, _, keys in _entries(journal) for key in keys})
    stored = await reader.stored(kept.batch_id, keys)
    answered = {key: row["finished_at_ms"] for key, row in stored.items() if row["status"] == "answered"}
    for file in journal["files"]:
        for entry in file["submissions"]:
            if _is_extraction(entry):
                continue  # it is about stored answers
            for key in map(cell_key, entry["cells"]):
                if answered.get(key, entry["created_at_ms"]) < entry["created_at_ms"]:
                    return f"{file['path']}: submission {entry['id']} buys {key}, which was answered already"
        for entry in file["asked"]:
            if entry["call"] == "answer" and cell_key(entry["key"]) in answered:
                return f"{file['path']}: {cell_key(entry['key'])} is asked again, and is answered"
        for entry in file["replies"]:
            key = cell_key(entry["key"])
            if key in answered and answered[key] != entry["finished_at_ms"]:
                return f"{file['path']}: another reply than the stored one waits for {key}"
    return None


def _entries(journal: Mapping[str, Any]) -> Iterator[tuple[_Entry, str, list[str]]]:
    """Every open entry: its file, what it is, its cells."""
    for file in journal["files"]:
        for entry in file["submissions"]:
            what = f"{_ASKED_BY_BATCH}, submission" if _is_extraction(entry) else "submission"
            yield file, f"{what} {entry['id']}", [cell_key(cell) for cell in entry["cells"]]
        for entry in file["asked"]:
            keys = [] if entry["key"] is None else [cell_key(entry["key"])]
            yield file, f"a call ({entry['call']} of {keys[0] if keys else 'the batch'})", keys
        for entry in file["replies"]:
            yield file, f"the reply of {cell_key(entry['key'])}", [cell_key(entry["key"])]
        for entry in file["extractions"]:
            yield file, f"an extraction of {cell_key(entry['key'])}", [cell_key(entry["key"])]
        for entry in file["overhead"]:
            yield file, _money_of(entry), []


def _not_seen(kept: Kept, journal: Mapping[str, Any]) -> str | None:
    """The model runs whose journal lies elsewhere: nothing can be told of them."""
    for run in kept.batch.model_runs:
        if run.journal_id is not None and run.journal_id != journal["folder_id"]:
            return f"not seen: the journal {run.journal_id} of {run.model}, on host {run.journal_host}"
    return None

"""Answers that were collected elsewhere become a batch: checked line by line, stored, extracted by rules. Asks nobody.

    {"question": "Best CRM?", "model": "chatgpt", "location": "US", "answer": "…", "citations": ["https://…"]}

Everything is read and checked before anything is written: a file with one wrong line changes nothing. The same answers
twice change nothing either. Nothing counts as paid by us; a `cost` is kept with the line, in its raw body.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, uuid5

from overheard import _core
from overheard._handlers import has_facts
from overheard._import_lines import FIELDS, PAGE_ROWS, Spool, moment_of, read_lines
from overheard._retry import retried
from overheard.batch import Batch, BatchStatus, ModelRun, now_ms
from overheard.errors import ConfigError
from overheard.extractor import rules_of
from overheard.org import Location, Org, Question

if TYPE_CHECKING:
    from overheard._core import QuestionRun

__all__ = ["FIELDS", "Imported", "imported", "read_lines"]

_KEYS = 2_000

Told = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import left in the store.

    Attributes:
        batch_id: The batch; the same for the same org and key.
        org_id: The org.
        batch_key: As given, else made of the lines: the same lines have the same.
        lines: Answers read.
        stored: Of them new, or other than before.
        unchanged: Of them stored before, word for word.
        extracted: Extractions made.
        models: Model to its question runs in the batch.
        status: Of the batch: `complete`, or `partial` when a model has no answer.
    """

    batch_id: str
    org_id: str
    batch_key: str
    lines: int
    stored: int
    unchanged: int
    extracted: int
    models: Mapping[str, int] = field(default_factory=dict)
    status: str = "complete"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "models": dict(self.models)}


async def imported(
    store: Any,
    rows: Iterable[Mapping[str, Any] | tuple[int, bytes]],
    org: Org,
    *,
    name: str = "rows",
    batch_key: str | None = None,
    extract: bool = True,
    surface_of: Callable[[str], str] = lambda _: "",
    on_progress: Told | None = None,
) -> Imported:
    """Imports; see `Pipeline.import_runs`.

    Args:
        store: The user's `Store`.
        rows: Mappings with `FIELDS`, or numbered lines of JSON as `read_lines` gives them.
        org: Whose answers they are.
        name: What errors call the source.
        batch_key: The batch's key; None: made of the lines.
        extract: Extract by rules.
        surface_of: Who answers for a model; empty: not known.
        on_progress: Told the lines stored, and all lines.

    Raises:
        ConfigError: Names every wrong line, up to a hundred; then nothing is written.
    """
    with tempfile.TemporaryFile() as file:
        spool = Spool(name, file)
        await asyncio.to_thread(_spooled, spool, rows)
        key = batch_key or f"import-{spool.digest}"
        return await _Import(store, org, spool, key, surface_of, on_progress).run(extract=extract)


def _spooled(spool: Spool, rows: Iterable[Mapping[str, Any] | tuple[int, bytes]]) -> None:
    for number, row in enumerate(rows, 1):
        if isinstance(row, tuple):
            spool.take(*row)
        else:
            spool.take(number, row)
    spool.raise_errors()


class _Import:
    def __init__(
        self,
        store: Any,
        org: Org,
        spool: Spool,
        batch_key: str,
        surface_of: Callable[[str], str],
        on_progress: Told | None,
    ) -> None:
        self.store, self.org, self.spool, self.batch_key = store, org, spool, batch_key
        self.surface_of = surface_of
        self.on_progress = on_progress
        self.batch_id = str(uuid5(NAMESPACE_OID, f"import {org.id} {batch_key}"))
        self.counts: Counter[str] = Counter()

    async def run(self, *, extract: bool) -> Imported:
        before = await self._before()
        batch = self._batch(before)
        known: set[str] | None = None
        if before is not None and not callable(getattr(self.store, "raw_bodies", None)):
            known = {key async for key, *_ in self._keys()}
        begun = False
        for page in self.spool.pages():
            runs = [self._run(row) for row in page]
            new = await self._new(runs, known) if before is not None else runs
            self.counts["unchanged"] += len(runs) - len(new)
            if new:
                if not begun:
                    await self._save(batch)
                    begun = True
                await retried(self.store.save_question_runs, new)
            self.counts["stored"] += len(new)
            if self.on_progress is not None:
                self.on_progress(self.counts["stored"] + self.counts["unchanged"], self.spool.lines)
        if extract:
            await self._extract(Org.from_dict(batch.config["org"]))
        if begun or self.counts["extracted"] or before is None or any(r.status == "queued" for r in before.model_runs):
            batch = await self._end(batch)
        else:
            batch = before
        return Imported(
            batch_id=self.batch_id,
            org_id=self.org.id,
            batch_key=self.batch_key,
            lines=self.spool.lines,
            stored=self.counts["stored"],
            unchanged=self.counts["unchanged"],
            extracted=self.counts["extracted"],
            models={run.model: run.query_count for run in batch.model_runs},
            status=BatchStatus.of(batch).status,
        )

    async def _before(self) -> Batch | None:
        """The batch of an earlier import under this key.

        Raises:
            ConfigError: The key is of a batch that was asked here.
        """
        found: Batch | None = await retried(self.store.load_batch, self.batch_id)
        if found is not None:
            return found
        other = await retried(self.store.load_batch, org_id=self.org.id, batch_key=self.batch_key)
        if other is not None:
            raise ConfigError(
                f"batch_key: '{self.batch_key}' is batch {other.batch_id}, whose answers were asked here; take another",
                field="batch_key",
            )
        return None

    def _batch(self, before: Batch | None) -> Batch:
        """The batch with the questions, models and locations of these lines beside those of earlier imports."""
        spool, config = self.spool, before.config if before is not None else {}
        org = Org.from_dict(config["org"]) if config.get("org") else replace(self.org, questions=())
        texts = {question.id: question.text for question in org.question_list}
        for name, text in spool.questions.items():
            if texts.setdefault(name, text) != text:
                raise ConfigError(f"id: '{name}' is another question in batch {self.batch_id}", field="id")
        models = list(dict.fromkeys([*config.get("models", ()), *spool.models]))
        places = [Location(**entry) for entry in config.get("locations", ())]
        # A plan names a place or none: beside named ones `anywhere` is its own, and is left to the rows.
        places += [place for place in spool.locations.values() if place is not None and place not in places]
        whole = replace(
            org,
            questions=[Question(text, name) for name, text in texts.items()],
            models=models,
            locations=places,
        )
        ids = {run.model: run for run in (before.model_runs if before is not None else ())}
        runs = tuple(
            ids.get(model)
            or ModelRun(
                run_id=str(uuid5(NAMESPACE_OID, f"{self.batch_id} {model}")),
                batch_id=self.batch_id,
                batch_size=len(models),
                org_id=self.org.id,
                model=model,
                surface=self.surface_of(model),
            )
            for model in models
        )
        moment = now_ms()
        return Batch(
            batch_id=self.batch_id,
            org_id=self.org.id,
            batch_size=len(models),
            batch_key=self.batch_key,
            config={
                "org": whole.to_dict(),
                "models": models,
                "locations": [place.to_dict() for place in places],
                "questions": list(texts),
                "repeats": max(spool.repeats, config.get("repeats", 1)),
                "extraction": "local",
                "max_cost_micro_usd": None,
                "imported": True,
            },
            created_at_ms=before.created_at_ms if before is not None else moment,
            # From the beginning: no start may go on with it and ask what is not in the file.
            finished_at_ms=moment,
            model_runs=runs,
        )

    async def _save(self, batch: Batch) -> None:
        """The batch and its model runs, queued while rows are missing."""
        await retried(self.store.save_batch, replace(batch, model_runs=()))
        queued = [
            replace(run, status="queued", batch_size=batch.batch_size, finished_at_ms=None) for run in batch.model_runs
        ]
        await retried(self.store.save_model_runs, queued)

    def _run(self, row: Mapping[str, Any]) -> QuestionRun:
        """The question run of a line."""
        answer = row.get("answer") or None
        status = row.get("status") or ("answered" if answer else "no_answer")
        moment = moment_of(row.get("time"))
        citations = [{"url": entry} if isinstance(entry, str) else entry for entry in row.get("citations") or ()]
        error = {"kind": "record", "message": "failed where it was collected"} if status == "failed" else None
        return _core.QuestionRun.from_dict(
            {
                "batch_id": self.batch_id,
                "run_id": str(uuid5(NAMESPACE_OID, f"{self.batch_id} {row['model']}")),
                "org_id": self.org.id,
                "key": {
                    "question_id": row["id"],
                    "model": row["model"],
                    "location": row["location"],
                    "repeat": row["repeat"],
                },
                "question": row["question"],
                "outcome": {
                    "status": status,
                    "text": answer,
                    "citations": citations,
                    "cost_micro_usd": 0,
                    "served_model": row.get("served_model"),
                    "error": error,
                    "raw": json.dumps(row, ensure_ascii=False, sort_keys=True),
                    "started_at_ms": moment,
                    "finished_at_ms": moment,
                },
            }
        )

    async def _new(self, runs: list[QuestionRun], known: set[str] | None) -> list[QuestionRun]:
        """Those that are not stored word for word; without raw bodies in the store, those that are not stored."""
        if known is not None:
            return [run for run in runs if run.key not in known]
        stored = await retried(self.store.raw_bodies, self.batch_id, [run.key for run in runs])
        return [run for run in runs if run.key not in stored or bytes(run.outcome.raw) != stored[run.key]]

    async def _extract(self, org: Org) -> None:
        """By rules, those of the batch's own entry of the org: all answers that have no extraction."""
        rules = rules_of(org)
        while page := await retried(self.store.question_runs, self.batch_id, None, PAGE_ROWS):
            runs = [_core.QuestionRun.from_dict(run) if isinstance(run, Mapping) else run for run in page]
            extractions = await asyncio.to_thread(rules.extract, runs)
            await retried(self.store.save_extractions, extractions)
            self.counts["extracted"] += len(extractions)

    async def _keys(self) -> AsyncIterator[tuple[str, str, bool]]:
        """Key, status and whether it is extracted, of all cells of the batch."""
        after = None
        while page := await retried(self.store.existing_keys, self.batch_id, after, _KEYS):
            for entry in page:
                plain = entry if isinstance(entry, Mapping) else entry.to_dict()
                after = plain["key"]
                yield after, plain["status"], bool(plain.get("extracted"))

    async def _end(self, batch: Batch) -> Batch:
        """The model runs as the rows have them, and the batch's sums."""
        terminal: Counter[str] = Counter()
        answered: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        evaluations = 0
        async for key, status, extracted in self._keys():
            model = key.split("|")[1].replace("%7C", "|").replace("%25", "%")
            terminal[model] += 1
            answered[model] += status == "answered"
            failed[model] += status == "failed"
            evaluations += extracted
        moment = now_ms()
        runs = tuple(
            replace(
                run,
                batch_size=batch.batch_size,
                status="completed" if answered[run.model] else "failed",
                query_count=terminal[run.model],
                current_query_index=terminal[run.model],
                progress_pct=100.0,
                answered=answered[run.model],
                failed=failed[run.model],
                started_at_ms=run.started_at_ms or moment,
                finished_at_ms=moment,
                error_message=None if answered[run.model] else "no answer among the imported ones",
            )
            for run in batch.model_runs
        )
        batch = replace(batch, model_runs=runs, finished_at_ms=moment)
        await retried(self.store.save_model_runs, list(runs))
        await retried(self.store.save_batch, replace(batch, model_runs=()))
        if has_facts(self.store):
            nothing = dict.fromkeys(
                ("total_cost_micro_usd", "maybe_charged_micro_usd", "held_micro_usd", "unpriced"), 0
            )
            said = {
                **nothing,
                "processed": terminal.total(),
                "evaluations": evaluations,
                "status": BatchStatus.of(batch).status,
            }
            await retried(self.store.save_fact, f"summary:{self.batch_id}", json.dumps(said))
        return batch

"""One start: what the engine is told, what it gave, and how the batch stands after it. Chooses no batch.

The engine does the work through `_driver.drive`, the store keeps it. Who works on what in this process is known here.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from overheard import _driver, _owners
from overheard._batches import Cancellations, refuse_locked
from overheard._handlers import has_facts, has_leases, provider_handlers, store_handlers
from overheard._plan import Phase, Plan, run_spec
from overheard._retry import retried
from overheard.batch import Batch, BatchStatus, ModelRun, now_ms
from overheard.errors import BatchLocked, ConfigError
from overheard.holistic.money import holistic_spent
from overheard.protocols import ProviderProtocol
from overheard.settings import Settings, journal_folder
from overheard.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from overheard._choice import Choice
    from overheard._core import Session
    from overheard._finish import Finish

log = logging.getLogger("overheard")

# Starts at work in this process by batch, whatever pipeline works on it.
_starts: Counter[str] = Counter()
# Model runs at work in this process.
_runs_at_work: set[str] = set()
# Sessions of this process with the batch of each.
_sessions: dict[Session, str] = {}


def is_at_work(batch_id: str) -> bool:
    """A start of this process works on the batch."""
    return _starts[batch_id] > 0


def at_work() -> list[str]:
    """The ids of the batches this process works on."""
    return sorted(_starts)


def stop_batch(batch_id: str) -> None:
    """Stops the sessions of this process that work on the batch, gracefully."""
    for session in [session for session, batch in _sessions.items() if batch == batch_id]:
        session.stop()


class Worker:
    """Runs starts for one pipeline."""

    def __init__(
        self,
        store: Any,
        settings: Settings,
        providers: Mapping[str, ProviderProtocol],
        *,
        choice: Choice,
        cancellations: Cancellations,
        finish: Finish,
        facts: dict[str, str],
    ) -> None:
        """Nothing runs yet.

        Args:
            store: The user's `Store`.
            settings: What the environment and the caller said.
            providers: The user's own, by name.
            choice: Finds batches.
            cancellations: Which batches were cancelled.
            finish: Does what follows an end.
            facts: Where facts go when the store keeps none.
        """
        self._store = store
        self._settings = settings
        self._providers = providers
        self._choice = choice
        self._cancellations = cancellations
        self._finish = finish
        self._facts = facts
        self._own: set[Session] = set()
        self._stopping = False

    def stop(self) -> None:
        """Stops this pipeline's sessions gracefully. A signal handler may call it."""
        self._stopping = True
        for session in list(self._own):
            session.stop()

    async def work(
        self,
        phase: Phase,
        batch: Batch,
        plan: Plan,
        model_runs: Sequence[ModelRun],
        *,
        retry_failed: bool = False,
        on_progress: Callable[[Sequence[Mapping[str, Any]]], None] | None = None,
    ) -> Summary:
        """Works on model runs of a batch until nothing of them is open, or it is stopped.

        Raises:
            BatchLocked: Somebody else works on one of them.
            ConfigError: The batch was cancelled.
            OverheardError: What ended the session.
        """
        await self._cancellations.refuse(batch.batch_id, field="batch_id")
        if batch.config.get("imported") and phase != "extract":
            raise ConfigError(
                f"batch {batch.batch_id} was imported: nothing is asked for what was collected elsewhere",
                field="batch_id",
            )
        if not batch.config:
            batch = replace(batch, config=plan.to_config(), created_at_ms=batch.created_at_ms or now_ms())
        if not has_leases(self._store):
            refuse_locked(batch, model_runs)
        self._choice.say_what_changed(batch)
        labels = self._choice.labels(batch)
        holistic = await holistic_spent(self._store, batch.batch_id)
        begun, working = now_ms(), {run.run_id for run in model_runs}
        with _at_work(batch.batch_id, working):
            if phase != "extract":
                for run in model_runs:
                    log.info("Job request received for run_id=%s (%s)", run.run_id, labels[run.run_id])
            data = await self._driven(
                phase, batch, plan, model_runs, labels, on_progress, retry_failed=retry_failed, holistic=holistic
            )
        summary = Summary.from_dict(data, simulated=self._settings.simulated)
        ended = batch.finished_at_ms is not None
        after = await self._finished(batch, summary)
        status = BatchStatus.of(after, alive=is_at_work(batch.batch_id))
        summary = replace(summary, status=status.status)
        others = [run for run in after.model_runs if run.run_id not in working]
        shared = any(
            run.status == "running" or max(run.started_at_ms or 0, run.finished_at_ms or 0) >= begun for run in others
        )
        await self._note(summary, ended=ended, shared=shared)
        if phase == "extract":
            for run in (run for run in after.model_runs if run.run_id in working):
                await self._finish.model_run_ended(run, labels[run.run_id], scored=True)
        if phase != "execute":  # what is not extracted yet is no end to act on
            idle = ended and phase == "run" and summary.requests_made == 0
            made = await self._finish.look(after, status, announced=idle, sessions=self._own)
            summary = replace(summary, requests_made=summary.requests_made + made)
            summary = await self._with_analysis(summary, holistic)
            await self._note(summary, ended=ended, shared=shared)
        log.info("%s", summary.line())
        return summary

    async def _driven(
        self,
        phase: Phase,
        batch: Batch,
        plan: Plan,
        model_runs: Sequence[ModelRun],
        labels: Mapping[str, str],
        on_progress: Callable[[Sequence[Mapping[str, Any]]], None] | None,
        *,
        retry_failed: bool,
        holistic: tuple[int, int],
    ) -> Mapping[str, Any]:
        mine: list[Session] = []

        def started(session: Session) -> None:
            mine.append(session)
            self._own.add(session)
            _sessions[session] = batch.batch_id
            if self._stopping:
                session.stop()

        def cancelled() -> None:
            for session in mine:
                session.stop()

        endings = _Endings(self._finish, labels, scored=phase == "run")
        handlers = store_handlers(
            self._store,
            batch,
            self._facts,
            on_saved=(lambda _: None) if phase == "extract" else endings.saved,
            on_cancelled=cancelled,
        ) | provider_handlers(self._providers)
        try:
            with _owners.session() as owner:
                spec = run_spec(
                    plan,
                    batch,
                    model_runs,
                    phase=phase,
                    settings=self._settings.to_json_dict(journal=self.journal()),
                    custom=self._providers,
                    retry_failed=retry_failed,
                    owner=owner,
                    labels=labels,
                    holistic=holistic,
                )
                told = await _driver.drive("run", spec, handlers, on_progress=on_progress, on_session=started)
            await endings.said()
        finally:
            endings.cancel()
            self._own.difference_update(mine)
            for session in mine:
                _sessions.pop(session, None)
            if not self._own:
                self._stopping = False  # the stop was for what ran; a later start is a new one
        data: Mapping[str, Any] = json.loads(told) if isinstance(told, str) else dict(told)
        return data

    async def _finished(self, before: Batch, summary: Summary) -> Batch:
        """Ends the batch when every cell of every model run is terminal and nobody works on it, or it was cancelled."""
        found = await self._choice.loaded(before.batch_id)
        batch = before if found is None else found
        if batch.finished_at_ms is not None:
            return batch
        held = any(run.is_leased(now_ms()) for run in batch.model_runs)
        over = batch.all_terminal and not held and not summary.interrupted
        # The engine wrote the end as it was when it began: a batch that was cancelled meanwhile is ended once more.
        if over or await self._cancellations.is_cancelled(batch.batch_id):
            await retried(self._store.save_batch, replace(batch, finished_at_ms=now_ms(), model_runs=()))
        return batch

    async def _with_analysis(self, summary: Summary, before: tuple[int, int]) -> Summary:
        """The summary with what the holistic insights have cost since this start began."""
        cost, maybe = await holistic_spent(self._store, summary.batch_id)
        return replace(
            summary,
            total_cost_micro_usd=summary.total_cost_micro_usd + cost - before[0],
            maybe_charged_micro_usd=summary.maybe_charged_micro_usd + maybe - before[1],
        )

    async def _note(self, summary: Summary, *, ended: bool, shared: bool) -> None:
        """Keeps what the summary said, and when, so that `verify` can hold the rows against it.

        `shared`: other processes ran models of the batch meanwhile, whose rows this summary does not have.
        """
        if not has_facts(self._store):
            return
        name = f"summary:{summary.batch_id}"
        money = ("total_cost_micro_usd", "maybe_charged_micro_usd", "held_micro_usd", "unpriced")
        told = (*money, "processed", "evaluations", "status")
        said = json.dumps({entry: getattr(summary, entry) for entry in told} | ({"shared": True} if shared else {}))
        # What was said before is not said again: a start that had nothing to do leaves the store as it was.
        if not ended or await retried(self._store.load_fact, name) != said:
            await retried(self._store.save_fact, name, said)

    def journal(self) -> str:
        """The journal's folder of this store."""
        database = getattr(getattr(self._store, "state", self._store), "database", None)
        return journal_folder(getattr(database, "path", None), self._settings.journal)


class _Endings:
    """The model runs of a start that the store has taken as ended; says of each that it has, while others go on."""

    def __init__(self, finish: Finish, labels: Mapping[str, str], *, scored: bool) -> None:
        self._finish = finish
        self._labels = labels
        self._scored = scored
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def saved(self, model_runs: Sequence[ModelRun]) -> None:
        """Told by the thread of the store's function."""
        ended = [run for run in model_runs if run.status in ("completed", "failed") and run.lease_owner is None]
        if ended:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(self._begin, ended)

    def _begin(self, ended: Sequence[ModelRun]) -> None:
        for run in ended:
            if run.run_id not in self._tasks:
                said = self._finish.model_run_ended(run, self._labels[run.run_id], scored=self._scored)
                self._tasks[run.run_id] = self._loop.create_task(said)

    async def said(self) -> None:
        """Waits until everything is said."""
        await asyncio.gather(*self._tasks.values())

    def cancel(self) -> None:
        """Says no more."""
        for task in self._tasks.values():
            task.cancel()


@contextmanager
def _at_work(batch_id: str, run_ids: set[str]) -> Iterator[None]:
    if run_ids & _runs_at_work:
        raise BatchLocked(f"batch {batch_id} is locked: this process works on it already")
    _starts[batch_id] += 1
    _runs_at_work.update(run_ids)
    try:
        yield
    finally:
        _starts[batch_id] -= 1
        if not _starts[batch_id]:
            del _starts[batch_id]
        _runs_at_work.difference_update(run_ids)

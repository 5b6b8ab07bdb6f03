"""A batch, its model runs, and where it stands. Pure data: no store, no clock of its own, no engine.

The status table of the design is `BatchStatus.of`; nothing else decides what `complete`, `running` and `partial` mean.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from typing import Any, Literal

from overheard.errors import InternalError

ModelRunStatus = Literal["queued", "running", "completed", "failed"]

ALL_COMPLETE = "All models complete - insights reflect full cross-model analysis"
STILL_RUNNING = "Some models still running - insights may be partial"


def now_ms() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def instant(milliseconds: int | None) -> datetime | None:
    """An aware UTC time; None for None or 0."""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc) if milliseconds else None


@dataclass(frozen=True, kw_only=True)
class ModelRun:
    """One model's part of a batch: a row of `geo_runs`.

    Attributes:
        run_id: Unique.
        batch_id: The batch.
        batch_size: Number of model runs of the batch.
        org_id: The org.
        model: The model the user named.
        surface: `chatgpt`, `perplexity`, `gemini`, `openai`, `anthropic` or a custom name; empty: not known yet.
        status: `queued`, `running`, `completed` or `failed`; `running` is true only while the lease lives.
        query_count: Cells of this model run; 0: not planned yet.
        current_query_index: Terminal cells so far.
        progress_pct: 0-100.
        answered: Answered cells so far.
        failed: Failed cells so far.
        started_at_ms: Milliseconds since 1970 UTC; None before the start.
        finished_at_ms: Milliseconds since 1970 UTC; None until completed or failed.
        error_message: Why it failed or stopped; None: it did not.
        lease_owner: Who works on it; None: nobody.
        lease_expires_at_ms: Milliseconds since 1970 UTC; a `running` row past this time was interrupted.
        lease_fence: Fencing number: grows with every change of owner; 0: never leased.
        journal_id: Id of the journal folder that has the work in flight; None before the first start.
        journal_host: The host of that folder.
        overhead_micro_usd: Charges that belong to no cell (name variations, duplicate submissions), over all starts.
        overhead_maybe_charged_micro_usd: The same, for what may have been charged.
    """

    run_id: str
    batch_id: str
    batch_size: int
    org_id: str
    model: str
    surface: str = ""
    status: ModelRunStatus = "queued"
    query_count: int = 0
    current_query_index: int = 0
    progress_pct: float = 0.0
    answered: int = 0
    failed: int = 0
    started_at_ms: int | None = None
    finished_at_ms: int | None = None
    error_message: str | None = None
    lease_owner: str | None = None
    lease_expires_at_ms: int | None = None
    lease_fence: int = 0
    journal_id: str | None = None
    journal_host: str | None = None
    overhead_micro_usd: int = 0
    overhead_maybe_charged_micro_usd: int = 0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelRun:
        """From the fields the engine sends; a null takes the default."""
        return cls(**_known(cls, data))

    def to_dict(self) -> dict[str, Any]:
        """Every field, as the engine and the tables name it."""
        return asdict(self)

    def is_leased(self, now: int) -> bool:
        """Somebody holds its lease at `now` (milliseconds), whatever its status: it may have ended before its start."""
        return self.lease_owner is not None and (self.lease_expires_at_ms or 0) > now

    def settled(self, now: int) -> ModelRun:
        """The same run, back to `queued` when it is `running` and its lease has expired by `now` (milliseconds)."""
        if self.status == "running" and (self.lease_expires_at_ms is None or self.lease_expires_at_ms <= now):
            return replace(self, status="queued", lease_owner=None, lease_expires_at_ms=None)
        return self


@dataclass(frozen=True, kw_only=True)
class Lease:
    """What a store says about the lease of a model run.

    Attributes:
        granted: It is the asker's until `expires_at_ms`.
        fence: Fencing number: grows with every change of owner.
        owner: Who has it now; None: nobody.
        expires_at_ms: Milliseconds since 1970 UTC; None: nobody has it.
        journal_id: Id of the journal folder the model run was worked on with before; None: never.
        journal_host: The host of that folder; None: not known.
        last_alive_ms: The latest moment at which the owner before can have done anything, milliseconds since 1970 UTC;
            None: there was none.
    """

    granted: bool
    fence: int
    owner: str | None = None
    expires_at_ms: int | None = None
    journal_id: str | None = None
    journal_host: str | None = None
    last_alive_ms: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Every field, as the engine names it."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a store says about work that is done once for each revision of a batch's answers.

    Attributes:
        granted: The asker does the work, until `expires_at_ms`.
        revision: 1 for the first set of answers, one more for each later one.
        done: The work was done for this revision.
        taken_over: The owner before died at it; this is the second and last try.
        note: What the owner before noted with `renew_claim`; None: nothing.
        owner: Who has it now.
        expires_at_ms: Milliseconds since 1970 UTC.
    """

    granted: bool
    revision: int
    done: bool = False
    taken_over: bool = False
    note: str | None = None
    owner: str | None = None
    expires_at_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class BatchInsights:
    """A row of `geo_batch_insights`: the holistic insights of a batch for one revision of its answers.

    Attributes:
        batch_id: The batch.
        revision: The revision of its answers: `Claim.revision`.
        org_id: The org.
        model: The model that wrote them; None: rules did.
        prompt_version: Version of the prompt, or of the rules.
        content: Agreements, disagreements, actions, counts of what was dropped; as `Holistic.to_dict()` gives it.
        cost_micro_usd: What writing them was charged; None: unpriced.
        maybe_charged_micro_usd: What may have been charged beside it: a call whose reply was lost.
        created_at_ms: Milliseconds since 1970 UTC.
    """

    batch_id: str
    revision: int
    org_id: str
    model: str | None
    prompt_version: str
    content: Mapping[str, Any]
    cost_micro_usd: int | None = 0
    maybe_charged_micro_usd: int = 0
    created_at_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One trigger for one org.

    Attributes:
        batch_id: UUID.
        org_id: The org.
        batch_size: Number of model runs.
        batch_key: Get-or-create key; None: none was given.
        config: The plan as it was when the batch was made: `org`, `models`, `locations`, `questions`, `repeats`,
            `extraction`, `max_cost_micro_usd`, `settings`. Empty for a batch another system made.
        overhead_micro_usd: Charges that belong to no question run and stand in the batch's own row: of batches of
            version 0.1. Later ones keep them on their model runs; `all_overhead_micro_usd` sums both up.
        created_at_ms: Milliseconds since 1970 UTC.
        finished_at_ms: Milliseconds since 1970 UTC; None until every cell is terminal.
        model_runs: The model runs, as far as the store knows them.
    """

    batch_id: str
    org_id: str
    batch_size: int
    batch_key: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    overhead_micro_usd: int = 0
    created_at_ms: int = 0
    finished_at_ms: int | None = None
    model_runs: tuple[ModelRun, ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Batch:
        """From the fields the engine sends; a null takes the default."""
        return cls(**_known(cls, data))

    def to_dict(self) -> dict[str, Any]:
        """Every field, as the engine and the tables name it."""
        return asdict(self)

    @property
    def all_overhead_micro_usd(self) -> int:
        """Charges that belong to no question run (name variations), over all starts and model runs."""
        return self.overhead_micro_usd + sum(run.overhead_micro_usd for run in self.model_runs)

    @property
    def all_terminal(self) -> bool:
        """Every model run has ended with every cell terminal: what sets `finished_at_ms`."""
        ended = [run for run in self.model_runs if run.status in ("completed", "failed")]
        return len(ended) >= self.batch_size > 0 and all(run.current_query_index >= run.query_count for run in ended)


@dataclass(frozen=True, kw_only=True)
class BatchStatus:
    """Where a batch stands.

    Attributes:
        batch_id: The batch.
        batch_size: Number of model runs.
        completed: Model runs completed.
        failed: Model runs failed.
        running: Model runs a process works on.
        queued: Model runs not started, or interrupted.
        status: `complete`, `running` or `partial`.
        message: One sentence for a person, with how to resume when there is something to resume.
        finished: Nothing alive and nothing queued. A model run that has ended is alive while its lease is held.
        models: One mapping a model run: model, surface, status, answered, failed, total.
    """

    batch_id: str
    batch_size: int
    completed: int
    failed: int
    running: int
    queued: int
    status: Literal["complete", "running", "partial"]
    message: str
    finished: bool
    models: tuple[Mapping[str, Any], ...]

    @property
    def complete(self) -> bool:
        """True when every model run completed."""
        return self.status == "complete"

    @classmethod
    def of(cls, batch: Batch, *, alive: bool = False, now: int | None = None) -> BatchStatus:
        """The status of a batch.

        Args:
            batch: With its model runs.
            alive: A process is at work on the batch, so what is queued will be started.
            now: Milliseconds since 1970 UTC; None: the time of day.
        """
        moment = now_ms() if now is None else now
        runs = [run.settled(moment) for run in batch.model_runs]
        counts = {
            word: sum(run.status == word for run in runs) for word in ("completed", "failed", "running", "queued")
        }
        # A row that another system has not inserted yet is queued too.
        counts["queued"] += max(0, batch.batch_size - len(runs))
        size = max(batch.batch_size, len(runs))
        alive = alive or any(run.is_leased(moment) for run in runs)
        working = counts["running"] > 0 or (alive and counts["queued"] > 0)
        status: Literal["complete", "running", "partial"]
        if size and counts["completed"] == size:
            status, message = "complete", ALL_COMPLETE
        elif working:
            status, message = ("partial" if counts["completed"] else "running"), STILL_RUNNING
        else:
            status, message = "partial", _partial_message(batch, runs, counts["queued"])
        return cls(
            batch_id=batch.batch_id,
            batch_size=size,
            status=status,
            message=message,
            finished=not working and not alive and counts["queued"] == 0,
            models=tuple(_model_line(run) for run in runs),
            **counts,
        )

    def to_dict(self) -> dict[str, Any]:
        """As the insights response carries it."""
        return {
            "batchId": self.batch_id,
            "batchSize": self.batch_size,
            "complete": self.complete,
            "finished": self.finished,
            "status": self.status,
            "message": self.message,
            "completed": self.completed,
            "failed": self.failed,
            "running": self.running,
            "queued": self.queued,
            "models": [dict(model) for model in self.models],
        }


def _model_line(run: ModelRun) -> dict[str, Any]:
    return {
        "model": run.model,
        "surface": run.surface,
        "status": run.status,
        "answered": run.answered,
        "failed": run.failed,
        "total": run.query_count,
    }


def _partial_message(batch: Batch, runs: Iterable[ModelRun], queued: int) -> str:
    parts = []
    if failed := [run.model for run in runs if run.status == "failed"]:
        parts.append(f"failed: {', '.join(failed)}")
    if queued:
        waiting = [run.model for run in runs if run.status == "queued"]
        parts.append(f"interrupted or not started: {', '.join(waiting) or queued}")
    return f"{'; '.join(parts) or 'no model run yet'} - resume with: overheard resume {batch.batch_id}"


def _known(cls: type, data: Mapping[str, Any]) -> dict[str, Any]:
    names = {entry.name for entry in fields(cls)}
    if unknown := set(data) - names:
        raise InternalError(f"{cls.__name__} from the engine has unknown fields: {', '.join(sorted(unknown))}")
    return {name: value for name, value in data.items() if value is not None}

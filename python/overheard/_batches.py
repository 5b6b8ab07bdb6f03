"""A new batch; whether somebody else works on one; whether one was cancelled. Runs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_OID, uuid4, uuid5

from overheard import _owners
from overheard._handlers import cancelled_fact, has_facts
from overheard._plan import Plan
from overheard._retry import retried
from overheard.batch import Batch, ModelRun, now_ms
from overheard.errors import BatchLocked, ConfigError


def new_batch(plan: Plan, batch_key: str | None, surfaces: Mapping[str, str], *, batch_id: str | None = None) -> Batch:
    """A batch of one queued model run per model, not stored yet.

    Args:
        plan: Its plan.
        batch_key: Its key; None: none.
        surfaces: Model to surface, as far as known.
        batch_id: Its id; None: a new one. The ids of the model runs follow from it, so that two starts that both see a
            batch without model runs make the same ones, and one lease each.
    """
    batch_id = batch_id or str(uuid4())
    size = len(plan.models)
    model_runs = tuple(
        ModelRun(
            run_id=str(uuid5(NAMESPACE_OID, f"{batch_id} {model}")),
            batch_id=batch_id,
            batch_size=size,
            org_id=plan.org.id,
            model=model,
            surface=surfaces.get(model, ""),
            query_count=plan.cells // size,
        )
        for model in plan.models
    )
    return Batch(
        batch_id=batch_id,
        org_id=plan.org.id,
        batch_size=size,
        batch_key=batch_key,
        config=plan.to_config(),
        created_at_ms=now_ms(),
        model_runs=model_runs,
    )


def refuse_locked(batch: Batch, model_runs: Sequence[ModelRun]) -> None:
    """Two processes on one model run would buy the same answers twice. For a store that keeps no leases of its own.

    Args:
        batch: The batch.
        model_runs: The model runs that are to be worked on.

    Raises:
        BatchLocked: Somebody who may be alive works on one.
    """
    for run in model_runs:
        if _owners.settled(run).status == "running" and run.lease_owner is not None:
            who = _owners.describe(run.lease_owner)
            raise BatchLocked(f"batch {batch.batch_id} is locked: {who} works on {run.model}", model=run.model)


class Cancellations:
    """Which batches were cancelled: a fact of the store, so that every process sees it."""

    def __init__(self, store: Any, facts: dict[str, str]) -> None:
        """Reads nothing yet.

        Args:
            store: The user's `Store`.
            facts: Where facts go when the store keeps none; then only this pipeline knows.
        """
        self.store = store
        self.facts = facts

    async def is_cancelled(self, batch_id: str) -> bool:
        """True from `cancel` until `resume`."""
        name = cancelled_fact(batch_id)
        value = await retried(self.store.load_fact, name) if has_facts(self.store) else self.facts.get(name)
        return bool(value)

    async def refuse(self, batch_id: str, *, field: str) -> None:
        """No start continues what was cancelled.

        Raises:
            ConfigError: The batch was cancelled; says how to go on.
        """
        if await self.is_cancelled(batch_id):
            raise ConfigError(
                f"batch {batch_id} was cancelled: go on with it (overheard resume {batch_id}), or make a new one "
                "(--new)",
                field=field,
            )

    async def note(self, batch_id: str, *, cancelled: bool) -> None:
        """Notes that it is cancelled, or not any more."""
        name, value = cancelled_fact(batch_id), str(now_ms()) if cancelled else ""
        if has_facts(self.store):
            await retried(self.store.save_fact, name, value)
        else:
            self.facts[name] = value

"""A new batch, and whether somebody else works on one. Pure but for a look at the host's processes; stores nothing."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from uuid import uuid4

from overheard._plan import Plan
from overheard.batch import Batch, ModelRun, now_ms
from overheard.errors import StoreError


def new_batch(plan: Plan, batch_key: str | None, surfaces: Mapping[str, str]) -> Batch:
    """A batch of one queued model run per model, not stored yet.

    Args:
        plan: Its plan.
        batch_key: Its key; None: none.
        surfaces: Model to surface, as far as known.
    """
    batch_id = str(uuid4())
    size = len(plan.models)
    model_runs = tuple(
        ModelRun(
            run_id=str(uuid4()),
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


def refuse_locked(batch: Batch, model_runs: Sequence[ModelRun], at_work: Collection[str]) -> None:
    """Two processes on one model run would buy the same answers twice.

    Args:
        batch: The batch.
        model_runs: The model runs that are to be worked on.
        at_work: The ids of the batches this process works on.

    Raises:
        StoreError: A process that is alive holds the lease of one.
    """
    now = now_ms()
    for run in model_runs:
        if run.settled(now).status != "running" or run.lease_owner is None:
            continue
        process, _, _ = run.lease_owner.partition(":")
        ours = process == str(os.getpid())
        if (ours and batch.batch_id in at_work) or (not ours and _is_alive(process)):
            raise StoreError(f"batch {batch.batch_id} is locked: process {process} works on {run.model}")


def _is_alive(process: str) -> bool:
    if not process.isdigit():
        return True  # not a process of this host that could be looked at: believe the lease
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True

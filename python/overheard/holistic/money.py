"""What holistic insights cost, and where they are kept: the store's table, else a fact, else nowhere.

A row tells the charge of its own revision; in its content stands what the revisions before it cost, so that the newest
row tells all of it, whatever store keeps it. Spends nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from overheard._handlers import call
from overheard.batch import Batch, BatchInsights, Claim

log = logging.getLogger("overheard")

EARLIER = "earlierMicroUsd"
"""Key of a row's content: `{"cost": …, "maybeCharged": …}` of the revisions before it, micro-dollars."""

_PAGE = 500


async def load(store: Any, batch_id: str) -> BatchInsights | None:
    """The newest revision of a batch's holistic insights; None: there is none, or the store keeps none."""
    if callable(getattr(store, "load_insights", None)):
        found: BatchInsights | None = await call(store.load_insights, batch_id)
        return found
    if not callable(getattr(store, "load_fact", None)):
        return None
    text = await call(store.load_fact, _fact(batch_id))
    try:
        return None if text is None else BatchInsights(**json.loads(text))
    except (TypeError, ValueError):
        log.warning("Batch %s: the fact %s is no holistic insights of ours and is not used", batch_id, _fact(batch_id))
        return None


async def save(store: Any, insights: BatchInsights) -> bool:
    """Upserts by batch and revision; False: this store keeps neither holistic insights nor facts."""
    if callable(getattr(store, "save_insights", None)):
        await call(store.save_insights, insights)
    elif callable(getattr(store, "save_fact", None)):
        # A fact keeps the newest revision only.
        await call(store.save_fact, _fact(insights.batch_id), json.dumps(asdict(insights)))
    else:
        return False
    return True


async def holistic_spent(store: Any, batch_id: str) -> tuple[int, int]:
    """What the holistic insights of a batch were charged, and may have been charged, over all revisions.

    Returns:
        Two amounts in micro-dollars; both 0 when there are none. An unpriced charge counts as 0.
    """
    newest = await load(store, batch_id)
    return (0, 0) if newest is None else spent_of(newest)


def spent_of(row: BatchInsights) -> tuple[int, int]:
    """The same, of a row that is known: its own charge and that of the revisions before it."""
    earlier = row.content.get(EARLIER) if isinstance(row.content, Mapping) else None
    cost, maybe = (_amount(earlier, name) for name in ("cost", "maybeCharged"))
    return cost + max(0, row.cost_micro_usd or 0), maybe + max(0, row.maybe_charged_micro_usd)


def noted(claim: Claim) -> int:
    """What an owner of the claim that died may have been charged, micro-dollars: its note, read with care."""
    try:
        note = json.loads(claim.note or "null")
    except (ValueError, RecursionError):
        return 0
    return _amount(note, "maybe_charged_micro_usd")


def note_of(micro_usd: int) -> str:
    """The note of a claim whose owner may be charged this much."""
    return json.dumps({"maybe_charged_micro_usd": micro_usd})


async def batch_spent(store: Any, batch: Batch) -> int:
    """What a batch was, or may have been, charged so far without its holistic insights, micro-dollars."""
    runs = batch.model_runs
    total = batch.all_overhead_micro_usd + sum(run.overhead_maybe_charged_micro_usd for run in runs)
    after: str | None = None
    while True:
        page = await call(store.existing_keys, batch.batch_id, after, _PAGE)
        for entry in page:
            total += _field(entry, "cost_micro_usd") + _field(entry, "maybe_charged_micro_usd")
        if len(page) < _PAGE:
            return total
        last = page[-1]
        after = last["key"] if isinstance(last, Mapping) else last.key


def _field(entry: Any, name: str) -> int:
    value = entry.get(name) if isinstance(entry, Mapping) else getattr(entry, name, 0)
    return int(value or 0)


def _amount(mapping: Any, name: str) -> int:
    value = mapping.get(name) if isinstance(mapping, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _fact(batch_id: str) -> str:
    return f"insights:{batch_id}"

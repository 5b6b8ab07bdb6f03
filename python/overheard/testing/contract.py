"""The suite that every `Store` must pass, one test a clause of `protocols.Store`, `LeaseStore`, `ClaimStore`.

In a test module of yours:

    TestMyStore = store_contract(MyStore)                 # a function or class that gives an empty store, or
    TestMyStore = store_contract(make, reopen=again)      # the same persistence opened anew, for clause 3

Ours passes it first. Needs pytest to run as a suite; `check_store` runs all clauses without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from overheard._core import ExistingKey, QuestionRun
from overheard._handlers import call
from overheard.batch import Batch, ModelRun
from overheard.testing import _claims, _insights, _leases, _replay
from overheard.testing.records import make_batch, make_extraction, make_model_run, make_question_run

Clause = Callable[["_Bench"], Awaitable[None]]


class _Bench:
    """A store under test, and what a clause wants to see of it."""

    def __init__(self, store: Any, reopen: Callable[[Any], Any] | None) -> None:
        self.store = store
        self.reopen = reopen

    async def __call__(self, method: str, *args: Any, **keywords: Any) -> Any:
        return await call(getattr(self.store, method), *args, **keywords)

    async def begun(self, models: int = 1, **fields: Any) -> tuple[Batch, list[ModelRun]]:
        batch = make_batch(batch_size=models, **fields)
        model_runs = [make_model_run(batch, f"model-{number}") for number in range(models)]
        await self("save_batch", batch)
        await self("save_model_runs", model_runs)
        return batch, model_runs

    async def keys(self, batch: Batch, after: str | None = None, limit: int = 1000) -> list[ExistingKey]:
        page = await self("existing_keys", batch.batch_id, after, limit)
        return [entry if isinstance(entry, ExistingKey) else ExistingKey(**entry) for entry in page]

    async def close(self) -> None:
        await _close(self.store)

    async def runs(self, batch: Batch, after: str | None = None, limit: int = 1000) -> list[QuestionRun]:
        page = await self("question_runs", batch.batch_id, after, limit)
        return [entry if isinstance(entry, QuestionRun) else QuestionRun.from_dict(entry) for entry in page]


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


async def upserts_are_idempotent(bench: _Bench) -> None:
    """1. The same call twice leaves what one call leaves."""
    batch, model_runs = await bench.begun()
    run = make_question_run(model_runs[0])
    extraction = make_extraction(run)
    for _ in range(2):
        await bench("save_batch", batch)
        await bench("save_model_runs", model_runs)
        await bench("save_question_runs", [run])
    for _ in range(2):
        await bench("save_extractions", [extraction])
    (key,) = await bench.keys(batch)
    _require((key.cost_micro_usd, key.citations, key.competitors) == (1_570, 1, 2), f"saved twice, counted as {key!r}")
    loaded = await bench("load_batch", batch.batch_id)
    _require(len(loaded.model_runs) == 1, "a model run saved twice is one model run")


async def a_call_is_a_transaction(bench: _Bench) -> None:
    """2. When a call raises, nothing of it is kept."""
    batch, model_runs = await bench.begun()
    try:
        await bench("save_question_runs", [make_question_run(model_runs[0]), object()])
    except Exception:
        _require(await bench.keys(batch) == [], "a call that raised kept a row")
    else:
        raise AssertionError("an object that is no question run was taken")


async def what_returned_is_durable(bench: _Bench) -> None:
    """3. What a call returned from has written is there when the persistence is opened anew."""
    batch, model_runs = await bench.begun()
    await bench("save_question_runs", [make_question_run(model_runs[0])])
    if bench.reopen is not None:
        reopened = _Bench(bench.reopen(bench.store), None)
        try:
            _require(len(await reopened.keys(batch)) == 1, "the question run is not there when opened anew")
            _require(await reopened("load_batch", batch.batch_id) is not None, "the batch is not there")
        finally:
            await _close(reopened.store)


async def batches_are_found(bench: _Bench) -> None:
    """4. By id; by org and key; by org alone the newest unfinished one; else None."""
    old, _ = await bench.begun(batch_key="monday", created_at_ms=1_000, config={"repeats": 3}, overhead_micro_usd=9)
    new, model_runs = await bench.begun(2, batch_key="tuesday", created_at_ms=2_000)
    await bench.begun(org_id="other", batch_key="monday", created_at_ms=3_000)
    found = await bench("load_batch", old.batch_id)
    _require(replace(found, model_runs=()) == old, f"saved {old}, loaded {found}")
    found = await bench("load_batch", org_id="acme", batch_key="monday")
    _require(found.batch_id == old.batch_id, "by org and key")
    found = await bench("load_batch", org_id="acme")
    _require(found.batch_id == new.batch_id, "by org alone: the newest unfinished")
    _require({run.run_id for run in found.model_runs} == {run.run_id for run in model_runs}, "with its model runs")
    await bench("save_batch", replace(new, finished_at_ms=4_000))
    found = await bench("load_batch", org_id="acme")
    _require(found.batch_id == old.batch_id, "a finished batch is not found by org alone")
    for keywords in ({"org_id": "acme", "batch_key": "friday"}, {"org_id": "nobody"}, {"batch_id": "nothing"}):
        _require(await bench("load_batch", **keywords) is None, f"{keywords} must find nothing")


async def pages_are_ordered(bench: _Bench) -> None:
    """5. Ordered by cell key, starting after `after`, shorter than `limit` only at the end."""
    batch, model_runs = await bench.begun()
    ids = ["b", "a", "Z", "é", "a|b", "10", "9", "~"]
    await bench("save_question_runs", [make_question_run(model_runs[0], question_id) for question_id in ids])
    expected = sorted((make_question_run(model_runs[0], question_id).key for question_id in ids), key=str.encode)
    for method in (bench.keys, bench.runs):
        seen: list[str] = []
        while True:
            page = await method(batch, seen[-1] if seen else None, 3)
            seen += [entry.key for entry in page]
            if len(page) < 3:
                break
        _require(seen == expected, f"{method.__name__}: {seen} is not {expected}")


async def keys_tell_status_and_charges(bench: _Bench) -> None:
    """6. `existing_keys` tells status, extraction, charges and row counts, the extraction's included."""
    batch, model_runs = await bench.begun()
    error = {"kind": "record", "message": "auth wall"}
    runs = [
        make_question_run(model_runs[0], "a", maybe_charged_micro_usd=7),
        make_question_run(model_runs[0], "b", status="failed", text=None, cost_micro_usd=None, error=error),
        make_question_run(model_runs[0], "c", status="refused"),
    ]
    await bench("save_question_runs", runs)
    await bench("save_extractions", [make_extraction(runs[0], maybe_charged_micro_usd=5)])
    first, second, third = await bench.keys(batch)
    _require((first.status, first.extracted, first.cost_micro_usd) == ("answered", True, 1_570), f"{first!r}")
    _require((first.maybe_charged_micro_usd, first.citations, first.competitors) == (12, 1, 2), f"{first!r}")
    _require((second.status, second.error_kind, second.cost_micro_usd) == ("failed", "record", 0), f"{second!r}")
    _require((third.status, third.extracted, third.error_kind) == ("refused", False, None), f"{third!r}")


async def runs_come_back_as_saved(bench: _Bench) -> None:
    """7. `question_runs` gives answered runs without an extraction, as they were saved but for the raw body."""
    batch, model_runs = await bench.begun()
    runs = [make_question_run(model_runs[0], name, search_queries=["acme"], served_model="m") for name in "ab"]
    refused = make_question_run(model_runs[0], "c", status="refused")
    await bench("save_question_runs", [*runs, refused])
    await bench("save_extractions", [make_extraction(runs[0])])
    (loaded,) = await bench.runs(batch)
    saved, back = runs[1].to_dict(), loaded.to_dict()
    for plain in (saved, back):
        plain["outcome"].pop("raw", None)
    _require(saved == back, f"saved {saved}, loaded {back}")


async def extractions_replace(bench: _Bench) -> None:
    """8. A later extraction of the same run replaces all rows of the earlier one."""
    batch, model_runs = await bench.begun()
    run = make_question_run(model_runs[0])
    await bench("save_question_runs", [run])
    await bench("save_extractions", [make_extraction(run)])
    await bench("save_extractions", [make_extraction(run, competitors=[], cost_micro_usd=None)])
    (key,) = await bench.keys(batch)
    _require((key.extracted, key.citations, key.competitors, key.cost_micro_usd) == (True, 1, 0, 1_500), f"{key!r}")


async def failed_extractions_write_no_rows(bench: _Bench) -> None:
    """9. An extraction with an error keeps its charge; the run still counts as not extracted."""
    batch, model_runs = await bench.begun()
    run = make_question_run(model_runs[0])
    await bench("save_question_runs", [run])
    await bench("save_extractions", [make_extraction(run, error={"kind": "semantic", "message": "broken JSON"})])
    (key,) = await bench.keys(batch)
    _require((key.extracted, key.citations, key.competitors, key.cost_micro_usd) == (False, 0, 0, 1_570), f"{key!r}")
    _require([entry.key for entry in await bench.runs(batch)] == [run.key], "it is still to be extracted")


async def a_new_run_removes_its_extraction(bench: _Bench) -> None:
    """10. A question run saved again replaces the earlier one and removes its extraction."""
    batch, model_runs = await bench.begun()
    run = make_question_run(model_runs[0])
    await bench("save_question_runs", [run])
    await bench("save_extractions", [make_extraction(run)])
    await bench("save_question_runs", [make_question_run(model_runs[0], text="Another answer.", cost_micro_usd=9)])
    (key,) = await bench.keys(batch)
    _require((key.extracted, key.citations, key.competitors, key.cost_micro_usd) == (False, 0, 0, 9), f"{key!r}")
    (loaded,) = await bench.runs(batch)
    _require(loaded.text == "Another answer.", f"{loaded!r}")


async def unknown_batches_are_empty(bench: _Bench) -> None:
    """11. An unknown batch has no keys and no question runs."""
    batch = make_batch()
    _require(await bench.keys(batch) == [] and await bench.runs(batch) == [], "an unknown batch is not empty")


CLAUSES: tuple[Clause, ...] = (
    upserts_are_idempotent,
    a_call_is_a_transaction,
    what_returned_is_durable,
    batches_are_found,
    pages_are_ordered,
    keys_tell_status_and_charges,
    runs_come_back_as_saved,
    extractions_replace,
    failed_extractions_write_no_rows,
    a_new_run_removes_its_extraction,
    unknown_batches_are_empty,
    *_leases.CLAUSES,
    *_claims.CLAUSES,
    *_insights.CLAUSES,
    *_replay.CLAUSES,
)
"""The clauses, in their order."""


def check_store(make: Callable[[], Any], *, reopen: Callable[[Any], Any] | None = None) -> None:
    """Runs every clause, each on a store of its own.

    Raises:
        AssertionError: Names what does not hold.
    """
    for clause in CLAUSES:
        _run(clause, make, reopen)


def store_contract(make: Callable[[], Any], *, reopen: Callable[[Any], Any] | None = None) -> type:
    """A pytest class with one test a clause.

    Args:
        make: Gives an empty store.
        reopen: Given the store, gives another object over the same persistence; None: clause 3 sees one object only,
            and clause 16 is not tested.
    """
    tests = {
        f"test_{number:02}_{clause.__name__}": _test(clause, make, reopen) for number, clause in enumerate(CLAUSES, 1)
    }
    return type("TestStoreContract", (), {"__doc__": "One test a clause of the store's contract.", **tests})


def _test(clause: Clause, make: Callable[[], Any], reopen: Callable[[Any], Any] | None) -> Callable[[Any], None]:
    def test(_self: Any) -> None:
        _run(clause, make, reopen)

    test.__doc__ = clause.__doc__
    return test


def _run(clause: Clause, make: Callable[[], Any], reopen: Callable[[Any], Any] | None) -> None:
    async def run() -> None:
        store = make()
        try:
            await clause(_Bench(store, reopen))
        finally:
            await _close(store)

    asyncio.run(run())


async def _close(store: Any) -> None:
    close = getattr(store, "aclose", None) or getattr(store, "close", None)
    if close is not None:
        await call(close)

"""The clauses of `overheard.protocols.LeaseStore`, for `contract.py`. A store without these methods passes them by.

Two owners ask one store object here, because a user's store may have no second one over the same persistence; with
`reopen` the loser's object is another than the winner's, as in two processes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from overheard._handlers import has_leases
from overheard.batch import Lease, now_ms
from overheard.errors import LeaseLost
from overheard.testing.records import make_extraction, make_question_run

if TYPE_CHECKING:
    from overheard.testing.contract import _Bench

LONG = 60_000
"""Milliseconds that no test takes."""
OVER = 0
"""A life that has ended when it begins: nothing has to wait for the clock."""


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def _with_leases(clause: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    async def guarded(bench: _Bench) -> None:
        if has_leases(bench.store):
            await clause(bench)

    guarded.__name__, guarded.__doc__ = clause.__name__, clause.__doc__
    return guarded


async def _asked(bench: _Bench, run_id: str, owner: str, ttl_ms: int = LONG) -> Lease:
    lease: Lease = await bench("acquire_lease", run_id, owner, ttl_ms)
    return lease


@_with_leases
async def a_lease_is_granted_with_a_growing_fence(bench: _Bench) -> None:
    """12. What is free or has expired is granted; the fence grows with each owner and stays with the same one."""
    _, (run,) = await bench.begun()
    first = await _asked(bench, run.run_id, "one")
    again = await _asked(bench, run.run_id, "one", OVER)
    _require(first.granted and first.fence > 0, f"a model run that nobody has was not granted: {first}")
    _require(again.granted and again.fence == first.fence, f"the same owner asked again: {again}")
    second = await _asked(bench, run.run_id, "two")
    _require(second.granted and second.fence > first.fence, f"an expired lease was not granted anew: {second}")


@_with_leases
async def a_held_lease_is_refused_with_its_owner(bench: _Bench) -> None:
    """13. What is held is not granted to another, who is told owner, fence and end."""
    _, (run, other) = await bench.begun(2)
    before = now_ms()
    first = await _asked(bench, run.run_id, "one")
    refused = await _asked(bench, run.run_id, "two")
    _require(not refused.granted, "two owners have one model run")
    _require((refused.owner, refused.fence) == ("one", first.fence), f"{refused}")
    _require((refused.expires_at_ms or 0) >= before + LONG, f"the end of the lease is not told: {refused}")
    _require((await _asked(bench, other.run_id, "two")).granted, "another model run of the batch is free")


@_with_leases
async def a_lease_is_renewed_until_another_has_it(bench: _Bench) -> None:
    """14. Renewal moves the end, also of one that has ended; it is False once another owner has it."""
    _, (run,) = await bench.begun()
    lease = await _asked(bench, run.run_id, "one", OVER)
    _require(await bench("renew_lease", run.run_id, "one", lease.fence, LONG) is True, "nobody has taken it over")
    _require(not (await _asked(bench, run.run_id, "two")).granted, "a renewed lease was granted to another")
    await bench("renew_lease", run.run_id, "one", lease.fence, OVER)
    await _asked(bench, run.run_id, "two", OVER)
    _require(await bench("renew_lease", run.run_id, "one", lease.fence, LONG) is False, "a lost lease was renewed")


@_with_leases
async def a_released_lease_is_free_at_once(bench: _Bench) -> None:
    """15. Release frees it, for nobody but its owner with its fence."""
    _, (run,) = await bench.begun()
    lease = await _asked(bench, run.run_id, "one")
    await bench("release_lease", run.run_id, "two", lease.fence)
    await bench("release_lease", run.run_id, "one", lease.fence + 1)
    _require(not (await _asked(bench, run.run_id, "two")).granted, "another released it")
    await bench("release_lease", run.run_id, "one", lease.fence)
    await bench("release_lease", run.run_id, "one", lease.fence)
    taken = await _asked(bench, run.run_id, "two")
    _require(taken.granted and taken.fence > lease.fence, f"a released lease was not granted anew: {taken}")


@_with_leases
async def what_a_former_owner_writes_is_refused(bench: _Bench) -> None:
    """16. The loser's question runs, extractions and model runs raise `LeaseLost`, and nothing of them is kept."""
    if bench.reopen is None:
        return  # one object knows one owner a model run: the loser needs another
    batch, (run,) = await bench.begun()
    answer = make_question_run(run)
    await _asked(bench, run.run_id, "one", OVER)
    await bench("save_question_runs", [answer])
    winner = type(bench)(bench.reopen(bench.store), None)
    try:
        await _asked(winner, run.run_id, "two")
        writes: tuple[tuple[str, Any], ...] = (
            ("save_question_runs", make_question_run(run, "q2")),
            ("save_extractions", make_extraction(answer)),
            ("save_model_runs", replace(run, status="failed")),
        )
        for method, row in writes:
            try:
                await bench(method, [row])
            except LeaseLost:
                continue
            raise AssertionError(f"{method} took what a former owner writes")
        keys = [(key.key, key.extracted) for key in await winner.keys(batch)]
        _require(keys == [(answer.key, False)], f"something of it was kept: {keys}")
        await winner("save_extractions", [make_extraction(answer)])
        loaded = await winner("load_batch", batch.batch_id)
        _require(loaded.model_runs[0].status == "queued", "the status is the former owner's")
    finally:
        await winner.close()


@_with_leases
async def the_next_owner_is_told_of_the_journal(bench: _Bench) -> None:
    """17. `journal_id`, `journal_host` and the last moment of the owner before come with the lease."""
    _, (run,) = await bench.begun()
    first = await _asked(bench, run.run_id, "one")
    _require((first.journal_id, first.last_alive_ms) == (None, None), f"nobody was here before: {first}")
    await bench("save_model_runs", [replace(run, journal_id="j", journal_host="h", lease_fence=first.fence)])
    await bench("release_lease", run.run_id, "one", first.fence)
    second = await _asked(bench, run.run_id, "two")
    _require((second.journal_id, second.journal_host) == ("j", "h"), f"{second}")
    _require(0 < (second.last_alive_ms or 0) <= now_ms(), f"{second}")


@_with_leases
async def rows_of_the_holder_leave_the_lease(bench: _Bench) -> None:
    """18. `save_model_runs` of who holds the lease leaves owner, end and fence alone."""
    _, (run,) = await bench.begun()
    lease = await _asked(bench, run.run_id, "one")
    ended = replace(run, status="completed", lease_owner=None, lease_expires_at_ms=None, lease_fence=0)
    await bench("save_model_runs", [ended])
    _require(not (await _asked(bench, run.run_id, "two")).granted, "the row took the lease away from its owner")
    _require(await bench("renew_lease", run.run_id, "one", lease.fence, LONG) is True, "the row changed the fence")


CLAUSES: tuple[Callable[[Any], Awaitable[None]], ...] = (
    a_lease_is_granted_with_a_growing_fence,
    a_held_lease_is_refused_with_its_owner,
    a_lease_is_renewed_until_another_has_it,
    a_released_lease_is_free_at_once,
    what_a_former_owner_writes_is_refused,
    the_next_owner_is_told_of_the_journal,
    rows_of_the_holder_leave_the_lease,
)
"""Clauses 12 to 18."""

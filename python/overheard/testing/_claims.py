"""The clauses of `overheard.protocols.ClaimStore`, for `contract.py`. A store without these methods passes them by.

Owners are plain words, of which nobody can see that they are dead: a claim's time must be over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from overheard._handlers import has_claims
from overheard.batch import Claim

if TYPE_CHECKING:
    from overheard.testing.contract import _Bench

LONG = 60_000
"""Milliseconds that no test takes."""
OVER = 0
"""A life that has ended when it begins: nothing has to wait for the clock."""
NAME = "finished:b"


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def _with_claims(clause: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    async def guarded(bench: _Bench) -> None:
        if has_claims(bench.store):
            await clause(bench)

    guarded.__name__, guarded.__doc__ = clause.__name__, clause.__doc__
    return guarded


async def _asked(bench: _Bench, mark: str, owner: str, ttl_ms: int = LONG, name: str = NAME) -> Claim:
    claim: Claim = await bench("claim_once", name, mark, owner, ttl_ms)
    return claim


@_with_claims
async def one_of_many_is_granted_the_claim(bench: _Bench) -> None:
    """19. Of all who ask at the same time one is granted it; the revision is 1, and one more for each new mark."""
    for revision, mark in enumerate(("first", "second", "third"), 1):
        told = await asyncio.gather(*(_asked(bench, mark, f"{mark} {number}") for number in range(8)))
        granted = [claim for claim in told if claim.granted]
        _require(len(granted) == 1, f"{len(granted)} of 8 were granted the claim")
        _require({claim.revision for claim in told} == {revision}, f"revision {revision}, told {told}")
        _require(not granted[0].taken_over, "the first owner took nothing over")
        _require({claim.owner for claim in told} == {granted[0].owner}, "the others are told who has it")
    _require((await _asked(bench, "first", "a", name="holistic:b")).revision == 1, "each name has its own revisions")


@_with_claims
async def a_claim_that_is_done_is_done(bench: _Bench) -> None:
    """20. A claim that is done is granted to nobody again under its mark, and says so; also after a later one."""
    claim = await _asked(bench, "m", "one", OVER)
    _require(await bench("finish_claim", NAME, claim.revision, "one") is True, "its owner could not finish it")
    _require((await _asked(bench, "later", "one")).revision == 2, "another mark is the next revision")
    for owner in ("one", "two"):
        again = await _asked(bench, "m", owner)
        told = (again.granted, again.done, again.revision)
        _require(told == (False, True, 1), f"granted, done, revision: {told}")


@_with_claims
async def a_claim_is_taken_over_once(bench: _Bench) -> None:
    """21. One whose time is over is granted once more with its note, under its revision; never a third time."""
    first = await _asked(bench, "m", "one")
    _require(await bench("renew_claim", NAME, 1, "one", OVER, '{"maybe": 7}') is True, "its owner could not renew it")
    second = await _asked(bench, "m", "two", OVER)
    told = (second.granted, second.taken_over, second.revision, second.note)
    _require(told == (True, True, first.revision, '{"maybe": 7}'), f"granted, taken over, revision, note: {told}")
    third = await _asked(bench, "m", "three")
    _require((third.granted, third.done) == (False, False), f"a third owner: {third}")
    _require((await _asked(bench, "m", "two")).granted, "whoever has it may ask again: the answer may have been lost")


@_with_claims
async def a_former_owner_has_lost_the_claim(bench: _Bench) -> None:
    """22. `renew_claim` and `finish_claim` are False once another owner has it, and leave it alone."""
    await _asked(bench, "m", "one", OVER)
    _require(await bench("renew_claim", NAME, 1, "one", OVER) is True, "nobody took it yet: it is still its owner's")
    await _asked(bench, "m", "two")
    _require(await bench("renew_claim", NAME, 1, "one", LONG, "late") is False, "a former owner renewed it")
    _require(await bench("finish_claim", NAME, 1, "one") is False, "a former owner finished it")
    _require(not (await _asked(bench, "m", "three")).done, "it is not done")
    _require(await bench("finish_claim", NAME, 1, "two") is True, "its owner could not finish it")
    _require(await bench("finish_claim", NAME, 1, "two") is True, "the same call twice says the same")
    _require((await _asked(bench, "m", "three")).note is None, "the former owner's note was kept")


CLAUSES: tuple[Callable[[Any], Awaitable[None]], ...] = (
    one_of_many_is_granted_the_claim,
    a_claim_that_is_done_is_done,
    a_claim_is_taken_over_once,
    a_former_owner_has_lost_the_claim,
)
"""Clauses 19 to 22."""

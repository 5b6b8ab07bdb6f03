"""What the tests of hazards share: stores with a fault of the user's own kind, and what must hold after any of them.

Must not import anything private of the package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from e2e_help import STORE_METHODS, Shelf, asked, awaited, cells
from overheard import Org, Summary
from overheard.simulator import Simulator


class Refused(Exception):
    """A user's own exception, which nothing of ours knows."""


def assert_whole(store: Shelf, simulator: Simulator, org: Org, summary: Summary) -> None:
    """Every cell once, asked once, extracted, and paid as charged."""
    assert summary.status == "complete", summary
    assert {key for _, key in store.runs} == cells(org)
    places = max(1, len(org.locations))
    twice = {key: count for key, count in asked(simulator).items() if count != places}
    assert not twice, f"asked and paid {places} times is right: {twice}"
    assert {key for key, entry in store.extractions.items() if entry.error is None} == set(store.runs)
    charged = simulator.ledger()["charged_micro_usd"]
    assert (summary.total_cost_micro_usd, store.cost) == (charged, charged), "(said, stored) against charged"


def striking(
    strikes: Callable[[str, int], bool], *, commits: bool = False, plain: bool = False
) -> tuple[type[Shelf], Refused, list[str]]:
    """A class of stores that raises one and the same object, the object, and the names of all calls made.

    Args:
        strikes: Told the method and the number of the call, counted over all methods from 1.
        commits: The work is done before it raises.
        plain: Plain methods; else `async def`.
    """
    error = Refused("the database said no")
    calls: list[str] = []

    class Striking(Shelf):
        pass

    def method(name: str) -> Callable[..., Any]:
        original = getattr(Shelf, name)

        def entered(self: Shelf, *args: Any, **keywords: Any) -> Any:
            calls.append(name)
            strike = strikes(name, len(calls))
            if strike and not commits:
                raise error
            result = original(self, *args, **keywords)
            if strike:
                raise error
            return result

        return entered

    for name in STORE_METHODS:
        setattr(Striking, name, method(name))
    return (Striking if plain else awaited(Striking)), error, calls

"""The clauses of `overheard.protocols.ReplayStore`, for `contract.py`. A store without these methods passes them by.

So does a store that keeps no evaluations (`light`): it has nothing to extract again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from overheard._core import Extraction, QuestionRun
from overheard.testing.records import make_extraction, make_question_run

if TYPE_CHECKING:
    from overheard.testing.contract import _Bench

METHODS = ("answers", "extractions")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def _with_replay(clause: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    async def guarded(bench: _Bench) -> None:
        if all(hasattr(bench.store, name) for name in METHODS) and not getattr(bench.store, "light", False):
            await clause(bench)

    guarded.__name__, guarded.__doc__ = clause.__name__, clause.__doc__
    return guarded


@_with_replay
async def answers_come_back_whole(bench: _Bench) -> None:
    """27. `answers` pages through all answered question runs, extracted or not, as they were saved."""
    batch, (model_run,) = await bench.begun()
    runs = [make_question_run(model_run, name) for name in "abc"]
    refused = make_question_run(model_run, "d", status="refused")
    await bench("save_question_runs", [*runs, refused])
    await bench("save_extractions", [make_extraction(runs[0])])
    found: list[Any] = []
    while page := list(await bench("answers", batch.batch_id, found[-1].key if found else None, 2)):
        found += [entry if isinstance(entry, QuestionRun) else QuestionRun.from_dict(entry) for entry in page]
    saved, back = ([run.to_dict() for run in each] for each in (runs, found))
    for plain in (*saved, *back):
        plain["outcome"].pop("raw", None)
    _require(saved == back, f"saved {saved}, loaded {back}")


@_with_replay
async def extractions_come_back_whole(bench: _Bench) -> None:
    """28. `extractions` pages through the stored extractions as they were saved; one with an error is none."""
    batch, (model_run,) = await bench.begun()
    runs = [make_question_run(model_run, name) for name in "abcd"]
    await bench("save_question_runs", runs)
    place = {"method": "local", "spans": [[0, 4]]}
    saved = [
        make_extraction(runs[0], fingerprint="0123456789abcdef"),
        make_extraction(
            runs[1],
            method="local",
            competitors=[
                {
                    "name": "Bolt",
                    "position": 1,
                    "occurrences": 3,
                    "parent": "Nut Inc",
                    "merged": [{"name": "Bolt CRM", "reason": "descriptor"}],
                }
            ],
            citations=[
                {
                    "url": "https://a.example/x#:~:text=fine",
                    "canonical_url": "https://a.example/x",
                    "domain": "a.example",
                    "ownership": "secondary",
                    "position": 1,
                    "class": "news",
                    "source": "both",
                    "cited_text": "fine",
                }
            ],
            evidence={
                "hits": [{"span": [0, 4], "kind": "mention"}],
                "mentioned": place,
                "injection": ["speaks to a model"],
                "disagreement": True,
            },
        ),
        make_extraction(runs[2], competitors=[], citations=[], cost_micro_usd=None),
    ]
    failed = make_extraction(runs[3], error={"kind": "semantic", "message": "broken JSON"})
    await bench("save_extractions", [*saved, failed])
    found: list[Any] = []
    while page := list(await bench("extractions", batch.batch_id, found[-1].key if found else None, 2)):
        found += [entry if isinstance(entry, Extraction) else Extraction.from_dict(entry) for entry in page]
    _require(found == saved, f"saved {[one.to_dict() for one in saved]}, loaded {[one.to_dict() for one in found]}")


CLAUSES = (answers_come_back_whole, extractions_come_back_whole)
